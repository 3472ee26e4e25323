//! What a client sees of a call: answers, errors, trailers, deadlines, cancellation, large bodies, streams.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::time::{Duration, Instant};

use tokio_stream::StreamExt as _;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::v1::map_client::MapClient;
use turno_proto::v1::{MapRequest, SubmitRequest};
use turno_tests::kitchen::{Cook, kitchen};
use turno_tests::stubs::{Courses, Dish, Number, Wait};
use turno_tests::{TestMesh, eventually};

/// tonic's client has a timer of its own, which says CANCELLED; when it wins, the gateway's word is not heard.
fn is_late(error: &tonic::Status) -> bool {
    error.code() == Code::DeadlineExceeded
        || (error.code() == Code::Cancelled && error.message() == "Timeout expired")
}

fn dish(content: impl Into<bytes::Bytes>) -> Dish {
    Dish { content: content.into() }
}

#[tokio::test]
async fn every_kind_of_method_answers() {
    let mesh = TestMesh::start(1, 2).await;
    let mut client = mesh.client();
    assert_eq!(client.echo(dish("bread")).await.unwrap().into_inner().content, "bread");
    assert_eq!(client.square(Number { value: 12, ms: 0 }).await.unwrap().into_inner().value, 144);
    assert_eq!(client.order(Number { value: 7, ms: 0 }).await.unwrap().into_inner().value, 49);
    let served = client.serve(Courses { count: 5, bytes: 10, ..Courses::default() }).await.unwrap();
    assert_eq!(
        served.into_inner().map(|dish| dish.unwrap().content.len()).collect::<Vec<_>>().await,
        [10; 5]
    );
}

#[tokio::test]
async fn an_empty_message_is_a_message() {
    let mesh = TestMesh::start(1, 1).await;
    assert_eq!(mesh.client().echo(Dish::default()).await.unwrap().into_inner(), Dish::default());
}

fn with<T>(message: T, key: &'static str, value: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(key, value.parse().unwrap());
    request
}

#[tokio::test]
async fn a_wish_that_is_not_understood_is_refused_whichever_way_it_comes() {
    let mesh = TestMesh::start(0, 1).await;
    let linked = turno::Client::connect(mesh.running().clients().to_string()).unwrap();
    for (key, value, expected) in
        [("turno-lane", "fast", "batch or calls"), ("turno-explain", "yes", "1 or true or 0 or false")]
    {
        let items = tokio_stream::iter([MapRequest::default()]);
        for refused in [
            mesh.client().echo(with(dish("x"), key, value)).await.unwrap_err(),
            mesh.client().serve(with(Courses::default(), key, value)).await.unwrap_err(),
            linked
                .call::<kitchen::Echo>(with(turno_tests::kitchen::Dish::default(), key, value))
                .await
                .unwrap_err(),
            MapClient::new(mesh.channel()).map(with(items, key, value)).await.unwrap_err(),
            mesh.tickets().submit(with(SubmitRequest::default(), key, value)).await.unwrap_err(),
        ] {
            let what = format!("{key}: {value:?} is not understood: expected {expected}");
            assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, what.as_str()));
        }
    }
    for (key, value) in [("turno-lane", "calls"), ("turno-explain", "0"), ("turno-foo", "bar")] {
        let answer = mesh.client().echo(with(dish("x"), key, value)).await.unwrap();
        assert!(!answer.metadata().contains_key("turno-explain"), "{key}");
    }
}

#[tokio::test]
async fn a_rich_error_arrives_untouched() {
    let mesh = TestMesh::start(0, 1).await;
    let error = mesh.client().refuse(dish(&b"\x08\x09\x00\xff"[..])).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(error.message(), "the oven is cold");
    assert_eq!(error.details(), b"\x08\x09\x00\xff");
    assert_eq!(error.metadata().get("waiter").unwrap(), "Rosa");
    assert_eq!(error.metadata().get("oven").unwrap(), "cold");
}

#[tokio::test]
async fn a_panic_is_internal_and_the_node_lives() {
    let mesh = TestMesh::start(1, 1).await;
    let mut client = mesh.client();
    for _ in 0..3 {
        let error = client.burn(dish("x")).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().starts_with("kitchen.v1.Kitchen/Burn panicked"), "{error}");
        assert_eq!(client.spill(dish("x")).await.unwrap_err().code(), Code::Internal);
    }
    assert_eq!(client.square(Number { value: 3, ms: 0 }).await.unwrap().into_inner().value, 9);
    assert_eq!(mesh.nodes().await.len(), 2);
}

#[tokio::test]
async fn what_nobody_serves_is_unimplemented() {
    let patience = turno_runtime::units::Span(Duration::from_millis(100));
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..Default::default() }).await;
    let _worker = mesh.kitchen(Role::Worker, 1).await;
    let error = mesh.client().echo(dish("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().starts_with("no node has served kitchen.v1.Kitchen/Echo since "), "{error}");
}

#[tokio::test]
async fn a_request_that_is_not_the_message_is_an_invalid_argument() {
    let mesh = TestMesh::start(0, 1).await;
    let mut raw = tonic::client::Grpc::new(mesh.channel());
    raw.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/kitchen.v1.Kitchen/Simmer");
    // Field 1 is a number there: a Dish with the same field as bytes does not fit.
    let codec = tonic_prost::ProstCodec::<Dish, Dish>::default();
    let error = raw.unary(Request::new(dish("bread")), path, codec).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("Wait"), "{error}");
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_the_method() {
    let mesh = TestMesh::start(1, 1).await;
    let mut client = mesh.client();
    let mut request = Request::new(Wait { ms: 60_000, ..Wait::default() });
    request.set_timeout(Duration::from_secs(1));
    assert!(is_late(&client.simmer(request).await.unwrap_err()));
    eventually("the method is dropped", async || client_given_up(&mesh).await == 1).await;
}

#[tokio::test]
async fn a_deadline_reaches_a_running_job() {
    let mesh = TestMesh::start(1, 1).await;
    let mut client = mesh.client();
    let mut request = Request::new(Wait { ms: 60_000, ..Wait::default() });
    request.set_timeout(Duration::from_millis(100));
    assert!(is_late(&client.knead(request).await.unwrap_err()));
    // The only slot is free again.
    assert_eq!(client.square(Number { value: 2, ms: 0 }).await.unwrap().into_inner().value, 4);
}

#[tokio::test]
async fn a_job_whose_deadline_passes_in_the_queue_never_starts() {
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    let _worker = mesh.kitchen_of(&cook, Role::Worker, 1).await;
    let mut other = mesh.client();
    let holding = tokio::spawn(async move { other.rest(Dish::default()).await });
    eventually("the slot is taken", async || cook.resting() == 1).await;
    let mut request = Request::new(Wait { ms: 0, ..Wait::default() });
    request.set_timeout(Duration::from_millis(50));
    assert!(is_late(&mesh.client().knead(request).await.unwrap_err()));
    cook.let_go(1);
    holding.await.unwrap().unwrap();
    mesh.client().square(Number { value: 2, ms: 0 }).await.unwrap();
    assert_eq!(cook.begun(), 0);
}

#[tokio::test]
async fn what_is_late_when_it_comes_to_its_node_never_starts() {
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    let _io = mesh.kitchen_of(&cook, Role::Io, 1).await;
    mesh.client().echo(Dish::default()).await.unwrap();
    for _ in 0..20 {
        let mut request = Request::new(Wait { ms: 0, ..Wait::default() });
        request.set_timeout(Duration::from_micros(1));
        assert!(is_late(&mesh.client().simmer(request).await.unwrap_err()));
    }
    eventually("nothing is under way", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
    assert_eq!(cook.begun(), 0);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_work_along() {
    let mesh = TestMesh::start(1, 1).await;
    let (mut awaiting, mut job) = (mesh.client(), mesh.client());
    let calls = [
        tokio::spawn(async move { drop(awaiting.simmer(Wait { ms: 60_000, ..Wait::default() }).await) }),
        tokio::spawn(async move { drop(job.knead(Wait { ms: 60_000, ..Wait::default() }).await) }),
    ];
    eventually("both run", async || mesh.nodes().await.iter().all(|node| node.in_flight == 1)).await;
    calls.iter().for_each(|call| call.abort());
    // The job's slot is free again, and the awaiting method was dropped.
    assert_eq!(mesh.client().square(Number { value: 2, ms: 0 }).await.unwrap().into_inner().value, 4);
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
    assert_eq!(client_given_up(&mesh).await, 1);
}

async fn client_given_up(mesh: &TestMesh) -> u64 {
    mesh.client().given_up(Dish::default()).await.unwrap().into_inner().value
}

#[tokio::test]
async fn deadline_metadata_and_caller_reach_the_method_and_its_nested_calls() {
    let mesh = TestMesh::start(0, 1).await;
    let mut request = Request::new(Dish::default());
    request.set_timeout(Duration::from_secs(30));
    request.metadata_mut().insert("turno-tenant", "bakery".parse().unwrap());
    request.metadata_mut().insert("x-table", "7".parse().unwrap());
    let direct = mesh.client().inspect(request).await.unwrap().into_inner();
    assert_eq!(direct.method, "kitchen.v1.Kitchen/Inspect");
    assert_eq!(direct.calling_method, "");
    assert!(direct.peer.starts_with("127.0.0.1:"), "{}", direct.peer);
    assert!((20_000..=30_000).contains(&direct.time_left_ms), "{}", direct.time_left_ms);
    assert_eq!(direct.metadata["x-table"], "7");

    let mut request = Request::new(Dish::default());
    request.set_timeout(Duration::from_secs(30));
    request.metadata_mut().insert("turno-tenant", "bakery".parse().unwrap());
    request.metadata_mut().insert("x-table", "7".parse().unwrap());
    let nested = mesh.client().inspect_nested(request).await.unwrap().into_inner();
    assert_eq!(nested.calling_method, "kitchen.v1.Kitchen/InspectNested");
    assert_eq!(nested.metadata["turno-tenant"], "bakery");
    assert!(!nested.metadata.contains_key("x-table"), "only what is inherited goes on");
    assert!((20_000..=30_000).contains(&nested.time_left_ms), "{}", nested.time_left_ms);
    assert!(nested.peer.starts_with("127.0.0.1:"), "{}", nested.peer);
}

#[tokio::test]
async fn large_bodies_are_carried_both_ways() {
    let mesh = TestMesh::start(1, 1).await;
    let content = bytes::Bytes::from((0..5_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let awaited = mesh.client().echo(dish(content.clone())).await.unwrap().into_inner();
    assert!(awaited.content == content, "an awaited method's body came back changed");
    let job = mesh.client().bake(Wait { ms: 0, content: content.clone() }).await.unwrap().into_inner();
    assert!(job.content == content, "a job's body came back changed");
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_both_ways() {
    let limit = turno_runtime::units::Size::mib(4);
    let mesh =
        TestMesh::gateway(turno_gateway::GatewayConfig { max_message: limit, ..Default::default() }).await;
    let _node = mesh.kitchen(turno::node::config::Role::Io, 1).await;
    let error = mesh.client().echo(dish(vec![0; 5 << 20])).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("a larger --max-message"), "{error}");
    let courses = Courses { count: 1, bytes: 5 << 20, ..Courses::default() };
    let error = mesh.client().serve(courses).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn gzip_is_taken() {
    use tonic::codec::CompressionEncoding::Gzip;
    let mesh = TestMesh::start(0, 1).await;
    let mut client = mesh.client().send_compressed(Gzip).accept_compressed(Gzip);
    for size in [10, 1_000_000] {
        assert_eq!(client.echo(dish(vec![7; size])).await.unwrap().into_inner().content.len(), size);
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_trailers_or_its_error() {
    let mesh = TestMesh::start(0, 1).await;
    let courses = Courses { count: 3, bytes: 1, ..Courses::default() };
    let mut good = mesh.client().serve(courses).await.unwrap().into_inner();
    while good.message().await.unwrap().is_some() {}
    assert_eq!(good.trailers().await.unwrap().unwrap().get("courses").unwrap(), "3");

    let mut bad = mesh.client().serve(Courses { fail_at_end: true, ..courses }).await.unwrap().into_inner();
    for _ in 0..3 {
        assert_eq!(bad.message().await.unwrap().unwrap().content.len(), 1);
    }
    let error = bad.message().await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::DataLoss, "the last plate fell"));
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_its_method() {
    let mesh = TestMesh::start(0, 1).await;
    let courses = Courses { count: 1_000_000, bytes: 1000, ..Courses::default() };
    let mut stream = mesh.client().serve(courses).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    drop(stream);
    eventually("the method is dropped", async || client_given_up(&mesh).await == 1).await;
}

#[tokio::test]
async fn a_deadline_ends_a_stream() {
    let mesh = TestMesh::start(0, 1).await;
    let mut request = Request::new(Courses { count: 1000, bytes: 1, pause_ms: 20, fail_at_end: false });
    request.set_timeout(Duration::from_secs(2));
    let mut stream = mesh.client().serve(request).await.unwrap().into_inner();
    let error = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended before its deadline"),
            Err(error) => break error,
        }
    };
    assert!(is_late(&error), "{error}");
    eventually("the method is dropped", async || client_given_up(&mesh).await == 1).await;
}

#[tokio::test]
async fn a_thousand_wait_together_on_one_io_node() {
    let mesh = TestMesh::start(0, 1).await;
    let started = Instant::now();
    let calls: Vec<_> = (0..1000)
        .map(|_| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.simmer(Wait { ms: 500, ..Wait::default() }).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // One after the other they would take 500 s; the figure itself is the bench's business.
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// Each call holds a thread for 20 ms, and one comes every millisecond: of two threads at most.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn more_than_an_io_nodes_threads_can_do_is_refused_and_the_rest_is_served() {
    let mesh = TestMesh::start(0, 1).await;
    let hold = |mut client: turno_tests::stubs::kitchen_client::KitchenClient<_>| async move {
        client.fry(Wait { ms: 20, ..Wait::default() }).await
    };
    hold(mesh.client()).await.unwrap();
    let (mut calls, mut refused, mut sent) = (tokio::task::JoinSet::new(), 0, 0);
    while refused == 0 {
        assert!(sent < 5000, "nobody is refused");
        calls.spawn(hold(mesh.client()));
        sent += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(answer) = calls.try_join_next() {
            refused += usize::from(is_refused(answer.unwrap().map(drop)));
        }
    }
    while let Some(answer) = calls.join_next().await {
        refused += usize::from(is_refused(answer.unwrap().map(drop)));
    }
    assert!(refused < sent, "all are refused");
    eventually("it is over", async || hold(mesh.client()).await.is_ok()).await;
}

/// Else it was served.
fn is_refused(answer: Result<(), tonic::Status>) -> bool {
    let Err(error) = answer else { return false };
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    assert!(error.get_details_retry_info().is_some(), "{error}");
    true
}
