//! Answers that nobody reads: they take so much of the gateway's memory and no more, of each connection no more than they
//! leave, and nothing small waits for them. So it is with the places of calls that they hold.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::time::Duration;

use tokio::sync::Mutex;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;
use turno::Client;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{ShowRequest, SubmitRequest};
use turno_runtime::units::Size;
use turno_tests::kitchen::{self, kitchen::Echo};
use turno_tests::stubs::kitchen_client::KitchenClient;
use turno_tests::stubs::{Courses, Dish};
use turno_tests::{TestMesh, TestNode, eventually};

/// Of an answer. A connection may have one of them unread, another one too, and a third none.
const LARGE: usize = 340_000;
/// Where nothing else waits, it has all the room, and leaves nothing that a message of a stream would find.
const ALL: usize = 1_048_000;
/// Of an answer that is counted by no byte, and has its call's place.
const SMALL: usize = 10_000;
/// As much of an answer is taken by who does not read it.
const LITTLE: u32 = 1024;
/// Longer than a stream waits for room when its client has read all.
const PAUSE: Duration = Duration::from_millis(1500);

fn dish(bytes: usize) -> Dish {
    Dish { content: vec![7; bytes].into() }
}

/// The same for the SDK.
fn plate(bytes: usize) -> kitchen::Dish {
    kitchen::Dish { content: vec![7; bytes].into() }
}

/// A mesh with room for 1 MiB of answers, and a connection of somebody who is slow.
async fn start() -> (TestMesh, TestNode, Channel) {
    start_with(GatewayConfig::default()).await
}

async fn start_with(config: GatewayConfig) -> (TestMesh, TestNode, Channel) {
    let mesh = TestMesh::gateway(GatewayConfig { max_bodies: Size::mib(1), ..config }).await;
    let node = mesh.kitchen(Role::Io, 1).await;
    let slow = slow(&mesh).await;
    (mesh, node, slow)
}

/// One more connection of somebody who takes 64 KiB of each answer before he reads.
async fn slow(mesh: &TestMesh) -> Channel {
    connection(mesh, 64 * 1024).await
}

async fn connection(mesh: &TestMesh, window: u32) -> Channel {
    let address = format!("http://{}", mesh.running().clients());
    let slow = Endpoint::from_shared(address).unwrap().initial_stream_window_size(window);
    slow.initial_connection_window_size(16_u32 << 20).connect().await.unwrap()
}

/// Calls a method of one answer, which is not read.
async fn unread(slow: &Channel) -> Result<Streaming<Dish>, Status> {
    unread_of(slow, LARGE).await
}

async fn unread_of(slow: &Channel, bytes: usize) -> Result<Streaming<Dish>, Status> {
    let mut raw = tonic::client::Grpc::new(slow.clone());
    raw.ready().await.unwrap();
    let path = PathAndQuery::from_static("/kitchen.v1.Kitchen/Echo");
    let codec = tonic_prost::ProstCodec::<Dish, Dish>::default();
    Ok(raw.server_streaming(Request::new(dish(bytes)), path, codec).await?.into_inner())
}

/// Begins a stream of a few small messages, of which none is read.
async fn unread_stream(slow: &Channel) -> Result<Streaming<Dish>, Status> {
    let courses = Courses { count: 3, bytes: SMALL as u32, ..Courses::default() };
    Ok(KitchenClient::new(slow.clone()).serve(courses).await?.into_inner())
}

/// Calls until it is refused.
async fn until_refused<F>(call: impl Fn() -> F) -> (Vec<Streaming<Dish>>, Status)
where
    F: Future<Output = Result<Streaming<Dish>, Status>>,
{
    let mut kept = Vec::new();
    loop {
        match call().await {
            Ok(answer) => kept.push(answer),
            Err(refused) => return (kept, refused),
        }
    }
}

fn assert_is_to_read(error: &Status) {
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    let says = |what: &str| error.message().contains(what);
    assert!(says("max_calls") && says("read what has come"), "{error}");
    assert!(error.get_details_retry_info().is_some(), "nothing has run: {error}");
}

fn assert_has_no_room(error: &Status) {
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    let says = |what: &str| error.message().contains(what);
    assert!(says("the method has run") && says("max_bodies"), "{error}");
    assert_eq!(error.get_details_error_info().unwrap().reason, "ANSWER_DROPPED", "{error}");
    assert!(error.get_details_retry_info().is_none(), "a client that came again would run it again: {error}");
}

#[tokio::test]
async fn who_does_not_read_has_his_share_while_another_gets_all_of_his() {
    let (mesh, _node, slow) = start().await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        match unread_of(&slow, 100_000).await {
            Ok(answer) => kept.push(answer),
            Err(error) => assert_has_no_room(&error),
        }
    }
    assert_eq!(kept.len(), 5, "a sixth would be more than it leaves");
    // He goes on like that.
    let again = async {
        for _ in 0..20 {
            assert_has_no_room(&unread_of(&slow, 100_000).await.unwrap_err());
        }
    };
    let linked = Client::connect(mesh.running().clients().to_string()).unwrap();
    let other = async {
        for _ in 0..20 {
            let answer = mesh.client().echo(dish(100_000)).await.unwrap().into_inner();
            assert_eq!(answer.content.len(), 100_000);
            assert_eq!(linked.call::<Echo>(plate(60_000)).await.unwrap().content.len(), 60_000);
        }
        let courses = Courses { count: 20, bytes: 100_000, ..Courses::default() };
        let mut read = mesh.client().serve(courses).await.unwrap().into_inner();
        for _ in 0..20 {
            assert_eq!(read.message().await.unwrap().unwrap().content.len(), 100_000);
        }
        assert!(read.message().await.unwrap().is_none());
    };
    futures_util::future::join(again, other).await;
    for mut answer in kept {
        assert_eq!(answer.message().await.unwrap().unwrap().content.len(), 100_000);
    }
}

#[tokio::test]
async fn those_who_do_not_read_take_the_room_of_large_answers_and_of_no_small_one() {
    let (mesh, _node, one) = start().await;
    let other = slow(&mesh).await;
    let mut kept = vec![unread(&one).await.unwrap()];
    assert_has_no_room(&unread(&one).await.unwrap_err());
    kept.push(unread(&other).await.unwrap());
    assert_has_no_room(&mesh.client().echo(dish(LARGE)).await.unwrap_err());
    let linked = Client::connect(mesh.running().clients().to_string()).unwrap();
    mesh.client().echo(dish(10_000)).await.unwrap();
    linked.call::<Echo>(plate(10_000)).await.unwrap();
    // What was kept is whole; read, it makes room, and so it does given up.
    assert_eq!(kept.pop().unwrap().message().await.unwrap().unwrap().content.len(), LARGE);
    eventually("one more has room", async || mesh.client().echo(dish(LARGE)).await.is_ok()).await;
    drop(kept);
    eventually("both have", async || {
        let calls = [unread(&one), unread(&other)];
        futures_util::future::join_all(calls).await.iter().all(Result::is_ok)
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_waits_for_its_share_and_goes_on() {
    let (mesh, _node, slow) = start().await;
    let courses = Courses { count: 10, bytes: LARGE as u32, ..Courses::default() };
    let mut stream = KitchenClient::new(slow.clone()).serve(courses).await.unwrap().into_inner();
    assert_has_no_room(&unread(&slow).await.unwrap_err());
    mesh.client().echo(dish(LARGE)).await.unwrap();
    for _ in 0..10 {
        assert_eq!(stream.message().await.unwrap().unwrap().content.len(), LARGE);
    }
    assert!(stream.message().await.unwrap().is_none());
    eventually("there is room again", async || unread(&slow).await.is_ok()).await;
}

#[tokio::test]
async fn a_stream_goes_on_where_others_have_left_no_room() {
    let (mesh, _node, slow) = start().await;
    let _kept = unread_of(&slow, ALL).await.unwrap();
    assert_has_no_room(&mesh.client().echo(dish(LARGE)).await.unwrap_err());
    let courses = Courses { count: 200, bytes: 4096, ..Courses::default() };
    let mut read = mesh.client().serve(courses).await.unwrap().into_inner();
    // Its own window has place for a part of them.
    let mut paused = KitchenClient::new(slow.clone()).serve(courses).await.unwrap().into_inner();
    for _ in 0..200 {
        assert_eq!(read.message().await.unwrap().unwrap().content.len(), 4096);
    }
    assert!(read.message().await.unwrap().is_none());
    tokio::time::sleep(PAUSE).await;
    for _ in 0..200 {
        assert_eq!(paused.message().await.unwrap().unwrap().content.len(), 4096);
    }
    assert!(paused.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_waits_for_a_client_that_pauses() {
    let (mesh, _node, one) = start().await;
    let _kept = unread(&one).await.unwrap();
    let courses = Courses { count: 5, bytes: LARGE as u32, ..Courses::default() };
    let mut paused = KitchenClient::new(slow(&mesh).await).serve(courses).await.unwrap().into_inner();
    tokio::time::sleep(PAUSE).await;
    for _ in 0..5 {
        assert_eq!(paused.message().await.unwrap().unwrap().content.len(), LARGE);
    }
    assert!(paused.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_is_in_the_house_until_it_is_read() {
    let (mesh, _node, slow) = start_with(GatewayConfig { max_calls: 1, ..GatewayConfig::default() }).await;
    let courses = Courses { count: 1, bytes: LARGE as u32, ..Courses::default() };
    let mut unread = KitchenClient::new(slow).serve(courses).await.unwrap().into_inner();
    eventually("the method is over", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
    // For the gateway to hear of it, and to hand over what there is.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = mesh.client().echo(dish(1)).await.unwrap_err();
    assert!(refused.message().contains("max_calls"), "{refused}");
    assert_eq!(unread.message().await.unwrap().unwrap().content.len(), LARGE);
    assert!(unread.message().await.unwrap().is_none());
    eventually("there is a place again", async || mesh.client().echo(dish(1)).await.is_ok()).await;
}

#[tokio::test]
async fn those_who_read_nothing_leave_places_to_others() {
    let (mesh, _node, _slow) = start_with(GatewayConfig { max_calls: 64, ..GatewayConfig::default() }).await;
    let mut kept = Vec::new();
    for share in [32, 16, 8, 4] {
        let deaf = connection(&mesh, LITTLE).await;
        let (answers, refused) = until_refused(|| unread_of(&deaf, SMALL)).await;
        assert_eq!(answers.len(), share, "{refused}");
        assert_is_to_read(&refused);
        kept.push((deaf, answers));
    }
    let linked = Client::connect(mesh.running().clients().to_string()).unwrap();
    for _ in 0..20 {
        mesh.client().echo(dish(SMALL)).await.unwrap();
        linked.call::<Echo>(plate(SMALL)).await.unwrap();
    }
    // Who reads is let in again.
    let (deaf, answers) = kept.swap_remove(0);
    for mut answer in answers {
        assert_eq!(answer.message().await.unwrap().unwrap().content.len(), SMALL);
    }
    eventually("who has read may call", async || unread_of(&deaf, SMALL).await.is_ok()).await;
}

#[tokio::test]
async fn streams_that_nobody_reads_leave_places_to_others() {
    let (mesh, _node, _slow) = start_with(GatewayConfig { max_calls: 16, ..GatewayConfig::default() }).await;
    let deaf = connection(&mesh, LITTLE).await;
    let (streams, refused) = until_refused(|| unread_stream(&deaf)).await;
    assert_eq!(streams.len(), 8, "{refused}");
    assert_is_to_read(&refused);
    // What has no place is answered.
    let nobodys = ShowRequest { name: "operations/none".into() };
    let answer = TicketsClient::new(deaf.clone()).show(nobodys).await.unwrap_err();
    assert_ne!(answer.code(), Code::ResourceExhausted, "{answer}");
    for _ in 0..20 {
        mesh.client().echo(dish(SMALL)).await.unwrap();
    }
    for mut stream in streams {
        for _ in 0..3 {
            assert_eq!(stream.message().await.unwrap().unwrap().content.len(), SMALL);
        }
        assert!(stream.message().await.unwrap().is_none());
    }
    eventually("who has read may call", async || unread_stream(&deaf).await.is_ok()).await;
}

#[tokio::test]
async fn streams_that_are_read_keep_nobody_out_until_they_are_left_alone() {
    let (mesh, _node, _slow) = start_with(GatewayConfig { max_calls: 16, ..GatewayConfig::default() }).await;
    let proxy = connection(&mesh, LITTLE).await;
    // Half of the house, and always something of each is on its way.
    let endless = Courses { count: 1_000_000, bytes: SMALL as u32, ..Courses::default() };
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(KitchenClient::new(proxy.clone()).serve(endless).await.unwrap().into_inner());
    }
    let call = async || KitchenClient::new(proxy.clone()).echo(dish(1)).await;
    assert_is_to_read(&call().await.unwrap_err());
    let streams = Mutex::new(streams);
    eventually("who reads them may call", async || {
        for stream in streams.lock().await.iter_mut() {
            assert_eq!(stream.message().await.unwrap().unwrap().content.len(), SMALL);
        }
        call().await.is_ok()
    })
    .await;
    eventually("who has left them may not", async || {
        call().await.is_err_and(|refused| refused.message().contains("read what has come"))
    })
    .await;
    mesh.client().echo(dish(1)).await.unwrap();
}

#[tokio::test]
async fn submits_that_wait_behind_answers_that_nobody_reads_keep_no_place() {
    let (mesh, _node, _slow) = start_with(GatewayConfig { max_calls: 1, ..GatewayConfig::default() }).await;
    let mut deaf = TicketsClient::new(connection(&mesh, LITTLE).await);
    let submit = SubmitRequest { method: "kitchen.v1.Kitchen/Echo".into(), ..SubmitRequest::default() };
    let _unread = deaf.submit_many(tokio_stream::iter(vec![submit; 3_000])).await.unwrap();
    // By then no more is taken of the answers.
    tokio::time::sleep(PAUSE).await;
    eventually("another has the place", async || mesh.client().echo(dish(1)).await.is_ok()).await;
}
