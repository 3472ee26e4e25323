//! Methods with `hedge_after`: a call that takes long begins a second time, at another node, and the first answer counts.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::time::Duration;

use tokio::task::JoinHandle;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_tests::kitchen::Cook;
use turno_tests::stubs::{Dish, Wait};
use turno_tests::{TestMesh, TestNode, eventually};

/// Far longer than a test may take.
const FOR_EVER: u64 = 60_000;

fn wait(ms: u64, content: &'static str) -> Wait {
    Wait { ms, content: content.into() }
}

/// A gateway and so many nodes, of which the test looks into each.
async fn mesh_with<const N: usize>(role: Role) -> (TestMesh, [Cook; N], Vec<TestNode>) {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let cooks = std::array::from_fn(|_| Cook::default());
    let mut nodes = Vec::new();
    for cook in &cooks {
        nodes.push(mesh.kitchen_of(cook, role, 1).await);
    }
    (mesh, cooks, nodes)
}

/// One begins at the slow node, is answered by another, and given up there.
async fn a_job_is_answered_elsewhere(mesh: &TestMesh, slow: &Cook) {
    eventually("a job begins at the slow node, and is answered by the other", async || {
        let answer = mesh.client().hedged_job(wait(1, "bread")).await.unwrap();
        assert_eq!(answer.into_inner().content, "bread");
        slow.begun() > 0
    })
    .await;
    eventually("the slow node has given it up", async || slow.given_up() == slow.begun()).await;
}

/// Two jobs that hold their slots until they are let go.
fn two_that_rest(mesh: &TestMesh) -> [JoinHandle<()>; 2] {
    [(); 2].map(|()| {
        let mut client = mesh.client();
        tokio::spawn(async move {
            client.rest(Dish::default()).await.unwrap();
        })
    })
}

#[tokio::test]
async fn the_second_attempt_answers_and_the_first_is_cancelled_at_its_node() {
    let (mesh, [slow, fast], _nodes) = mesh_with(Role::Io).await;
    slow.slow_down(FOR_EVER);
    eventually("a call begins at the slow node, and is answered by the other", async || {
        let answer = mesh.client().hedged(wait(1, "soup")).await.unwrap();
        assert_eq!(answer.into_inner().content, "soup");
        slow.begun() > 0
    })
    .await;
    eventually("the slow node has dropped it", async || slow.given_up() == slow.begun()).await;
    assert!(fast.begun() > 0);
    assert_eq!(fast.given_up(), 0);
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}

#[tokio::test]
async fn a_job_too_and_its_slot_is_free_soon() {
    let (mesh, [slow, fast], _nodes) = mesh_with(Role::Worker).await;
    slow.slow_down(FOR_EVER);
    a_job_is_answered_elsewhere(&mesh, &slow).await;
    assert_eq!(fast.given_up(), 0);
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}

/// The worker with the job that hangs has more free slots than the other: the next job would go there, but not this one.
#[tokio::test]
async fn a_job_is_hedged_at_the_fuller_worker() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let (fast, slow) = (Cook::default(), Cook::default());
    let _fast = mesh.kitchen_of(&fast, Role::Worker, 4).await;
    let holding = two_that_rest(&mesh);
    eventually("two of its slots are taken", async || fast.resting() == 2).await;
    let _slow = mesh.kitchen_of(&slow, Role::Worker, 4).await;
    slow.slow_down(FOR_EVER);
    a_job_is_answered_elsewhere(&mesh, &slow).await;
    assert!(fast.begun() > 0);
    fast.let_go(2);
    for call in holding {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn where_there_is_no_other_node_there_is_no_second_attempt() {
    for role in [Role::Io, Role::Worker] {
        let (mesh, [only], _nodes) = mesh_with(role).await;
        let answer = match role {
            Role::Io => mesh.client().hedged(wait(300, "soup")).await,
            _ => mesh.client().hedged_job(wait(300, "soup")).await,
        };
        assert_eq!(answer.unwrap().into_inner().content, "soup");
        assert_eq!((only.begun(), only.given_up()), (1, 0), "{role}");
    }
}

#[tokio::test]
async fn a_job_that_waits_for_a_slot_does_not_wait_twice() {
    let (mesh, [one, other], _nodes) = mesh_with(Role::Worker).await;
    let holding = two_that_rest(&mesh);
    eventually("both slots are taken", async || one.resting() + other.resting() == 2).await;
    let mut client = mesh.client();
    let waiting = tokio::spawn(async move { client.hedged_job(wait(1, "bread")).await });
    // Longer than `hedge_after`.
    tokio::time::sleep(Duration::from_millis(150)).await;
    one.let_go(1);
    other.let_go(1);
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().content, "bread");
    for call in holding {
        call.await.unwrap();
    }
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
    assert_eq!(one.begun() + other.begun(), 1);
}
