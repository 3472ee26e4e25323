//! `turno::Client`: calls in batches do what plain gRPC does, and outlive links and gateways.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use turno::node::config::Role;
use turno::{Client, Code, Request};
use turno_gateway::{Gateway, GatewayConfig};
use turno_runtime::units::{Size, Span};
use turno_tests::kitchen::{Courses, Dish, Number, Wait, kitchen};
use turno_tests::{TestMesh, eventually};

fn client(mesh: &TestMesh) -> Client {
    Client::connect(mesh.running().clients().to_string()).unwrap()
}

fn dish(content: impl Into<bytes::Bytes>) -> Dish {
    Dish { content: content.into() }
}

fn wait(ms: u64) -> Wait {
    Wait { ms, ..Wait::default() }
}

fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

async fn given_up(client: &Client) -> u64 {
    client.call::<kitchen::GivenUp>(Dish::default()).await.unwrap().value
}

#[tokio::test]
async fn every_kind_of_method_answers() {
    let mesh = TestMesh::start(1, 2).await;
    let client = client(&mesh);
    assert_eq!(client.call::<kitchen::Echo>(dish("bread")).await.unwrap(), dish("bread"));
    assert_eq!(client.call::<kitchen::Echo>(Dish::default()).await.unwrap(), Dish::default());
    assert_eq!(client.call::<kitchen::Square>(Number { value: 12, ms: 0 }).await.unwrap().value, 144);
    assert_eq!(client.call::<kitchen::Order>(Number { value: 7, ms: 0 }).await.unwrap().value, 49);
    let courses = Courses { count: 5, bytes: 10, ..Courses::default() };
    let served = client.stream::<kitchen::Serve>(courses).await.unwrap();
    assert_eq!(served.map(|dish| dish.unwrap().content.len()).collect::<Vec<_>>().await, [10; 5]);
    assert!(format!("{client:?}").contains(&mesh.running().clients().to_string()));
}

#[tokio::test]
async fn a_rich_error_arrives_untouched() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let error = client.call::<kitchen::Refuse>(dish(&b"\x08\x09\x00\xff"[..])).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, "the oven is cold"));
    assert_eq!(error.details(), b"\x08\x09\x00\xff");
    assert_eq!(error.metadata().get("waiter").unwrap(), "Rosa");
    assert_eq!(error.metadata().get("oven").unwrap(), "cold");
    assert_eq!(client.call::<kitchen::Burn>(dish("x")).await.unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn deadline_metadata_and_caller_reach_the_method() {
    let mesh = TestMesh::start(0, 1).await;
    let mut request = timed(Dish::default(), Duration::from_secs(30));
    request.metadata_mut().insert("turno-tenant", "bakery".parse().unwrap());
    request.metadata_mut().insert("x-table", "7".parse().unwrap());
    request.metadata_mut().insert("turno-caller-peer", "somebody else".parse().unwrap());
    let seen = client(&mesh).call::<kitchen::Inspect>(request).await.unwrap();
    assert_eq!(seen.metadata.get("x-table").unwrap(), "7");
    assert_eq!(seen.metadata.get("turno-tenant").unwrap(), "bakery");
    assert!(!seen.metadata.contains_key("grpc-timeout"));
    assert!(seen.peer.starts_with("127.0.0.1:"), "{}", seen.peer);
    assert!((20_000..=30_000).contains(&seen.time_left_ms), "{}", seen.time_left_ms);
    let seen = client(&mesh).call::<kitchen::Inspect>(Dish::default()).await.unwrap();
    assert_eq!((seen.time_left_ms, seen.metadata.len()), (0, 0));
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_the_method() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let simmer = client.call::<kitchen::Simmer>(timed(wait(60_000), Duration::from_secs(1))).await;
    assert_eq!(simmer.unwrap_err().code(), Code::DeadlineExceeded);
    let knead = client.call::<kitchen::Knead>(timed(wait(60_000), Duration::from_millis(100))).await;
    assert_eq!(knead.unwrap_err().code(), Code::DeadlineExceeded);
    // The only slot is free again, and the awaiting method was dropped.
    assert_eq!(client.call::<kitchen::Square>(Number { value: 2, ms: 0 }).await.unwrap().value, 4);
    eventually("the method is dropped", async || given_up(&client).await == 1).await;
}

#[tokio::test]
async fn the_gateway_ends_what_takes_too_long() {
    let longest_call = Span(Duration::from_millis(100));
    let mesh = TestMesh::gateway(GatewayConfig { longest_call, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Both, 1).await;
    let client = client(&mesh);
    let error = client.call::<kitchen::Simmer>(wait(60_000)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.message().contains("kitchen.v1.Kitchen/Simmer was not done within"), "{error}");
    let error = client.call::<kitchen::Knead>(wait(60_000)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}

#[tokio::test]
async fn dropping_a_call_cancels_it() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let calls = [client.clone(), client.clone()];
    let [awaiting, job] = calls;
    let calls = [
        tokio::spawn(async move { drop(awaiting.call::<kitchen::Simmer>(wait(60_000)).await) }),
        tokio::spawn(async move { drop(job.call::<kitchen::Knead>(wait(60_000)).await) }),
    ];
    eventually("both run", async || mesh.nodes().await.iter().all(|node| node.in_flight == 1)).await;
    calls.iter().for_each(|call| call.abort());
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
    assert_eq!(given_up(&client).await, 1);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_calls_along() {
    let mesh = TestMesh::start(0, 1).await;
    let gone = client(&mesh);
    // The only client, so that nothing else keeps its link.
    let call = tokio::spawn(async move { drop(gone.call::<kitchen::Simmer>(wait(60_000)).await) });
    eventually("it runs", async || mesh.nodes().await.iter().all(|node| node.in_flight == 1)).await;
    call.abort();
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_at_once_are_all_answered() {
    let mesh = TestMesh::start(1, 2).await;
    let client = client(&mesh);
    let calls: Vec<_> = (0..10_000_u64)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                loop {
                    match right(&client, number).await {
                        // The gateway holds back what its only I/O node cannot keep up with.
                        Err(error) if error.code() == Code::ResourceExhausted => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        answer => return answer,
                    }
                }
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap());
    }
}

async fn right(client: &Client, number: u64) -> turno::Result<bool> {
    if number.is_multiple_of(10) {
        let square = client.call::<kitchen::Square>(Number { value: number, ms: 0 }).await?;
        return Ok(square.value == number * number);
    }
    let content = bytes::Bytes::from(number.to_string());
    let reheat = Wait { ms: number % 7, content: content.clone() };
    Ok(client.call::<kitchen::Reheat>(reheat).await?.content == content)
}

#[tokio::test]
async fn a_client_keeps_to_its_limit() {
    let mesh = TestMesh::start(0, 1).await;
    let client = Client::to([mesh.running().clients().to_string()]).in_flight(2).connect().unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<kitchen::Simmer>(wait(500)).await })
        })
        .collect();
    eventually("two run", async || mesh.nodes().await[0].in_flight == 2).await;
    let late = client.call::<kitchen::Echo>(timed(Dish::default(), Duration::from_millis(50))).await;
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn large_bodies_go_both_ways() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let content = bytes::Bytes::from((0..1_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    assert!(client.call::<kitchen::Echo>(dish(content.clone())).await.unwrap().content == content);
    let job = client.call::<kitchen::Bake>(Wait { ms: 0, content: content.clone() }).await.unwrap();
    assert!(job.content == content, "a job's body came back changed");
    // Below the limit of a frame, above that of the node's link, both ways.
    let carry_above = Size::kib(4);
    let mesh = TestMesh::gateway(GatewayConfig { carry_above, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Both, 1).await;
    let client = self::client(&mesh);
    let middle = content.slice(..60_000);
    assert!(client.call::<kitchen::Echo>(dish(middle.clone())).await.unwrap().content == middle);
}

#[tokio::test]
async fn what_nobody_serves_is_unimplemented() {
    let patience = Span(Duration::from_millis(100));
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..GatewayConfig::default() }).await;
    let error = client(&mesh).call::<kitchen::Echo>(dish("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("/kitchen.v1.Kitchen/Echo"), "{error}");
}

#[tokio::test]
async fn a_full_house_is_told_at_once() {
    let mesh = TestMesh::gateway(GatewayConfig { max_calls: 1, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let client = client(&mesh);
    let inside = client.clone();
    let inside = tokio::spawn(async move { inside.call::<kitchen::Simmer>(wait(60_000)).await });
    eventually("it runs", async || mesh.nodes().await[0].in_flight == 1).await;
    let error = client.call::<kitchen::Echo>(dish("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    inside.abort();
    eventually("there is room again", async || client.call::<kitchen::Echo>(dish("x")).await.is_ok()).await;
}

#[tokio::test]
async fn what_a_lost_node_had_is_repeated_only_if_it_may_be() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let lost = mesh.kitchen(Role::Io, 1).await;
    let (client, other) = (client(&mesh), client(&mesh));
    let may = tokio::spawn(async move { client.call::<kitchen::Reheat>(wait(2000)).await });
    let may_not = tokio::spawn(async move { other.call::<kitchen::Simmer>(wait(60_000)).await });
    eventually("both run", async || mesh.nodes().await[0].in_flight == 2).await;
    let _other = mesh.kitchen(Role::Io, 1).await;
    lost.running.abort();
    may.await.unwrap().unwrap();
    let error = may_not.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("may have run"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_loses_no_call() {
    let meshes = [TestMesh::start(0, 1).await, TestMesh::start(0, 1).await];
    let client =
        Client::to(meshes.iter().map(|mesh| mesh.running().clients().to_string())).connect().unwrap();
    // Simmer may not be repeated: had one been lost, it would have failed.
    let ending = CancellationToken::new();
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let (client, ending) = (client.clone(), ending.clone());
            tokio::spawn(async move {
                let (mut calls, mut after) = (0, 0);
                while after < 20 {
                    client.call::<kitchen::Simmer>(wait(2)).await.unwrap();
                    calls += 1;
                    after += u32::from(ending.is_cancelled());
                }
                calls
            })
        })
        .collect();
    for mesh in &meshes {
        eventually("calls go to both", async || mesh.nodes().await[0].calls_served > 50).await;
    }
    let [one, _other] = meshes;
    one.end().await;
    ending.cancel();
    for caller in callers {
        assert!(caller.await.unwrap() >= 20);
    }
}

#[tokio::test]
async fn a_gateway_that_ends_answers_what_is_in_flight() {
    let mesh = TestMesh::start(1, 1).await;
    let (one, other, third) = (client(&mesh), client(&mesh), client(&mesh));
    let idle = client(&mesh);
    idle.call::<kitchen::Echo>(dish("x")).await.unwrap();
    let one = tokio::spawn(async move { one.call::<kitchen::Order>(Number { value: 9, ms: 1000 }).await });
    let other = tokio::spawn(async move { other.call::<kitchen::Simmer>(wait(1000)).await });
    eventually("both run", async || mesh.nodes().await.iter().map(|node| node.in_flight).sum::<u64>() >= 3)
        .await;
    let third = tokio::spawn(async move { third.call::<kitchen::Square>(Number { value: 3, ms: 0 }).await });
    eventually("the third waits", async || {
        mesh.nodes().await.iter().map(|node| node.in_flight).sum::<u64>() >= 3
    })
    .await;
    mesh.end().await;
    assert_eq!(one.await.unwrap().unwrap().value, 81);
    other.await.unwrap().unwrap();
    assert_eq!(third.await.unwrap().unwrap().value, 9);
}

#[tokio::test]
async fn a_client_links_again_when_the_gateway_is_back() {
    let mesh = TestMesh::start(0, 1).await;
    let (listen, nodes) = (mesh.running().clients(), mesh.running().nodes());
    let client = client(&mesh);
    client.call::<kitchen::Echo>(dish("x")).await.unwrap();
    mesh.end().await;
    let waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.call::<kitchen::Echo>(dish("x")).await });
    let data = tempfile::tempdir().unwrap();
    let again = GatewayConfig { nodes, listen, data: data.path().into(), ..GatewayConfig::default() };
    let _gateway = Gateway::bind(again).await.unwrap().start(CancellationToken::new());
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn without_a_gateway_a_call_waits_and_then_hears_so() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::to([nobody.to_string()]).patience(Duration::from_millis(300)).connect().unwrap();
    let error = client.call::<kitchen::Echo>(dish("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains(&nobody.to_string()), "{error}");
    assert!(error.message().contains("refused"), "{error}");
    let error = client.call::<kitchen::Echo>(timed(dish("x"), Duration::from_millis(50))).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(Client::connect("no port").is_err());
}

#[tokio::test]
async fn what_may_have_run_when_the_link_breaks_is_repeated_only_if_it_may_be() {
    let broken = breaking::serve().await;
    let client = Client::connect(broken.to_string()).unwrap();
    let error = client.call::<kitchen::Simmer>(wait(0)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("may have run"), "{error}");
    // The link breaks under every second call.
    assert_eq!(client.call::<kitchen::Echo>(dish("bread")).await.unwrap(), dish("bread"));
    assert_eq!(client.call::<kitchen::Echo>(dish("bread")).await.unwrap(), dish("bread"));
}

/// A gateway of one's own, whose links break.
mod breaking {
    use super::SocketAddr;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio_stream::{Stream, StreamExt as _};
    use tonic::{Request, Response, Status, Streaming};
    use turno_proto::mesh::v1::Outcome;
    use turno_proto::v1::calls_server::{Calls, CallsServer};
    use turno_proto::v1::{CallsFrame, OutcomesFrame};

    struct Breaking(std::sync::Arc<AtomicU64>);

    #[tonic::async_trait]
    impl Calls for Breaking {
        type LinkStream = Pin<Box<dyn Stream<Item = Result<OutcomesFrame, Status>> + Send>>;

        /// Every first call of two breaks its link, the other is answered with what was sent.
        async fn link(
            &self,
            request: Request<Streaming<CallsFrame>>,
        ) -> Result<Response<Self::LinkStream>, Status> {
            let calls = self.0.clone();
            let welcome = OutcomesFrame { max_body: 1000, ..OutcomesFrame::default() };
            let answers = request.into_inner().map(move |frame| {
                let mut outcomes = Vec::new();
                for call in frame?.calls {
                    if calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                        return Err(Status::unavailable("the link breaks"));
                    }
                    outcomes.push(Outcome { call: call.call, body: call.body, ..Outcome::default() });
                }
                Ok(OutcomesFrame { outcomes, ..OutcomesFrame::default() })
            });
            Ok(Response::new(Box::pin(tokio_stream::once(Ok(welcome)).chain(answers))))
        }
    }

    pub(crate) async fn serve() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = CallsServer::new(Breaking(std::sync::Arc::default()));
        let server = tonic::transport::Server::builder().add_service(service);
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        drop(tokio::spawn(server.serve_with_incoming(incoming)));
        address
    }
}

/// What a client that is not ours may send.
mod raw {
    use super::{Client, TestMesh, dish, kitchen, wait};
    use prost::Message as _;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::{Code, Status, Streaming};
    use turno_proto::mesh::v1::Invocation;
    use turno_proto::v1::calls_client::CallsClient;
    use turno_proto::v1::{CallsFrame, OutcomesFrame};

    async fn link(mesh: &TestMesh) -> (mpsc::Sender<CallsFrame>, Streaming<OutcomesFrame>) {
        let (up, frames) = mpsc::channel(4);
        let mut client = CallsClient::new(mesh.channel());
        (up, client.link(ReceiverStream::new(frames)).await.unwrap().into_inner())
    }

    fn invocation(call: u64, method: u32, bytes: usize) -> Invocation {
        let body = dish(vec![7; bytes]).encode_to_vec().into();
        Invocation { call, method, body, ..Invocation::default() }
    }

    async fn end(down: &mut Streaming<OutcomesFrame>) -> Result<(), Status> {
        while down.message().await?.is_some() {}
        Ok(())
    }

    #[tokio::test]
    async fn who_breaks_the_protocol_hears_so_and_others_do_not_notice() {
        let mesh = TestMesh::start(0, 1).await;
        let other: Client = super::client(&mesh);
        other.call::<kitchen::Echo>(dish("x")).await.unwrap();
        let methods = vec!["/kitchen.v1.Kitchen/Simmer".to_owned()];
        let sleeping = wait(60_000).encode_to_vec();
        let sleeping = Invocation { call: 1, body: sleeping.into(), ..Invocation::default() };
        for calls in [vec![invocation(1, 5, 1)], vec![sleeping.clone(), sleeping]] {
            let (up, mut down) = link(&mesh).await;
            up.send(CallsFrame { methods: methods.clone(), calls, ..CallsFrame::default() }).await.unwrap();
            assert_eq!(end(&mut down).await.unwrap_err().code(), Code::InvalidArgument);
        }
        other.call::<kitchen::Echo>(dish("x")).await.unwrap();
        super::eventually("nothing is in flight", async || mesh.nodes().await[0].in_flight == 0).await;
    }

    #[tokio::test]
    async fn each_call_is_answered_once_also_after_the_client_has_ended_its_side() {
        let mesh = TestMesh::start(0, 1).await;
        let (up, mut down) = link(&mesh).await;
        let methods = ["Echo", "Serve", "Nothing"].map(|name| format!("/kitchen.v1.Kitchen/{name}")).to_vec();
        let max = down.message().await.unwrap().unwrap().max_body as usize;
        let calls =
            vec![invocation(1, 0, 100), invocation(2, 0, max), invocation(3, 1, 0), invocation(4, 2, 0)];
        up.send(CallsFrame { methods, calls, ..CallsFrame::default() }).await.unwrap();
        drop(up);
        let mut codes = std::collections::BTreeMap::new();
        while let Some(frame) = down.message().await.unwrap() {
            for outcome in frame.outcomes {
                assert_eq!(codes.insert(outcome.call, Code::from(outcome.code as i32)), None);
            }
        }
        let expected =
            [(1, Code::Ok), (2, Code::ResourceExhausted), (3, Code::Unimplemented), (4, Code::Unimplemented)];
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_read_from() {
        let mesh = TestMesh::start(0, 1).await;
        let (up, down) = link(&mesh).await;
        let methods = vec!["/kitchen.v1.Kitchen/Echo".to_owned()];
        up.send(CallsFrame { methods, ..CallsFrame::default() }).await.unwrap();
        let flood = async {
            for frame in 0.. {
                let calls = (0..50).map(|call| invocation(1 + frame * 50 + call, 0, 60_000)).collect();
                up.send(CallsFrame { calls, ..CallsFrame::default() }).await.unwrap();
            }
        };
        // It stands still long before all of it would be in the gateway's memory.
        let served = async || mesh.nodes().await[0].calls_served;
        let standing = async {
            let mut before = 0;
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                let now = served().await;
                if now > 0 && now == before {
                    return now;
                }
                before = now;
            }
        };
        let served = tokio::select! {
            () = flood => unreachable!("it has no end"),
            served = standing => served,
        };
        assert!(served < 2000, "{served} answers of 60 kB were taken for a client that reads none");
        drop(down);
    }
}
