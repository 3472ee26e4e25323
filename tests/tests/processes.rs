//! Nodes as processes that are really killed, stopped and asked to end.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{Stream, TryStreamExt as _, stream};
use turno::Code;
use turno::map::Answers;
use turno::rpc::Unary;
use turno_gateway::GatewayConfig;
use turno_tests::kitchen::{Number, Wait, kitchen};
use turno_tests::stubs;
use turno_tests::{Process, Programs, Signal, TestMesh, eventually};

const PROGRAMS: Programs = turno_tests::programs!();

fn start(mesh: &TestMesh, role: &str, slots: u32) -> Process {
    PROGRAMS.kitchen(&mesh.running().nodes().to_string(), role, slots)
}

async fn mesh_with(nodes: &[(&str, u32)]) -> (TestMesh, Vec<Process>) {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let kitchens: Vec<Process> = nodes.iter().map(|(role, slots)| start(&mesh, role, *slots)).collect();
    eventually("all nodes join", async || mesh.nodes().await.len() == nodes.len()).await;
    (mesh, kitchens)
}

#[tokio::test]
async fn killing_a_worker_under_a_thousand_jobs_loses_no_answer() {
    let (mesh, mut kitchens) = mesh_with(&[("worker", 2), ("worker", 2)]).await;
    let calls: Vec<_> = (0..1000_u64)
        .map(|value| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.square(stubs::Number { value, ms: 1 }).await })
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

/// All threads of its runtime but one sleep until then.
#[tokio::test]
async fn a_program_goes_on_beside_methods_that_hold_its_threads() {
    let (mesh, _kitchens) = mesh_with(&[("io", 1)]).await;
    let before = mesh.nodes().await;
    for ms in [50, 2000] {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let mut client = mesh.client();
                tokio::spawn(async move { client.fry(stubs::Wait { ms, ..stubs::Wait::default() }).await })
            })
            .collect();
        mesh.echoes_beside(&calls).await;
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    assert_eq!(mesh.nodes().await[0].id, before[0].id);
}

#[tokio::test]
async fn a_worker_asked_to_end_under_load_loses_nothing() {
    let (mesh, mut kitchens) = mesh_with(&[("worker", 2), ("worker", 2)]).await;
    // Bake may not be repeated: one that was lost would fail.
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.bake(stubs::Wait { ms: 5, ..stubs::Wait::default() }).await })
        })
        .collect();
    let served = async || mesh.nodes().await.iter().map(|node| node.calls_served).sum::<u64>();
    eventually("some are done", async || served().await > 20).await;
    let mut leaving = kitchens.remove(0);
    leaving.signal(Signal::TERM);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(leaving.ended().await.success());
}

fn numbers(count: u64) -> impl Stream<Item = Number> + Send + 'static {
    stream::iter((0..count).map(|value| Number { value, ms: 0 }))
}

/// Each item's code; none comes twice.
async fn codes<R: Unary>(answers: &mut Answers<R>) -> BTreeMap<u64, Code> {
    let mut codes = BTreeMap::new();
    while let Some((index, answer)) = answers.try_next().await.unwrap() {
        let code = answer.err().map_or(Code::Ok, |error| error.code());
        assert_eq!(codes.insert(index, code), None, "{index} twice");
    }
    codes
}

#[tokio::test]
async fn a_map_goes_on_when_a_worker_is_killed() {
    let (mesh, mut kitchens) = mesh_with(&[("worker", 1), ("worker", 1)]).await;
    let client = turno::Client::connect(mesh.running().clients().to_string()).unwrap();
    let mut answers = client.map::<kitchen::Square>(numbers(50_000)).await.unwrap();
    for _ in 0..1_000 {
        answers.try_next().await.unwrap().unwrap().1.unwrap();
    }
    kitchens.remove(0).signal(Signal::KILL);
    let rest = codes(&mut answers).await;
    assert_eq!(rest.len(), 49_000);
    assert!(rest.values().all(|code| *code == Code::Ok));
    assert_eq!(answers.summary().unwrap().succeeded, 50_000);
}

#[tokio::test]
async fn what_may_not_be_repeated_says_that_it_may_have_run() {
    let (mesh, mut kitchens) = mesh_with(&[("worker", 1), ("worker", 1)]).await;
    let client = turno::Client::connect(mesh.running().clients().to_string()).unwrap();
    // Long ones: a worker that dies between two jobs has nothing to lose.
    let waits = stream::iter((0..8).map(|_| Wait { ms: 500, ..Wait::default() }));
    let mut answers = client.map::<kitchen::Bake>(waits).await.unwrap();
    eventually("both bake", async || mesh.nodes().await.iter().all(|node| node.in_flight == 1)).await;
    kitchens.remove(0).signal(Signal::KILL);
    let codes = codes(&mut answers).await;
    assert_eq!(codes.len(), 8);
    // What was in its slot: before anything is known of a method, nothing is held ready beside it.
    let lost = codes.values().filter(|code| **code == Code::Unavailable).count();
    assert_eq!(lost, 1, "{codes:?}");
    assert_eq!(codes.values().filter(|code| **code == Code::Ok).count(), 7);
}

#[tokio::test]
async fn an_item_that_kills_two_workers_is_in_quarantine_and_its_neighbours_are_not() {
    let (mesh, _kitchens) = mesh_with(&[("worker", 1), ("worker", 1), ("worker", 1)]).await;
    let client = turno::Client::connect(mesh.running().clients().to_string()).unwrap();
    let values = (0..2_000).map(|value| if value == 666 { 666 } else { value % 13 });
    let items = || stream::iter(values.clone().map(|value| Number { value, ms: 0 }));
    let mut answers = client.map::<kitchen::Risk>(items()).await.unwrap();
    let mut all = codes(&mut answers).await;
    assert_eq!(all.remove(&666), Some(Code::FailedPrecondition));
    assert_eq!(all.len(), 1_999);
    assert!(all.values().all(|code| *code == Code::Ok));
    eventually("two are lost", async || mesh.nodes().await.len() == 1).await;
    // The last worker lives on: nobody is given that item any more.
    let again = client.map::<kitchen::Risk>(items()).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(again.len(), 2_000);
    let error = mesh.client().risk(stubs::Number { value: 666, ms: 0 }).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_node_that_falls_silent_is_noticed_and_its_calls_go_elsewhere() {
    let (mesh, kitchens) = mesh_with(&[("io", 1)]).await;
    let mut client = mesh.client();
    let waiting =
        tokio::spawn(async move { client.reheat(stubs::Wait { ms: 1, content: "soup".into() }).await });
    waiting.await.unwrap().unwrap();
    kitchens[0].signal(Signal::STOP);
    let stopped = Instant::now();
    let mut client = mesh.client();
    let waiting =
        tokio::spawn(async move { client.reheat(stubs::Wait { ms: 1, content: "soup".into() }).await });
    let _other = start(&mesh, "io", 1);
    // It was at the silent node, and may be repeated.
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().content, "soup");
    // 2.5 s by design; a loaded test machine may take longer, but not as long as TCP itself would.
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    eventually("the silent one is gone", async || mesh.nodes().await.len() == 1).await;
    kitchens[0].signal(Signal::CONT);
    eventually("it comes back", async || mesh.nodes().await.len() == 2).await;
    mesh.client().echo(stubs::Dish::default()).await.unwrap();
}
