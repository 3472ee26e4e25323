//! Methods that hold their thread though they are `async fn`s: they are named, and the others go on.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::v1::Blocking;
use turno_tests::stubs::{Dish, Wait};
use turno_tests::{TestMesh, eventually};

const FRY: &str = "kitchen.v1.Kitchen/Fry";

fn wait(ms: u64) -> Wait {
    Wait { ms, ..Wait::default() }
}

async fn mesh(role: Role) -> TestMesh {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    drop(mesh.kitchen(role, 1).await);
    mesh
}

async fn blocking(mesh: &TestMesh) -> Vec<Blocking> {
    mesh.nodes().await.into_iter().flat_map(|node| node.blocking).collect()
}

async fn eventually_named(mesh: &TestMesh, times: u64, longest_ms: u64) {
    eventually("it is named", async || {
        let seen = blocking(mesh).await;
        seen.iter().any(|seen| seen.method == FRY && seen.times >= times && seen.longest_ms >= longest_ms)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn it_is_named_with_how_often_and_how_long() {
    let mesh = mesh(Role::Io).await;
    for (times, ms) in [(1, 500), (2, 300)] {
        mesh.client().fry(wait(ms)).await.unwrap();
        eventually_named(&mesh, times, ms).await;
    }
    // 500 ms are one time, and so is a call that is over.
    assert_eq!(blocking(&mesh).await.iter().map(|seen| seen.times).collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn it_is_named_while_it_still_blocks() {
    let mesh = mesh(Role::Io).await;
    let mut client = mesh.client();
    let call = tokio::spawn(async move { client.fry(wait(2000)).await });
    eventually_named(&mesh, 1, 100).await;
    assert!(!call.is_finished());
    call.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn others_go_on_beside_more_of_them_than_there_are_threads() {
    let mesh = mesh(Role::Io).await;
    let before = mesh.nodes().await;
    mesh.client().echo(Dish::default()).await.unwrap();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.fry(wait(1000)).await })
        })
        .collect();
    eventually("they run", async || mesh.nodes().await[0].in_flight == 8).await;
    let echoes = mesh.echoes_beside(&calls).await;
    assert!(echoes > 10, "{echoes}");
    for call in calls {
        call.await.unwrap().unwrap();
    }
    eventually_named(&mesh, 8, 1000).await;
    assert_eq!(mesh.nodes().await[0].id, before[0].id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn once_caught_it_runs_apart() {
    let mesh = mesh(Role::Io).await;
    let thread = async |ms| mesh.client().fry(wait(ms)).await.unwrap().into_inner().content;
    assert_ne!(thread(0).await, "confined");
    thread(300).await;
    eventually_named(&mesh, 1, 300).await;
    assert_eq!(thread(0).await, "confined");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_awaits_and_who_is_a_job_is_not_accused() {
    let mesh = mesh(Role::Both).await;
    let (mut simmer, mut bake) = (mesh.client(), mesh.client());
    let (simmered, baked) = tokio::join!(simmer.simmer(wait(400)), bake.bake(wait(400)));
    simmered.unwrap();
    baked.unwrap();
    mesh.client().fry(wait(300)).await.unwrap();
    eventually_named(&mesh, 1, 300).await;
    let named: Vec<_> = blocking(&mesh).await.into_iter().map(|seen| seen.method).collect();
    assert_eq!(named, [FRY]);
}
