//! One worker with two gateways: its slots go to the gateway where work waits.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use tokio::task::JoinHandle;
use turno::node::config::{NodeConfig, Role};
use turno_gateway::GatewayConfig;
use turno_tests::kitchen::{Cook, Kitchen};
use turno_tests::stubs::Dish;
use turno_tests::{TestMesh, TestNode, eventually};

/// Two gateways, and a worker of four slots that serves both.
async fn shared_worker(cook: &Cook) -> ([TestMesh; 2], TestNode) {
    let gateway = || TestMesh::gateway(GatewayConfig::default());
    let meshes = [gateway().await, gateway().await];
    let both = format!("{},{}", meshes[0].running().nodes(), meshes[1].running().nodes());
    let config = NodeConfig { gateway: both, ..meshes[0].node_config(Role::Worker, 4) };
    let kitchen = Kitchen::of(cook);
    let node = meshes[0].join(turno::node("kitchen").service(move || kitchen), config).await;
    eventually("the other knows it too", async || meshes[1].nodes().await.len() == 1).await;
    (meshes, node)
}

/// So many jobs that hold their slots until they are let go.
fn rest(mesh: &TestMesh, jobs: usize) -> Vec<JoinHandle<()>> {
    let rest = |_| {
        let mut client = mesh.client();
        tokio::spawn(async move { drop(client.rest(Dish::default()).await.unwrap()) })
    };
    (0..jobs).map(rest).collect()
}

/// Jobs of a gateway that are at the worker.
async fn at_worker(mesh: &TestMesh) -> u64 {
    mesh.nodes().await[0].in_flight
}

/// Jobs of a gateway that the worker has done.
async fn done(mesh: &TestMesh) -> u64 {
    mesh.nodes().await[0].calls_served
}

/// One who may fill slots may have the next jobs there already, behind those that fill them; one who may not has none.
async fn eventually_at_worker(meshes: &[TestMesh; 2], slots: [u64; 2]) {
    let what = format!("the gateways fill {slots:?} slots of the worker");
    let fills = |jobs, slots| if slots == 0 { jobs == 0 } else { jobs >= slots };
    eventually(&what, async || {
        fills(at_worker(&meshes[0]).await, slots[0]) && fills(at_worker(&meshes[1]).await, slots[1])
    })
    .await;
}

/// Lets one job go after the other, whosever it is, until all of these are done.
async fn let_go_until_done(cook: &Cook, jobs: &[JoinHandle<()>]) {
    eventually("the jobs are done", async || {
        if cook.resting() == 4 {
            cook.let_go(1);
        }
        jobs.iter().all(JoinHandle::is_finished)
    })
    .await;
}

async fn all_slots_work(cook: &Cook) {
    eventually("no slot idles", async || cook.resting() == 4).await;
}

#[tokio::test]
async fn slots_go_where_work_waits_and_come_back() {
    let cook = Cook::default();
    let (meshes, _node) = shared_worker(&cook).await;
    let [one, other] = &meshes;
    // One has work and the other has none: it gets every slot.
    let of_one = rest(one, 60);
    eventually_at_worker(&meshes, [4, 0]).await;
    all_slots_work(&cook).await;
    // The other has work too: it gets half, as soon as what holds the slots is done.
    let of_other = rest(other, 60);
    eventually("it may fill two slots", async || at_worker(other).await == 2).await;
    eventually("the other's jobs are done as well", async || {
        let shared = done(other).await >= 8;
        if !shared && cook.resting() == 4 {
            cook.let_go(1);
        }
        shared
    })
    .await;
    // Four were there before it came, and some may have been on their way; then they took turns.
    assert!(done(one).await < 30, "the first had {} of its jobs done meanwhile", done(one).await);
    all_slots_work(&cook).await;
    // The first runs out of work, since its clients go away: all of them are the other's.
    of_one.iter().for_each(JoinHandle::abort);
    eventually_at_worker(&meshes, [0, 4]).await;
    all_slots_work(&cook).await;
    // And back.
    let of_one = rest(one, 12);
    of_other.iter().for_each(JoinHandle::abort);
    eventually_at_worker(&meshes, [4, 0]).await;
    all_slots_work(&cook).await;
    cook.let_go(12);
    for job in of_one {
        job.await.unwrap();
    }
}

#[tokio::test]
async fn a_gateway_that_ends_leaves_its_slots_to_the_other() {
    let cook = Cook::default();
    let (meshes, _node) = shared_worker(&cook).await;
    let (of_one, of_other) = (rest(&meshes[0], 6), rest(&meshes[1], 60));
    eventually_at_worker(&meshes, [2, 2]).await;
    let [one, other] = meshes;
    let ending = tokio::spawn(one.end());
    let_go_until_done(&cook, &of_one).await;
    ending.await.unwrap();
    eventually("the other fills every slot", async || at_worker(&other).await >= 4).await;
    all_slots_work(&cook).await;
    of_other.iter().for_each(JoinHandle::abort);
}
