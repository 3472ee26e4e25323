//! The same by the SDK: `client.submit_map`, and what its ticket answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_stream::wrappers::ReceiverStream;
use turno::map::{OnFailure, Summary};
use turno::node::config::Role;
use turno::ticket::{Results, State};
use turno::{Client, Code, MapTicket, never_sent};
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::ListOperationsRequest;
use turno_runtime::units::Span;
use turno_tests::kitchen::{Cook, Dish, Number, Wait, kitchen};
use turno_tests::ordeal::serving;
use turno_tests::{TestMesh, eventually, free_port};

use super::{content, gateway, kitchen as kitchen_at, parts};

type Simmering = MapTicket<kitchen::Simmer>;

fn client(gateway: SocketAddr) -> Client {
    Client::to([gateway.to_string()]).patience(Duration::from_secs(20)).connect().unwrap()
}

fn of(mesh: &TestMesh) -> Client {
    client(mesh.running().clients())
}

fn numbers(count: u64) -> impl futures_util::Stream<Item = Number> + Send + 'static {
    stream::iter((0..count).map(|value| Number { value, ms: 0 }))
}

fn waits(count: u64, ms: u64) -> impl futures_util::Stream<Item = Wait> + Send + 'static {
    stream::iter((0..count).map(move |number| Wait { ms, content: content(number) }))
}

/// Items, those answered well, those answered an error.
fn told(summary: Summary) -> (u64, u64, u64) {
    (summary.items, summary.succeeded, summary.failed)
}

#[tokio::test]
async fn a_map_is_submitted_read_and_picked_up_by_its_name() {
    let mesh = TestMesh::start(1, 2).await;
    let ticket =
        of(&mesh).submit_map::<kitchen::Square>(numbers(20_000)).label("shop", "rosa").await.unwrap();
    let read = ticket.results().map_ok(|(index, answer)| (index, answer.unwrap().value));
    let squares: BTreeMap<u64, u64> = read.try_collect().await.unwrap();
    assert!(squares.iter().map(|(index, square)| (*index, *square)).eq((0..20_000).map(|n| (n, n * n))));
    // By another program, on from the middle.
    let again = of(&mesh).map_ticket::<kitchen::Square>(ticket.id());
    let mut rest = again.results_from(15_000);
    assert_eq!(rest.by_ref().count().await, 5_000);
    let expected = (20_000, 20_000, 0);
    assert_eq!((rest.position(), rest.summary().map(told)), (20_000, Some(expected)));
    let seen = again.snapshot().await.unwrap();
    assert_eq!(
        (seen.state, seen.map_items, seen.labels["shop"].as_str()),
        (State::Done, Some(20_000), "rosa")
    );
    assert_eq!(seen.progress.unwrap().done, 20_000);
    assert_eq!(told(again.await.unwrap()), expected);
    let other = of(&mesh).map_ticket::<kitchen::Echo>(ticket.name());
    assert_eq!(other.results().try_next().await.unwrap_err().code(), Code::FailedPrecondition);
    let one = of(&mesh).submit::<kitchen::Square>(Number::default()).await.unwrap();
    let no_map = of(&mesh).map_ticket::<kitchen::Square>(one.name());
    assert_eq!(no_map.await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_request_that_fails_keeps_its_own_error_and_a_map_may_stop_at_it() {
    let mesh = TestMesh::start(1, 1).await;
    let client = of(&mesh);
    let ticket = client.submit_map::<kitchen::Risk>(numbers(20)).ordered().await.unwrap();
    let results: Vec<_> = ticket.results().try_collect().await.unwrap();
    assert!(results.iter().map(|(index, _)| *index).eq(0..20));
    let error = results[13].1.as_ref().unwrap_err();
    assert_eq!(
        (error.code(), error.message(), error.details()),
        (Code::OutOfRange, "bad luck", &b"details"[..])
    );
    assert_eq!(results[17].1.as_ref().unwrap_err().code(), Code::Internal, "a panic");
    assert_eq!(told(ticket.await.unwrap()), (20, 18, 2));
    let submit = client.submit_map::<kitchen::Risk>(numbers(20)).ordered().on_failure(OnFailure::Stop);
    let stopped = submit.await.unwrap();
    let mut results = stopped.results();
    assert_eq!(results.by_ref().take(14).count().await, 14);
    let read = results.try_next().await.unwrap_err();
    let waited = stopped.summary().await.unwrap_err();
    for error in [read, waited] {
        assert_eq!(error.code(), Code::Aborted);
        assert_eq!(Summary::of(&error).map(told), Some((20, 13, 1)));
    }
    assert_eq!(results.summary().unwrap().failed, 1);
    assert_eq!(stopped.state().await.unwrap(), State::Failed);
}

#[tokio::test]
async fn the_same_key_is_one_ticket() {
    let mesh = TestMesh::start(1, 1).await;
    let client = of(&mesh);
    let submit = |count| client.submit_map::<kitchen::Square>(numbers(count)).key("order 7");
    let first = submit(2_000).await.unwrap();
    assert_eq!(submit(2_000).await.unwrap().name(), first.name());
    assert_eq!(submit(2_001).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(submit(2_000).ordered().await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(first.await.unwrap().succeeded, 2_000);
}

#[tokio::test]
async fn what_the_gateway_does_not_take_is_its_own_error() {
    let mesh = TestMesh::start(0, 1).await;
    let client = of(&mesh);
    let unserved = client.submit_map::<kitchen::Square>(numbers(3)).await.unwrap_err();
    assert_eq!(unserved.code(), Code::Unimplemented);
    let submit = || client.submit_map::<kitchen::Echo>(stream::iter([Dish::default()]));
    for wrong in [
        submit().on_failure(OnFailure::StopAbove(2.0)),
        submit().label("Shop", "rosa"),
        submit().in_flight(u32::MAX),
    ] {
        assert_eq!(wrong.await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn where_no_node_has_joined_yet_nothing_of_it_is_left() {
    let patience = Span(Duration::from_millis(100));
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..GatewayConfig::default() }).await;
    let error = of(&mesh).submit_map::<kitchen::Square>(numbers(3)).await.unwrap_err();
    assert_eq!((error.code(), never_sent(&error)), (Code::Unavailable, true), "{error}");
    assert!(error.message().starts_with("the map was not submitted: no node has joined"), "{error}");
}

#[tokio::test]
async fn a_cancel_stops_it() {
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    let _node = mesh.kitchen_of(&cook, Role::Io, 1).await;
    let ticket = of(&mesh).submit_map::<kitchen::Simmer>(waits(50, 60_000)).in_flight(5).await.unwrap();
    eventually("it runs", async || cook.begun() > 0).await;
    let mut changes = ticket.watch();
    assert_eq!(changes.next().await.unwrap().unwrap().state, State::Running);
    ticket.cancel().await.unwrap();
    assert_eq!(ticket.summary().await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(ticket.results().try_next().await.unwrap_err().code(), Code::Cancelled);
    let last = changes.collect::<Vec<_>>().await.pop().unwrap().unwrap();
    assert_eq!(last.state, State::Cancelled);
    assert_eq!(cook.given_up(), cook.begun());
}

const ITEMS: u64 = 1_500;

async fn more(results: &mut Results<kitchen::Simmer>, count: usize, into: &mut BTreeMap<u64, Dish>) {
    for _ in 0..count {
        let (index, dish) = results.try_next().await.unwrap().unwrap();
        assert_eq!(into.insert(index, dish.unwrap()), None, "request {index} has two results");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_outlives_a_gateway_that_is_killed() {
    let (listen, nodes, data) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let kept = data.path().display().to_string();
    let mut running = gateway(listen, nodes, &kept);
    let cook = Cook::default();
    let _kitchen = kitchen_at(&[nodes], &cook);
    serving(listen).await;
    let client = client(listen);
    let ticket: Simmering =
        client.submit_map::<kitchen::Simmer>(waits(ITEMS, 80)).in_flight(40).await.unwrap();
    let waiting = tokio::spawn(ticket.clone().into_future());
    let (mut results, mut read) = (ticket.results(), BTreeMap::new());
    for kill in 0..2 {
        eventually("it goes on", async || ticket.snapshot().await.unwrap().attempts > kill).await;
        more(&mut results, 50, &mut read).await;
        running.kill();
        running = gateway(listen, nodes, &kept);
    }
    more(&mut results, ITEMS as usize - read.len(), &mut read).await;
    assert!(results.try_next().await.unwrap().is_none());
    assert!(read.iter().all(|(index, dish)| dish.content == content(*index)));
    let expected = (ITEMS, ITEMS, 0);
    assert_eq!(results.summary().map(told), Some(expected));
    assert_eq!(told(waiting.await.unwrap().unwrap()), expected);
    assert!(ticket.snapshot().await.unwrap().attempts > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_whose_gateway_is_killed_half_way_is_made_again() {
    let (listen, nodes, data) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let kept = data.path().display().to_string();
    let running = gateway(listen, nodes, &kept);
    let _kitchen = kitchen_at(&[nodes], &Cook::default());
    serving(listen).await;
    let client = client(listen);
    let (requests, coming) = tokio::sync::mpsc::channel(4);
    let submit = client.submit_map::<kitchen::Echo>(ReceiverStream::new(coming)).key("bread");
    let submitting = tokio::spawn(submit.into_future());
    let dish = |number: u64| Dish { content: vec![number as u8; 100_000].into() };
    for number in 0..20 {
        requests.send(dish(number)).await.unwrap();
    }
    eventually("parts are on disk", async || parts(data.path()).await > 0).await;
    running.kill();
    let error = submitting.await.unwrap().unwrap_err();
    assert_eq!((error.code(), never_sent(&error)), (Code::Unavailable, true), "{error}");
    let _again = gateway(listen, nodes, &kept);
    let submit = || client.submit_map::<kitchen::Echo>(stream::iter((0..20).map(dish))).key("bread");
    let ticket = submit().await.unwrap();
    assert_eq!(submit().await.unwrap().name(), ticket.name());
    assert_eq!(ticket.await.unwrap().succeeded, 20);
    let mut operations =
        turno_proto::google::longrunning::operations_client::OperationsClient::new(super::channel(listen));
    let listed = operations.list_operations(ListOperationsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().operations.len(), 1);
}
