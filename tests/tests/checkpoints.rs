//! Jobs that use rayon's iterators stop soon when nobody waits for them any more.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::time::Duration;

use tonic::{Code, Request};
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_tests::kitchen::Cook;
use turno_tests::stubs::{Number, Wait};
use turno_tests::{TestMesh, TestNode, eventually};

/// Far more items than a test has time for.
const ENDLESS: Wait = Wait { ms: 1_000_000, content: bytes::Bytes::new() };

/// A gateway, an I/O node, and a worker into which the test looks.
async fn kitchen(slots: u32) -> (TestMesh, Cook, [TestNode; 2]) {
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    let worker = mesh.kitchen_of(&cook, Role::Worker, slots).await;
    let io = mesh.kitchen(Role::Io, 1).await;
    (mesh, cook, [worker, io])
}

/// The job has stopped, and its slots take others.
async fn has_stopped(mesh: &TestMesh, cook: &Cook) {
    eventually("the job has stopped", async || cook.given_up() == 1).await;
    let square = mesh.client().square(Number { value: 12, ms: 0 }).await.unwrap();
    assert_eq!(square.into_inner().value, 144);
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}

#[tokio::test]
async fn a_parallel_job_is_done_where_nobody_stops_it() {
    let (mesh, cook, _nodes) = kitchen(2).await;
    let rolled = mesh.client().laminate(Wait { ms: 100, content: "dough".into() }).await.unwrap();
    assert_eq!(rolled.into_inner().content, "dough");
    assert_eq!((cook.begun(), cook.given_up()), (1, 0));
}

#[tokio::test]
async fn a_client_that_goes_away_stops_a_parallel_job() {
    for slots in [1, 2] {
        let (mesh, cook, _nodes) = kitchen(slots).await;
        let mut client = mesh.client();
        let call = tokio::spawn(async move { client.laminate(ENDLESS).await });
        eventually("it runs", async || cook.begun() == 1).await;
        call.abort();
        has_stopped(&mesh, &cook).await;
    }
}

#[tokio::test]
async fn a_deadline_stops_a_parallel_job() {
    let (mesh, cook, _nodes) = kitchen(2).await;
    let mut request = Request::new(ENDLESS);
    request.set_timeout(Duration::from_millis(100));
    let error = mesh.client().laminate(request).await.unwrap_err();
    // tonic's own timer says CANCELLED, and may be first.
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&error.code()), "{error}");
    has_stopped(&mesh, &cook).await;
}

#[tokio::test]
async fn a_nested_parallel_job_stops_with_its_caller() {
    let (mesh, cook, _nodes) = kitchen(2).await;
    let mut client = mesh.client();
    let call = tokio::spawn(async move { client.laminate_nested(ENDLESS).await });
    eventually("it runs", async || cook.begun() == 1).await;
    call.abort();
    has_stopped(&mesh, &cook).await;
}

#[tokio::test]
async fn a_nested_parallel_job_stops_at_its_callers_deadline() {
    let (mesh, cook, _nodes) = kitchen(2).await;
    let mut request = Request::new(ENDLESS);
    request.set_timeout(Duration::from_millis(100));
    mesh.client().laminate_nested(request).await.unwrap_err();
    eventually("the job has stopped, if it began", async || cook.given_up() == cook.begun()).await;
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}
