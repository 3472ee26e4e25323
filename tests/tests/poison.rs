//! Requests that kill the processes they run in, and those that were just there when a node ended.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::time::Duration;

use futures_util::{TryStreamExt as _, stream};
use tonic::{Code, Status};
use turno::Client;
use turno::node::config::{NodeConfig, Role};
use turno_gateway::GatewayConfig;
use turno_runtime::units::Span;
use turno_tests::kitchen::{self, Kitchen, kitchen as rpc};
use turno_tests::stubs::{Courses, Dish, Number};
use turno_tests::{Process, Programs, TestMesh, TestNode, eventually};

const PROGRAMS: Programs = turno_tests::programs!();

const POISON: Number = Number { value: 666, ms: 0 };

fn dish(content: &'static str) -> Dish {
    Dish { content: content.into() }
}

/// A node, as a process.
fn start(mesh: &TestMesh, role: &str) -> Process {
    PROGRAMS.kitchen(&mesh.running().nodes().to_string(), role, 1)
}

/// A gateway, and so many nodes.
async fn mesh_with(role: &str, count: usize) -> (TestMesh, Vec<Process>) {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let nodes: Vec<_> = (0..count).map(|_| start(&mesh, role)).collect();
    eventually("all nodes join", async || mesh.nodes().await.len() == count).await;
    (mesh, nodes)
}

fn assert_refused(error: &Status) {
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("running on two nodes when they were lost"), "{error}");
}

#[tokio::test]
async fn what_has_killed_two_nodes_is_not_given_to_a_third() {
    let (mesh, _workers) = mesh_with("worker", 3).await;
    // It may be repeated, and is: on a second node, and on no other.
    assert_refused(&mesh.client().risk(POISON).await.unwrap_err());
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    for _ in 0..10 {
        assert_refused(&mesh.client().risk(POISON).await.unwrap_err());
    }
    assert_eq!(mesh.client().risk(Number { value: 1, ms: 0 }).await.unwrap().into_inner().value, 1);
    assert_eq!(mesh.nodes().await.len(), 1);
}

#[tokio::test]
async fn a_client_that_tries_again_by_itself_is_stopped_too() {
    let (mesh, _workers) = mesh_with("worker", 3).await;
    let error = mesh.client().gulp(dish("poison")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().contains("may have run"), "{error}");
    assert_refused(&mesh.client().gulp(dish("poison")).await.unwrap_err());
    assert_refused(&mesh.client().gulp(dish("poison")).await.unwrap_err());
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    assert_eq!(mesh.client().gulp(dish("bread")).await.unwrap().into_inner().content, "bread");
}

#[tokio::test]
async fn clients_with_a_link_are_no_way_around_it() {
    let (mesh, _workers) = mesh_with("worker", 3).await;
    let client = Client::connect(mesh.running().clients().to_string()).unwrap();
    let poison = || kitchen::Number { value: 666, ms: 0 };
    assert_refused(&client.call::<rpc::Risk>(poison()).await.unwrap_err());
    assert_refused(&client.call::<rpc::Risk>(poison()).await.unwrap_err());
    assert_refused(&mesh.client().risk(POISON).await.unwrap_err());
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    client.call::<rpc::Risk>(kitchen::Number { value: 1, ms: 0 }).await.unwrap();
}

async fn serve(mesh: &TestMesh, courses: Courses) -> Result<Vec<Dish>, Status> {
    mesh.client().serve(courses).await?.into_inner().try_collect().await
}

#[tokio::test]
async fn a_stream_that_kills_its_node_behind_its_first_message_is_stopped_too() {
    let (mesh, _nodes) = mesh_with("io", 3).await;
    let poison = Courses { count: 1, bytes: 666, pause_ms: 100, ..Courses::default() };
    let error = serve(&mesh, poison).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_refused(&serve(&mesh, poison).await.unwrap_err());
    assert_refused(&serve(&mesh, poison).await.unwrap_err());
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    assert_eq!(serve(&mesh, Courses { bytes: 665, ..poison }).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_stream_that_works_speaks_for_its_input() {
    let (mesh, mut nodes) = mesh_with("io", 1).await;
    let courses = Courses { count: 1, bytes: 1, pause_ms: 300, ..Courses::default() };
    for _ in 0..2 {
        let mut broken = mesh.client().serve(courses).await.unwrap().into_inner();
        broken.message().await.unwrap().unwrap();
        nodes.pop().unwrap().kill();
        assert_eq!(broken.message().await.unwrap_err().code(), Code::Unavailable);
        nodes.push(start(&mesh, "io"));
        eventually("another has come", async || mesh.nodes().await.len() == 1).await;
        assert_eq!(serve(&mesh, courses).await.unwrap().len(), 1);
    }
}

/// A worker where Prove does not end, and that does not wait for it when it leaves.
async fn impatient(mesh: &TestMesh) -> TestNode {
    let drain = Span(Duration::from_millis(20));
    let config = NodeConfig { drain, ..mesh.node_config(Role::Worker, 1) };
    mesh.join(turno::node("kitchen").service(Kitchen::slow), config).await
}

async fn has_it(mesh: &TestMesh, worker: &TestNode) -> bool {
    let id = worker.running.id();
    mesh.nodes().await.iter().any(|node| node.id == id && node.in_flight == 1)
}

/// What is at the first of two impatient workers goes to the other when it leaves, and then to one that ends it.
async fn leave_one_after_the_other(mesh: &TestMesh, first: TestNode) {
    eventually("the first has it", async || has_it(mesh, &first).await).await;
    let second = impatient(mesh).await;
    first.leave().await;
    eventually("the second has it", async || has_it(mesh, &second).await).await;
    drop(mesh.kitchen(Role::Worker, 1).await);
    second.leave().await;
}

#[tokio::test]
async fn nodes_that_leave_speak_against_no_call() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let (first, mut client) = (impatient(&mesh).await, mesh.client());
    let proving = tokio::spawn(async move { client.prove(Number { value: 7, ms: 0 }).await });
    leave_one_after_the_other(&mesh, first).await;
    assert_eq!(proving.await.unwrap().unwrap().into_inner().value, 7);
}

#[tokio::test]
async fn nodes_that_leave_speak_against_no_item_of_a_map() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let first = impatient(&mesh).await;
    let client = Client::connect(mesh.running().clients().to_string()).unwrap();
    let one = stream::iter([kitchen::Number { value: 7, ms: 0 }]);
    let proving = client.map::<rpc::Prove>(one).await.unwrap();
    leave_one_after_the_other(&mesh, first).await;
    let proved = proving.try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(proved.into_iter().map(|(_, number)| number.unwrap().value).collect::<Vec<_>>(), [7]);
}
