//! Maps that are submitted as tickets: kept, run, read, stopped, and gone on with after their gateway was killed.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test's own tasks and words, and its own failures"
)]

mod sdk;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use prost::Message;
use prost_types::Timestamp;
use sqlx::{ConnectOptions as _, Row as _};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use turno::node::config::{NodeConfig, Role};
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::longrunning::{
    CancelOperationRequest, GetOperationRequest, ListOperationsRequest, Operation, WaitOperationRequest,
};
use turno_proto::google::rpc;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{
    MapHeader, MapOrder, MapResult, MapSummary, OnFailure, ReadMapRequest, SubmitMapHeader, SubmitMapRequest,
    TicketMetadata, TicketState,
};
use turno_tests::kitchen::{Cook, Kitchen};
use turno_tests::ordeal::serving;
use turno_tests::stubs::{Dish, Number, Wait};
use turno_tests::{Postgres, Process, TestMesh, TestNode, eventually, free_port};

const GATEWAY: &str = env!("CARGO_BIN_EXE_test-gateway");

fn header(method: &str) -> MapHeader {
    MapHeader { method: format!("kitchen.v1.Kitchen/{method}"), ..MapHeader::default() }
}

fn numbers(count: u64) -> Vec<Bytes> {
    (0..count).map(|value| Number { value, ms: 0 }.encode_to_vec().into()).collect()
}

fn waits(count: u64, ms: u64) -> Vec<Bytes> {
    (0..count).map(|number| Wait { ms, content: number.to_string().into() }.encode_to_vec().into()).collect()
}

fn messages(header: SubmitMapHeader, items: &[Bytes]) -> Vec<SubmitMapRequest> {
    let first = SubmitMapRequest { header: Some(header), items: Vec::new() };
    let rest = items.chunks(700).map(|items| SubmitMapRequest { header: None, items: items.to_vec() });
    std::iter::once(first).chain(rest).collect()
}

fn keyed(map: MapHeader, key: &str) -> SubmitMapHeader {
    SubmitMapHeader { map: Some(map), idempotency_key: key.to_owned(), ..SubmitMapHeader::default() }
}

fn requests(map: MapHeader, key: &str, items: &[Bytes]) -> Vec<SubmitMapRequest> {
    messages(keyed(map, key), items)
}

async fn submitted_as(
    channel: &Channel,
    header: SubmitMapHeader,
    items: &[Bytes],
) -> Result<Operation, Status> {
    let requests = messages(header, items);
    TicketsClient::new(channel.clone())
        .submit_map(stream::iter(requests))
        .await
        .map(tonic::Response::into_inner)
}

async fn submitted(
    channel: &Channel,
    map: MapHeader,
    key: &str,
    items: &[Bytes],
) -> Result<Operation, Status> {
    submitted_as(channel, keyed(map, key), items).await
}

async fn ended(channel: &Channel, name: &str) -> Operation {
    loop {
        let request = WaitOperationRequest { name: name.to_owned(), timeout: None };
        let operation =
            OperationsClient::new(channel.clone()).wait_operation(request).await.unwrap().into_inner();
        if operation.done {
            return operation;
        }
    }
}

fn metadata(operation: &Operation) -> TicketMetadata {
    TicketMetadata::decode(&operation.metadata.as_ref().unwrap().value[..]).unwrap()
}

fn summary(operation: &Operation) -> MapSummary {
    match operation.result.as_ref() {
        Some(Ending::Response(any)) => {
            assert_eq!(any.type_url, "type.googleapis.com/turno.v1.MapSummary");
            MapSummary::decode(&any.value[..]).unwrap()
        }
        other => panic!("no summary: {other:?}"),
    }
}

fn error(operation: &Operation) -> rpc::Status {
    match operation.result.as_ref() {
        Some(Ending::Error(error)) => error.clone(),
        other => panic!("no error: {other:?}"),
    }
}

/// The results from one on, until the map has ended: how it did.
async fn read(channel: &Channel, name: &str, from: u64) -> (Vec<MapResult>, Result<MapSummary, Status>) {
    let request = ReadMapRequest { name: name.to_owned(), from };
    let mut reading = TicketsClient::new(channel.clone()).read_map(request).await.unwrap().into_inner();
    let mut results = Vec::new();
    while let Some(message) = reading.next().await {
        match message {
            Ok(message) => {
                results.extend(message.results);
                if let Some(summary) = message.summary {
                    assert!(reading.next().await.is_none());
                    return (results, Ok(summary));
                }
            }
            Err(status) => return (results, Err(status)),
        }
    }
    panic!("it ended without a word")
}

/// By their items, of which none has two.
fn by_item(results: &[MapResult]) -> BTreeMap<u64, &MapResult> {
    let by_item: BTreeMap<_, _> = results.iter().map(|result| (result.index, result)).collect();
    assert_eq!(by_item.len(), results.len(), "an item has two results");
    by_item
}

#[tokio::test]
async fn each_item_has_its_result_and_they_can_be_read_from_anywhere() {
    let mesh = TestMesh::start(1, 2).await;
    let ticket = submitted(&mesh.channel(), header("Square"), "", &numbers(50_000)).await.unwrap();
    assert!(!ticket.done);
    // Read from the beginning on, while it runs.
    let (results, last) = read(&mesh.channel(), &ticket.name, 0).await;
    let expected = MapSummary { items: 50_000, succeeded: 50_000, failed: 0 };
    assert_eq!(last.unwrap(), expected);
    for (index, result) in by_item(&results) {
        assert_eq!(Number::decode(&result.response[..]).unwrap().value, index * index);
    }
    assert_eq!(results.len(), 50_000);
    let done = ended(&mesh.channel(), &ticket.name).await;
    assert_eq!(summary(&done), expected);
    let told = metadata(&done);
    let progress = told.progress.unwrap();
    assert_eq!(
        (progress.done, progress.total, told.map_items, told.attempts),
        (50_000, 50_000, Some(50_000), 1)
    );
    for from in [1, 25_000, 49_999, 50_000, 70_000] {
        let (rest, last) = read(&mesh.channel(), &ticket.name, from).await;
        assert_eq!(rest, results[usize::try_from(from.min(50_000)).unwrap()..]);
        last.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_done_in_no_time() {
    let mesh = TestMesh::start(0, 1).await;
    let ticket = submitted(&mesh.channel(), header("Echo"), "", &[]).await.unwrap();
    assert_eq!(summary(&ended(&mesh.channel(), &ticket.name).await), MapSummary::default());
}

#[tokio::test]
async fn results_are_stored_in_the_order_of_the_items_if_they_are_to_be() {
    let mesh = TestMesh::start(2, 2).await;
    let map = MapHeader { order: MapOrder::AsSent.into(), ..header("Square") };
    let ticket = submitted(&mesh.channel(), map, "", &numbers(5_000)).await.unwrap();
    let (results, _) = read(&mesh.channel(), &ticket.name, 0).await;
    assert!(results.iter().map(|result| result.index).eq(0..5_000));
}

#[tokio::test]
async fn the_same_key_is_the_same_map_if_its_items_are_the_same() {
    let mesh = TestMesh::start(1, 1).await;
    let (channel, items) = (mesh.channel(), numbers(2_000));
    let ticket = submitted(&channel, header("Square"), "order 7", &items).await.unwrap();
    assert_eq!(submitted(&channel, header("Square"), "order 7", &items).await.unwrap().name, ticket.name);
    let other = submitted(&channel, header("Square"), "order 7", &items[1..]).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    assert_eq!(summary(&ended(&channel, &ticket.name).await).succeeded, 2_000);
}

#[tokio::test]
async fn a_map_that_is_wrong_is_told_so() {
    let mesh = TestMesh::start(0, 1).await;
    let channel = mesh.channel();
    for (map, code) in [
        (MapHeader::default(), Code::InvalidArgument),
        (header("Collect"), Code::InvalidArgument),
        (header("Fly"), Code::Unimplemented),
        (MapHeader { failures: 0.5, ..header("Echo") }, Code::InvalidArgument),
    ] {
        assert_eq!(submitted(&channel, map, "", &numbers(3)).await.unwrap_err().code(), code);
    }
    let request = SubmitMapRequest { header: None, items: numbers(3) };
    let headless = mesh.tickets().submit_map(stream::iter([request])).await.unwrap_err();
    assert_eq!(headless.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn failures_stop_it_as_they_stop_a_live_one() {
    let mesh = TestMesh::start(1, 1).await;
    let channel = mesh.channel();
    let collected = submitted(&channel, header("Risk"), "", &numbers(100)).await.unwrap();
    let expected = MapSummary { items: 100, succeeded: 98, failed: 2 };
    let done = ended(&channel, &collected.name).await;
    assert_eq!((summary(&done), metadata(&done).progress.unwrap().note.as_str()), (expected, "2 failed"));
    let map =
        MapHeader { on_failure: OnFailure::Stop.into(), order: MapOrder::AsSent.into(), ..header("Risk") };
    let stopped = submitted(&channel, map, "", &numbers(100)).await.unwrap();
    let operation = ended(&channel, &stopped.name).await;
    assert_eq!(metadata(&operation).state(), TicketState::Failed);
    let error = error(&operation);
    assert_eq!(Code::from_i32(error.code), Code::Aborted);
    assert!(error.message.contains("item 13"), "{}", error.message);
    let detail = MapSummary::decode(&error.details[0].value[..]).unwrap();
    assert_eq!((detail.succeeded, detail.failed), (13, 1));
    let (results, last) = read(&channel, &stopped.name, 0).await;
    assert_eq!((results.len(), last.unwrap_err().code()), (14, Code::Aborted));
}

#[tokio::test]
async fn a_share_of_failures_is_borne_and_no_more() {
    let mesh = TestMesh::start(1, 1).await;
    let channel = mesh.channel();
    let bearing = |failures| MapHeader {
        on_failure: OnFailure::StopAbove.into(),
        failures,
        order: MapOrder::AsSent.into(),
        ..header("Risk")
    };
    // Two fail early, where a share is one of 100 items.
    let borne = submitted(&channel, bearing(0.025), "", &numbers(600)).await.unwrap();
    let expected = MapSummary { items: 600, succeeded: 598, failed: 2 };
    assert_eq!(summary(&ended(&channel, &borne.name).await), expected);
    let stopped = submitted(&channel, bearing(0.015), "", &numbers(600)).await.unwrap();
    let operation = ended(&channel, &stopped.name).await;
    assert_eq!(metadata(&operation).state(), TicketState::Failed);
    let error = error(&operation);
    assert_eq!(Code::from_i32(error.code), Code::Aborted);
    assert!(error.message.contains("2 of 18 items have failed"), "{}", error.message);
    let detail = MapSummary::decode(&error.details[0].value[..]).unwrap();
    assert_eq!((detail.succeeded, detail.failed), (16, 2));
    let (results, last) = read(&channel, &stopped.name, 0).await;
    assert_eq!((results.len(), last.unwrap_err().code()), (18, Code::Aborted));
}

fn time(of: Option<Timestamp>) -> SystemTime {
    of.unwrap().try_into().unwrap()
}

#[tokio::test]
async fn what_is_said_of_its_ticket_holds_for_a_map() {
    let mesh = TestMesh::start(1, 1).await;
    let channel = mesh.channel();
    let (key_kept_for, kept_for) = (Duration::from_millis(1_500), Duration::from_secs(3_600));
    let not_before = SystemTime::now() + Duration::from_millis(700);
    let labels = HashMap::from([("shop".to_owned(), "rosa".to_owned())]);
    let said = SubmitMapHeader {
        map: Some(header("Square")),
        idempotency_key: "order 7".to_owned(),
        idempotency_key_kept_for: Some(key_kept_for.try_into().unwrap()),
        not_before: Some(not_before.into()),
        labels: labels.clone(),
        retries: Some(7),
        keep_result_for: Some(kept_for.try_into().unwrap()),
    };
    let many = SubmitMapHeader { retries: Some(1001), ..said.clone() };
    assert_eq!(submitted_as(&channel, many, &[]).await.unwrap_err().code(), Code::InvalidArgument);
    let first = submitted_as(&channel, said.clone(), &numbers(100)).await.unwrap();
    let told = metadata(&ended(&channel, &first.name).await);
    assert_eq!((told.idempotency_key.as_str(), told.retries, told.attempts), ("order 7", 7, 1));
    assert_eq!(told.labels, labels);
    assert!(time(told.begin_time) >= not_before, "{:?} {not_before:?}", told.begin_time);
    assert_eq!(time(told.expire_time).duration_since(time(told.end_time)).unwrap(), kept_for);
    let filter = "labels.shop = rosa AND state = done".to_owned();
    let request = ListOperationsRequest { filter, ..ListOperationsRequest::default() };
    let listed = mesh.operations().list_operations(request).await.unwrap().into_inner().operations;
    assert_eq!(listed.iter().map(|ticket| &ticket.name).collect::<Vec<_>>(), [&first.name]);
    // Another one with its key, once that is free, and with a result that is not kept for long.
    let second = OnceCell::new();
    let keep_result_for = Some(Duration::from_secs(1).try_into().unwrap());
    let brief = SubmitMapHeader { not_before: None, keep_result_for, ..said };
    eventually("the key is free", async || match submitted_as(&channel, brief.clone(), &numbers(3)).await {
        Ok(ticket) => second.set(ticket).is_ok(),
        Err(error) => {
            assert_eq!(error.code(), Code::AlreadyExists, "{error}");
            false
        }
    })
    .await;
    let second = second.into_inner().unwrap();
    let between = time(metadata(&second).submit_time).duration_since(time(told.submit_time)).unwrap();
    assert!(between >= key_kept_for, "{between:?}");
    let gone = async || {
        let request = ReadMapRequest { name: second.name.clone(), from: 0 };
        mesh.tickets().read_map(request).await.is_err_and(|error| error.code() == Code::NotFound)
    };
    eventually("its results are gone", gone).await;
    let request = GetOperationRequest { name: second.name.clone() };
    assert_eq!(mesh.operations().get_operation(request).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(read(&channel, &first.name, 0).await.0.len(), 100);
}

#[tokio::test]
async fn a_cancel_stops_what_runs() {
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    let _node = mesh.kitchen_of(&cook, Role::Io, 1).await;
    let channel = mesh.channel();
    let ticket = submitted(&channel, header("Simmer"), "", &waits(50, 60_000)).await.unwrap();
    eventually("it runs", async || cook.begun() > 0).await;
    let request = CancelOperationRequest { name: ticket.name.clone() };
    mesh.operations().cancel_operation(request).await.unwrap();
    assert_eq!(metadata(&ended(&channel, &ticket.name).await).state(), TicketState::Cancelled);
    assert_eq!(cook.given_up(), cook.begun());
    let (_, last) = read(&channel, &ticket.name, 0).await;
    assert_eq!(last.unwrap_err().code(), Code::Cancelled);
}

/// In a kitchen of two slots whose jobs take a while to stop, with both slots taken.
async fn resting(
    mesh: &TestMesh,
    cook: &Cook,
    map: MapHeader,
    dishes: &[&'static str],
) -> (TestNode, Operation) {
    let node = mesh.kitchen_of(cook, Role::Worker, 2).await;
    cook.slow_down(200);
    let dish = |content: &&'static str| Bytes::from(Dish { content: (*content).into() }.encode_to_vec());
    let dishes: Vec<_> = dishes.iter().map(dish).collect();
    let ticket = submitted(&mesh.channel(), map, "", &dishes).await.unwrap();
    eventually("both slots are taken", async || cook.resting() == 2).await;
    (node, ticket)
}

#[tokio::test]
async fn it_is_cancelled_when_its_jobs_have_stopped() {
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    let (_node, ticket) = resting(&mesh, &cook, header("Rest"), &["soup"; 20]).await;
    let request = CancelOperationRequest { name: ticket.name.clone() };
    mesh.operations().cancel_operation(request).await.unwrap();
    let operation = ended(&mesh.channel(), &ticket.name).await;
    assert_eq!((metadata(&operation).state(), cook.resting()), (TicketState::Cancelled, 0));
}

#[tokio::test]
async fn it_has_failed_when_the_jobs_beside_the_failure_have_stopped() {
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    let map = MapHeader { on_failure: OnFailure::Stop.into(), ..header("Rest") };
    let (_node, ticket) = resting(&mesh, &cook, map, &["soup", "soup", "spoilt"]).await;
    // One makes room for the spoilt one; the other rests on.
    cook.let_go(1);
    let operation = ended(&mesh.channel(), &ticket.name).await;
    assert_eq!((metadata(&operation).state(), cook.resting()), (TicketState::Failed, 0));
    assert_eq!(Code::from_i32(error(&operation).code), Code::Aborted);
}

async fn parts(directory: &std::path::Path) -> i64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.join("tickets.sqlite3"));
    let mut connection = options.connect().await.unwrap();
    sqlx::query("SELECT count(*) FROM part").fetch_one(&mut connection).await.unwrap().get(0)
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mesh =
        TestMesh::gateway(GatewayConfig { data: data.path().to_owned(), ..GatewayConfig::default() }).await;
    drop(mesh.kitchen(Role::Io, 1).await);
    let dish: Bytes = Dish { content: vec![7; 100_000].into() }.encode_to_vec().into();
    let (sending, requests) = tokio::sync::mpsc::channel(16);
    let mut tickets = mesh.tickets();
    let submit = tokio::spawn(async move {
        tickets.submit_map(tokio_stream::wrappers::ReceiverStream::new(requests)).await
    });
    for request in self::requests(header("Echo"), "", &vec![dish; 20]) {
        sending.send(request).await.unwrap();
    }
    eventually("parts are on disk", async || parts(data.path()).await > 0).await;
    submit.abort();
    eventually("they are gone", async || parts(data.path()).await == 0).await;
    let listed = mesh.operations().list_operations(ListOperationsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().operations, []);
}

#[tokio::test]
async fn a_map_that_is_cancelled_before_its_items_came_leaves_nothing() {
    let mesh = TestMesh::start(1, 1).await;
    for _ in 0..20 {
        let (sending, requests) = tokio::sync::mpsc::channel(16);
        let mut tickets = mesh.tickets();
        let submit = tokio::spawn(async move {
            tickets.submit_map(tokio_stream::wrappers::ReceiverStream::new(requests)).await
        });
        for request in self::requests(header("Echo"), "", &[]) {
            sending.send(request).await.unwrap();
        }
        // Nothing keeps the gateway from making a ticket of it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        submit.abort();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let listed = mesh.operations().list_operations(ListOperationsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().operations, []);
}

fn gateway(listen: SocketAddr, nodes: SocketAddr, kept: &str) -> Process {
    Process::start(GATEWAY, &[&listen.to_string(), &nodes.to_string(), kept])
}

fn channel(gateway: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{gateway}")).unwrap().connect_lazy()
}

/// A kitchen that outlives its gateways, and counts.
fn kitchen(gateways: &[SocketAddr], cook: &Cook) -> (turno::node::Running, CancellationToken) {
    let (kitchen, shutdown) = (Kitchen::of(cook), CancellationToken::new());
    let gateway = gateways.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let config = NodeConfig { gateway, role: Role::Io, ..NodeConfig::default() };
    let running = turno::node("kitchen").service(move || kitchen).start(&config, shutdown.clone()).unwrap();
    (running, shutdown)
}

/// What was read before a kill.
#[derive(Default)]
struct Known {
    results: Vec<MapResult>,
    /// How often each had been run by then.
    runs: BTreeMap<u64, u64>,
}

/// Reads on behind what is known until there are so many more.
async fn read_more(channel: &Channel, name: &str, known: &mut Known, cook: &Cook, more: usize) {
    let results = &mut known.results;
    let wanted = results.len() + more;
    let request = ReadMapRequest { name: name.to_owned(), from: results.len() as u64 };
    let mut reading = TicketsClient::new(channel.clone()).read_map(request).await.unwrap().into_inner();
    while results.len() < wanted {
        let message = reading.next().await.unwrap().unwrap();
        assert_eq!(message.summary, None, "it was done too soon");
        results.extend(message.results);
    }
    let runs = cook.waited_for();
    for result in results.iter() {
        known.runs.entry(result.index).or_insert_with(|| runs[&content(result.index)]);
    }
}

fn content(index: u64) -> Bytes {
    index.to_string().into()
}

/// Each item has its one result, and those that had it before a kill were not run again.
fn must_be_whole(results: &[MapResult], known: &Known, cook: &Cook) {
    assert_eq!(results[..known.results.len()], known.results, "what was read once stays as it was");
    let by_item = by_item(results);
    assert_eq!(by_item.len() as u64, ITEMS);
    for (index, result) in by_item {
        assert_eq!(Dish::decode(&result.response[..]).unwrap().content, content(index));
    }
    let runs = cook.waited_for();
    for (index, before) in &known.runs {
        assert_eq!(runs[&content(*index)], *before, "item {index} was run again");
    }
}

async fn attempts(channel: &Channel, name: &str) -> usize {
    let request = GetOperationRequest { name: name.to_owned() };
    let got = OperationsClient::new(channel.clone()).get_operation(request).await.unwrap();
    metadata(&got.into_inner()).attempts as usize
}

const ITEMS: u64 = 2_000;
const KILLS: usize = 3;

fn slow_map() -> MapHeader {
    MapHeader { in_flight: 40, ..header("Simmer") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_outlives_its_gateway_again_and_again() {
    let (listen, nodes, data) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let kept = data.path().display().to_string();
    let mut running = gateway(listen, nodes, &kept);
    let cook = Cook::default();
    let _kitchen = kitchen(&[nodes], &cook);
    serving(listen).await;
    let ticket = submitted(&channel(listen), slow_map(), "", &waits(ITEMS, 80)).await.unwrap();
    let mut known = Known::default();
    for kill in 0..KILLS {
        let channel = channel(listen);
        eventually("it goes on", async || attempts(&channel, &ticket.name).await > kill).await;
        read_more(&channel, &ticket.name, &mut known, &cook, 50).await;
        tokio::time::sleep(Duration::from_millis(100 * kill as u64)).await;
        running.kill();
        running = gateway(listen, nodes, &kept);
        serving(listen).await;
    }
    let channel = channel(listen);
    let (results, last) = read(&channel, &ticket.name, 0).await;
    assert_eq!(last.unwrap(), MapSummary { items: ITEMS, succeeded: ITEMS, failed: 0 });
    must_be_whole(&results, &known, &cook);
    let told = metadata(&ended(&channel, &ticket.name).await);
    assert!(told.attempts as usize > KILLS && told.failures == 0, "{told:?}");
    println!("{KILLS} kills: {} runs for {ITEMS} items", cook.begun());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_goes_on_with_a_map() {
    let Some(postgres) = Postgres::start().await else {
        return println!("skipped: no PostgreSQL is installed");
    };
    let kept = postgres.address();
    let [(one, one_nodes), (other, other_nodes)] = [(); 2].map(|()| (free_port(), free_port()));
    let first = gateway(one, one_nodes, &kept);
    let cook = Cook::default();
    let _kitchens = [kitchen(&[one_nodes], &cook), kitchen(&[other_nodes], &cook)];
    serving(one).await;
    let ticket = submitted(&channel(one), slow_map(), "", &waits(ITEMS, 80)).await.unwrap();
    let _second = gateway(other, other_nodes, &kept);
    serving(other).await;
    let mut known = Known::default();
    read_more(&channel(other), &ticket.name, &mut known, &cook, 50).await;
    first.kill();
    let (results, last) = read(&channel(other), &ticket.name, 0).await;
    assert_eq!(last.unwrap(), MapSummary { items: ITEMS, succeeded: ITEMS, failed: 0 });
    must_be_whole(&results, &known, &cook);
}
