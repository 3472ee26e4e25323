//! Calls and the batch (tickets, maps) before the threads of one I/O node: calls pass, and the batch goes on.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use futures_util::future::join_all;
use prost::Message;
use tokio_stream::StreamExt as _;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::WaitOperationRequest;
use turno_proto::v1::submit_response::Result as Submitted;
use turno_proto::v1::{SubmitRequest, TicketMetadata, TicketState};
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

/// `async fn`s that crunch: more than the node's threads do in a while. Answers how many calls ran, and how many tickets
/// beside them.
async fn calls_beside_tickets(mesh: &TestMesh) -> (u64, u64) {
    const AT_ONCE: usize = 20;
    const CALLS: usize = 20;
    let tickets = submit(mesh, 1500, "Fry", &Wait { ms: 4, ..Wait::default() }).await;
    eventually("the node is busy with them", async || served(mesh).await > 50).await;
    let before = served(mesh).await;
    join_all((0..AT_ONCE).map(async |_| {
        let mut client = mesh.client();
        for _ in 0..CALLS {
            client.fry(Wait { ms: 4, ..Wait::default() }).await.unwrap();
        }
    }))
    .await;
    let calls = (AT_ONCE * CALLS) as u64;
    let of_the_batch = served(mesh).await - before - calls;
    all_are_done(mesh, tickets).await;
    (calls, of_the_batch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn calls_pass_tickets_of_async_fns_and_none_is_refused() {
    let mesh = one_io_node().await;
    let (calls, of_the_batch) = calls_beside_tickets(&mesh).await;
    assert!(of_the_batch < calls / 2, "{of_the_batch} tickets ran beside {calls} calls");
    mesh.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_nodes_threads_keep_the_share_that_the_gateway_is_told() {
    let mesh = one_io_node_of(GatewayConfig { batch_share: 0.9, ..GatewayConfig::default() }).await;
    let (calls, of_the_batch) = calls_beside_tickets(&mesh).await;
    assert!(of_the_batch > calls, "{of_the_batch} tickets ran beside {calls} calls");
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
