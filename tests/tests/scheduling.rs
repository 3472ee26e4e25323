//! Lanes, limits, deadlines and accounts, as clients meet them.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_tests::kitchen::Cook;
use turno_tests::stubs::{Dish, Number, Wait};
use turno_tests::{TestMesh, eventually};

fn wait(ms: u64) -> Wait {
    Wait { ms, ..Wait::default() }
}

/// The parts of a `turno-explain` trailer by name, in microseconds.
fn parts(metadata: &tonic::metadata::MetadataMap) -> std::collections::HashMap<String, u64> {
    let text = metadata.get("turno-explain").expect("an account").to_str().unwrap().to_owned();
    let part = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((name.to_owned(), value.strip_suffix("us")?.parse().ok()?))
    };
    text.split(' ').filter_map(part).collect()
}

#[tokio::test]
async fn who_asks_hears_where_the_time_went() {
    let mesh = TestMesh::start(1, 1).await;
    let mut request = Request::new(wait(50));
    request.metadata_mut().insert("turno-explain", "1".parse().unwrap());
    let answer = mesh.client().simmer(request).await.unwrap();
    let account = parts(answer.metadata());
    assert!(account["wait"] >= 45_000, "{account:?}");
    let sum: u64 = account.iter().filter(|(name, _)| *name != "total").map(|(_, us)| us).sum();
    assert_eq!(sum, account["total"]);
    // Also of an error, and not unless asked for.
    let mut request = Request::new(Dish::default());
    request.metadata_mut().insert("turno-explain", "1".parse().unwrap());
    let error = mesh.client().refuse(request).await.unwrap_err();
    assert!(parts(error.metadata()).contains_key("total"));
    let plain = mesh.client().echo(Dish::default()).await.unwrap();
    assert!(!plain.metadata().contains_key("turno-explain"));
}

#[tokio::test]
async fn a_methods_own_timeout_cuts_a_call_that_has_none() {
    let mesh = TestMesh::start(0, 1).await;
    let error = mesh.client().timed(wait(60_000)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
}

#[tokio::test]
async fn no_more_jobs_of_a_method_run_than_its_concurrency() {
    let mesh = TestMesh::start(1, 4).await;
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.narrow(wait(150)).await })
        })
        .collect();
    eventually("two run", async || mesh.in_flight().await == 2).await;
    assert_eq!(mesh.most_at_once(&calls).await, 2);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_done_in_time_is_refused_at_once() {
    let mesh = TestMesh::start(1, 1).await;
    for value in 0..10 {
        mesh.client().square(Number { value, ms: 100 }).await.unwrap();
    }
    let queued: Vec<_> = (0..20)
        .map(|value| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.square(Number { value, ms: 100 }).await })
        })
        .collect();
    eventually("the queue is seen", async || {
        let mut request = Request::new(Number { value: 1, ms: 100 });
        request.set_timeout(Duration::from_millis(900));
        let asked = Instant::now();
        match mesh.client().square(request).await {
            Err(error) if error.code() == Code::ResourceExhausted => {
                assert!(error.get_details_retry_info().is_some(), "{error}");
                assert!(asked.elapsed() < Duration::from_millis(700), "not at once: {:?}", asked.elapsed());
                true
            }
            _ => false,
        }
    })
    .await;
    for call in queued {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn calls_go_before_batch() {
    let mesh = TestMesh::start(1, 1).await;
    let mut holding = mesh.client();
    let holding = tokio::spawn(async move { holding.bake(wait(300)).await });
    eventually("the slot is taken", async || mesh.nodes().await.iter().any(|node| node.in_flight == 1)).await;
    let batch: Vec<_> = (0..10)
        .map(|value| {
            let (mut client, mut request) = (mesh.client(), Request::new(Number { value, ms: 50 }));
            request.metadata_mut().insert("turno-lane", "batch".parse().unwrap());
            tokio::spawn(async move { client.square(request).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    mesh.client().square(Number { value: 7, ms: 1 }).await.unwrap();
    // It came last, and was not last: batch had at most its share meanwhile.
    assert!(batch.iter().filter(|call| call.is_finished()).count() <= 3);
    holding.await.unwrap().unwrap();
    for call in batch {
        call.await.unwrap().unwrap();
    }
}

/// Brief jobs are answered together, but one that turns out to take long does not keep the answers of those before it.
#[tokio::test]
async fn an_answer_does_not_wait_for_a_job_that_takes_longer_than_usual() {
    const WAITING: u64 = 12;
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    mesh.kitchen_of(&cook, Role::Worker, 1).await;
    cook.let_go(100);
    for _ in 0..100 {
        mesh.client().rest(Dish::default()).await.unwrap();
    }
    let answered = Arc::new(AtomicU64::new(0));
    let call = || {
        let (mut client, answered) = (mesh.client(), answered.clone());
        tokio::spawn(async move {
            client.rest(Dish::default()).await.unwrap();
            answered.fetch_add(1, Ordering::SeqCst);
        })
    };
    let mut calls = vec![call()];
    eventually("the first rests", async || cook.resting() == 1).await;
    calls.extend((0..WAITING).map(|_| call()));
    // They have time to come to the node, and to wait for the slot there: as many as the window allows.
    tokio::time::sleep(Duration::from_millis(50)).await;
    // The first, and one more; the next then has the slot for as long as nobody lets it go.
    cook.let_go(2);
    eventually("both are answered", async || answered.load(Ordering::SeqCst) == 2).await;
    eventually("the third rests", async || cook.resting() == 1).await;
    cook.let_go(WAITING - 1);
    for call in calls {
        call.await.unwrap();
    }
}
