//! Nodes as processes that are really killed, stopped and asked to end.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use turno_gateway::GatewayConfig;
use turno_tests::stubs::{Dish, Number, Wait};
use turno_tests::{TestMesh, eventually};

/// A kitchen as a process; killed when dropped.
struct Kitchen(Child);

impl Kitchen {
    fn start(mesh: &TestMesh, role: &str, slots: u32) -> Self {
        let gateway = mesh.running().nodes().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kitchen-node"));
        command.args([
            "--gateway",
            &gateway,
            "--role",
            role,
            "--slots",
            &slots.to_string(),
            "--log",
            "error",
        ]);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Kitchen {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn mesh_with(nodes: &[(&str, u32)]) -> (TestMesh, Vec<Kitchen>) {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let kitchens: Vec<Kitchen> =
        nodes.iter().map(|(role, slots)| Kitchen::start(&mesh, role, *slots)).collect();
    eventually("all nodes join", async || mesh.nodes().await.len() == nodes.len()).await;
    (mesh, kitchens)
}

#[tokio::test]
async fn killing_a_worker_under_a_thousand_jobs_loses_no_answer() {
    let (mesh, mut kitchens) = mesh_with(&[("worker", 2), ("worker", 2)]).await;
    let calls: Vec<_> = (0..1000_u64)
        .map(|value| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.square(Number { value, ms: 1 }).await })
        })
        .collect();
    let served = async || mesh.nodes().await.iter().map(|node| node.calls_served).sum::<u64>();
    eventually("some are done", async || served().await > 100).await;
    kitchens.remove(0).signal(Signal::KILL);
    for (value, call) in (0_u64..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap().into_inner().value, value * value);
    }
    eventually("the dead one is gone", async || mesh.nodes().await.len() == 1).await;
}

#[tokio::test]
async fn a_worker_asked_to_end_under_load_loses_nothing() {
    let (mesh, mut kitchens) = mesh_with(&[("worker", 2), ("worker", 2)]).await;
    // Bake may not be repeated: one that was lost would fail.
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.bake(Wait { ms: 5, ..Wait::default() }).await })
        })
        .collect();
    let served = async || mesh.nodes().await.iter().map(|node| node.calls_served).sum::<u64>();
    eventually("some are done", async || served().await > 20).await;
    let mut leaving = kitchens.remove(0);
    leaving.signal(Signal::TERM);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let left = tokio::task::spawn_blocking(move || leaving.0.wait().unwrap()).await.unwrap();
    assert!(left.success());
}

#[tokio::test]
async fn a_node_that_falls_silent_is_noticed_and_its_calls_go_elsewhere() {
    let (mesh, kitchens) = mesh_with(&[("io", 1)]).await;
    let mut client = mesh.client();
    let waiting = tokio::spawn(async move { client.reheat(Wait { ms: 1, content: "soup".into() }).await });
    waiting.await.unwrap().unwrap();
    kitchens[0].signal(Signal::STOP);
    let stopped = Instant::now();
    let mut client = mesh.client();
    let waiting = tokio::spawn(async move { client.reheat(Wait { ms: 1, content: "soup".into() }).await });
    let _other = Kitchen::start(&mesh, "io", 1);
    // It was at the silent node, and may be repeated.
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().content, "soup");
    // 2.5 s by design; a loaded test machine may take longer, but not as long as TCP itself would.
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    eventually("the silent one is gone", async || mesh.nodes().await.len() == 1).await;
    kitchens[0].signal(Signal::CONT);
    eventually("it comes back", async || mesh.nodes().await.len() == 2).await;
    mesh.client().echo(Dish::default()).await.unwrap();
}
