//! A node that is much slower than the others gets no calls for a while, and comes back; a worker gets the jobs that no
//! other has a free slot for.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::cell::Cell;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::Request;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_tests::kitchen::Cook;
use turno_tests::stubs::Wait;
use turno_tests::{TestMesh, TestNode, eventually};

/// Callers that call one after the other until they are told to end.
struct Callers {
    ending: CancellationToken,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Callers {
    /// Of an `async fn`, or of a job.
    fn start(mesh: &TestMesh, role: Role, callers: usize) -> Self {
        let ending = CancellationToken::new();
        let call = |_| {
            let (mut client, ending) = (mesh.client(), ending.clone());
            tokio::spawn(async move {
                while !ending.is_cancelled() {
                    match role {
                        // So long that hardly any is held ready at a worker.
                        Role::Worker => client.knead(Wait { ms: 5, ..Wait::default() }).await.unwrap(),
                        _ => client.simmer(Wait { ms: 1, ..Wait::default() }).await.unwrap(),
                    };
                }
            })
        };
        let callers = (0..callers).map(call).collect();
        Self { ending, callers }
    }

    async fn end(self) {
        self.ending.cancel();
        for caller in self.callers {
            caller.await.unwrap();
        }
    }
}

/// What a call takes longer at a slow node.
const SLOW_MS: u64 = 100;

async fn three_nodes(role: Role) -> (TestMesh, [Cook; 3], Vec<TestNode>) {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let cooks: [Cook; 3] = std::array::from_fn(|_| Cook::default());
    let mut nodes = Vec::new();
    for cook in &cooks {
        nodes.push(mesh.kitchen_of(cook, role, 1).await);
    }
    (mesh, cooks, nodes)
}

/// Waits until the others have had a hundred calls in which `cook` had none.
async fn is_left_alone(cook: &Cook, others: [&Cook; 2]) {
    let all = || others.iter().map(|other| other.begun()).sum::<u64>();
    let (mut its, mut before) = (cook.begun(), all());
    eventually("the slow node gets no calls", || {
        if cook.begun() > its {
            (its, before) = (cook.begun(), all());
        }
        std::future::ready(all() >= before + 100)
    })
    .await;
}

#[tokio::test]
async fn a_slow_node_is_left_alone_for_a_while_and_then_has_another_chance() {
    let (mesh, [slow, one, other], _nodes) = three_nodes(Role::Io).await;
    let callers = Callers::start(&mesh, Role::Io, 12);
    for cook in [&slow, &one, &other] {
        eventually("all get calls", async || cook.begun() > 20).await;
    }
    slow.slow_down(SLOW_MS);
    is_left_alone(&slow, [&one, &other]).await;
    // It is well again when its time is over, and stays.
    slow.slow_down(0);
    let before = slow.begun();
    eventually("it gets calls again", async || slow.begun() > before + 100).await;
    callers.end().await;
}

/// Of three workers the one that is chosen first among equals; and as many callers as the others have slots.
async fn slow_worker_that_is_left_alone() -> (TestMesh, Cook, Vec<TestNode>, Callers) {
    let (mesh, [slow, one, other], nodes) = three_nodes(Role::Worker).await;
    slow.slow_down(SLOW_MS);
    let callers = Callers::start(&mesh, Role::Worker, 2);
    eventually("it gets calls", async || slow.begun() > 0).await;
    is_left_alone(&slow, [&one, &other]).await;
    (mesh, slow, nodes, callers)
}

#[tokio::test]
async fn a_slow_worker_is_left_alone_while_others_have_free_slots_and_then_has_another_chance() {
    let (_mesh, slow, _nodes, callers) = slow_worker_that_is_left_alone().await;
    slow.slow_down(0);
    let before = slow.begun();
    eventually("it gets calls again", async || slow.begun() > before + 100).await;
    callers.end().await;
}

/// Whether it is listed as slow, and no other.
async fn is_listed_alone(slow: &TestNode, mesh: &TestMesh) -> bool {
    let id = slow.running.id();
    mesh.nodes().await.iter().all(|node| (node.times_slower > 0) == (node.id == id))
}

#[tokio::test]
async fn a_slow_worker_is_listed_as_one_and_gets_what_the_others_have_no_slot_for() {
    let (mesh, [slow, ..], nodes) = three_nodes(Role::Worker).await;
    slow.slow_down(SLOW_MS);
    let callers = Callers::start(&mesh, Role::Worker, 12);
    eventually("it is listed as slow, and no other", async || is_listed_alone(&nodes[0], &mesh).await).await;
    let before = slow.begun();
    eventually("it gets calls all the same", async || {
        slow.begun() > before + 5 && is_listed_alone(&nodes[0], &mesh).await
    })
    .await;
    callers.end().await;
}

/// A call that is given up soon. Answers whether `cook` had it.
async fn hasty_call_is_at(cook: &Cook, mesh: &TestMesh) -> bool {
    let before = cook.begun();
    let mut wait = Request::new(Wait { ms: 1, ..Wait::default() });
    wait.set_timeout(Duration::from_millis(150));
    let _late = mesh.client().simmer(wait).await;
    cook.begun() > before
}

#[tokio::test]
async fn a_node_that_answers_nothing_in_time_is_left_alone_too() {
    let (mesh, [stuck, one, other], _nodes) = three_nodes(Role::Io).await;
    eventually("all are known", async || {
        hasty_call_is_at(&stuck, &mesh).await;
        [&stuck, &one, &other].iter().all(|cook| cook.begun() > 20)
    })
    .await;
    stuck.slow_down(60_000);
    // One call at a time: it is not for being busy that it gets none.
    let others_in_a_row = Cell::new(0);
    eventually("it gets no calls", async || {
        let is_there = hasty_call_is_at(&stuck, &mesh).await;
        others_in_a_row.set(if is_there { 0 } else { others_in_a_row.get() + 1 });
        others_in_a_row.get() == 40
    })
    .await;
}

#[tokio::test]
async fn who_is_needed_comes_back_at_once() {
    let (mesh, [slow, one, other], mut nodes) = three_nodes(Role::Io).await;
    let callers = Callers::start(&mesh, Role::Io, 12);
    eventually("all get calls", async || [&slow, &one, &other].iter().all(|cook| cook.begun() > 20)).await;
    slow.slow_down(SLOW_MS);
    is_left_alone(&slow, [&one, &other]).await;
    // Of two nodes one may be aside; of the one that is left none.
    nodes.pop().unwrap().leave().await;
    nodes.pop().unwrap().leave().await;
    let before = slow.begun();
    eventually("the slow node serves", async || slow.begun() > before).await;
    callers.end().await;
}

#[tokio::test]
async fn a_slow_worker_serves_at_once_when_it_is_needed() {
    let (_mesh, slow, mut nodes, callers) = slow_worker_that_is_left_alone().await;
    nodes.pop().unwrap().leave().await;
    nodes.pop().unwrap().leave().await;
    let before = slow.begun();
    eventually("the slow worker serves", async || slow.begun() > before).await;
    callers.end().await;
}
