//! Calls and the batch (tickets, maps) before the threads of one I/O node: calls pass, and the batch goes on.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::WaitOperationRequest;
use turno_proto::v1::submit_response::Result as Submitted;
use turno_proto::v1::{SubmitRequest, TicketMetadata, TicketState};
use turno_tests::kitchen::{self, kitchen as rpc};
use turno_tests::stubs::{Dish, Wait};
use turno_tests::{TestMesh, eventually};

async fn one_io_node() -> TestMesh {
    one_io_node_of(GatewayConfig::default()).await
}

async fn one_io_node_of(config: GatewayConfig) -> TestMesh {
    let mesh = TestMesh::gateway(config).await;
    mesh.kitchen(Role::Io, 1).await;
    mesh
}

/// Their names.
async fn submit(mesh: &TestMesh, count: usize, method: &str, request: &impl Message) -> Vec<String> {
    let request = SubmitRequest {
        method: format!("kitchen.v1.Kitchen/{method}"),
        request: request.encode_to_vec().into(),
        ..SubmitRequest::default()
    };
    let requests = tokio_stream::iter(vec![request; count]);
    let answers = mesh.tickets().submit_many(requests).await.unwrap().into_inner();
    let name = |answer: Result<turno_proto::v1::SubmitResponse, _>| match answer.unwrap().result.unwrap() {
        Submitted::Operation(operation) => operation.name,
        Submitted::Error(error) => panic!("{error:?}"),
    };
    answers.map(name).collect().await
}

async fn all_are_done(mesh: &TestMesh, names: Vec<String>) {
    for name in names {
        let request = WaitOperationRequest { name, timeout: None };
        let operation = mesh.operations().wait_operation(request).await.unwrap().into_inner();
        let ticket = operation.metadata.unwrap().to_msg::<TicketMetadata>().unwrap();
        assert_eq!((ticket.state(), ticket.failures), (TicketState::Done, 0));
    }
}

async fn served(mesh: &TestMesh) -> u64 {
    mesh.nodes().await[0].calls_served
}

/// Holds a thread for so long.
const FRY_MS: u64 = 4;

/// `async fn`s that crunch, twenty at once, each so many times. Answers how many ran.
async fn call(mesh: &TestMesh, times: usize) -> u64 {
    const AT_ONCE: usize = 20;
    join_all((0..AT_ONCE).map(async |_| {
        let mut client = mesh.client();
        for _ in 0..times {
            client.fry(Wait { ms: FRY_MS, ..Wait::default() }).await.unwrap();
        }
    }))
    .await;
    (AT_ONCE * times) as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn calls_pass_tickets_of_async_fns_and_none_is_refused() {
    let mesh = one_io_node().await;
    let tickets = submit(&mesh, 1500, "Fry", &Wait { ms: FRY_MS, ..Wait::default() }).await;
    eventually("the node is busy with them", async || served(&mesh).await > 50).await;
    let before = served(&mesh).await;
    let calls = call(&mesh, 20).await;
    let of_the_batch = served(&mesh).await - before - calls;
    all_are_done(&mesh, tickets).await;
    assert!(of_the_batch < calls, "{of_the_batch} tickets ran beside {calls} calls");
    mesh.end().await;
}

/// The batch is a map without an end: it does not run dry, however slow the machine is.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_nodes_threads_keep_the_share_that_the_gateway_is_told() {
    let mesh = one_io_node_of(GatewayConfig { batch_share: 0.9, ..GatewayConfig::default() }).await;
    let client = turno::Client::connect(mesh.running().clients().to_string()).unwrap();
    let waits = stream::repeat_with(|| kitchen::Wait { ms: FRY_MS, ..kitchen::Wait::default() });
    let mut answers = client.map::<rpc::Fry>(waits).in_flight(200).await.unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let counter = done.clone();
    let map = tokio::spawn(async move {
        while let Some((_, answer)) = answers.try_next().await.unwrap() {
            answer.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    eventually("the node is busy with it", async || done.load(Ordering::Relaxed) > 50).await;
    let before = done.load(Ordering::Relaxed);
    let calls = call(&mesh, 5).await;
    let of_the_batch = done.load(Ordering::Relaxed) - before;
    // With a tenth, as by default, it is a ninth of the calls.
    assert!(of_the_batch > calls, "{of_the_batch} items ran beside {calls} calls");
    map.abort();
    mesh.end().await;
}

/// What a ticket calls is of the batch as it is, and does not wait for its turn: its caller has the turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn tickets_that_call_others_do_not_wait_for_themselves() {
    let mesh = one_io_node().await;
    let tickets = submit(&mesh, 500, "InspectNested", &Dish { content: "soup".into() }).await;
    all_are_done(&mesh, tickets).await;
    mesh.end().await;
}

/// Those that only wait take no thread: they are not held back for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn tickets_that_wait_are_at_the_node_in_thousands() {
    let mesh = one_io_node().await;
    let tickets = submit(&mesh, 1000, "Simmer", &Wait { ms: 6000, ..Wait::default() }).await;
    eventually("most are there", async || mesh.nodes().await[0].in_flight > 600).await;
    all_are_done(&mesh, tickets).await;
    mesh.end().await;
}
