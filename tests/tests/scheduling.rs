//! Lanes, limits, deadlines and accounts, as clients meet them.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_runtime::units::Span;
use turno_tests::kitchen::Cook;
use turno_tests::stubs::{Courses, Dish, Number, Wait};
use turno_tests::{TestMesh, eventually};

fn wait(ms: u64) -> Wait {
    Wait { ms, ..Wait::default() }
}

/// Asks for its account.
fn explained<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("turno-explain", "1".parse().unwrap());
    request
}

/// A `turno-explain` trailer.
fn account(metadata: &MetadataMap) -> &str {
    metadata.get("turno-explain").expect("an account").to_str().unwrap()
}

/// Its parts by name, in microseconds. They sum to the whole.
fn parts(metadata: &MetadataMap) -> HashMap<String, u64> {
    let text = account(metadata);
    let part = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((name.to_owned(), value.strip_suffix("us")?.parse().ok()?))
    };
    let parts: HashMap<String, u64> = text.split(' ').filter_map(part).collect();
    let sum: u64 = parts.iter().filter(|(name, _)| *name != "total").map(|(_, us)| us).sum();
    assert_eq!(sum, parts["total"], "{text}");
    parts
}

#[tokio::test]
async fn who_asks_hears_where_the_time_went() {
    let mesh = TestMesh::start(1, 1).await;
    let answer = mesh.client().simmer(explained(wait(50))).await.unwrap();
    let spent = parts(answer.metadata());
    assert!(spent["wait"] >= 45_000 && spent["away"] == 0, "{spent:?}");
    // Also of an error, and not unless asked for.
    let error = mesh.client().refuse(explained(Dish::default())).await.unwrap_err();
    assert_eq!(parts(error.metadata())["away"], 0);
    let plain = mesh.client().echo(Dish::default()).await.unwrap();
    assert!(!plain.metadata().contains_key("turno-explain"));
}

#[tokio::test]
async fn a_call_that_is_late_hears_whether_it_was_in_the_queue_or_at_a_node() {
    let longest_call = Span(Duration::from_millis(400));
    let mesh = TestMesh::gateway(GatewayConfig { longest_call, ..GatewayConfig::default() }).await;
    let _worker = mesh.kitchen(Role::Worker, 1).await;
    let mut holding = mesh.client();
    // It does not ask whether it is still wanted: the slot is taken until its end.
    let holding = tokio::spawn(async move { holding.bake(explained(wait(3_000))).await });
    eventually("the slot is taken", async || mesh.in_flight().await == 1).await;
    let waiting = mesh.client().bake(explained(wait(0))).await.unwrap_err();
    let held = holding.await.unwrap().unwrap_err();
    assert_eq!((waiting.code(), held.code()), (Code::DeadlineExceeded, Code::DeadlineExceeded));
    // The limit that was its own, not how long it took.
    for late in [&waiting, &held] {
        assert_eq!(late.message(), "kitchen.v1.Kitchen/Bake was not done within 400 ms");
    }
    let spent = parts(waiting.metadata());
    assert!(spent["queue"] >= 350_000 && spent["away"] == 0, "{spent:?}");
    assert!(!account(waiting.metadata()).contains("node="), "{waiting}");
    let spent = parts(held.metadata());
    assert!(spent["away"] >= 350_000 && spent["wire"] == 0, "{spent:?}");
    assert!(account(held.metadata()).contains(" node=kitchen/"), "{held}");
}

#[tokio::test]
async fn of_a_node_that_is_lost_nobody_knows_what_it_did() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let lost = mesh.kitchen(Role::Io, 1).await;
    let mut client = mesh.client();
    let calling = tokio::spawn(async move { client.simmer(explained(wait(60_000))).await });
    eventually("it is there", async || mesh.in_flight().await == 1).await;
    lost.running.abort();
    let error = calling.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let spent = parts(error.metadata());
    assert!(spent["away"] > 0 && spent["wire"] + spent["window"] + spent["wait"] == 0, "{spent:?}");
}

#[tokio::test]
async fn a_stream_has_an_account_when_it_has_ended() {
    let mesh = TestMesh::start(0, 1).await;
    let courses = |fail_at_end| Courses { count: 3, bytes: 10, pause_ms: 20, fail_at_end };
    let mut served = mesh.client().serve(explained(courses(false))).await.unwrap().into_inner();
    while served.message().await.unwrap().is_some() {}
    let spent = parts(&served.trailers().await.unwrap().expect("trailers"));
    // Four pauses, and nothing that is not sorted.
    assert!(spent["wait"] >= 60_000 && spent["away"] == 0, "{spent:?}");
    let mut failing = mesh.client().serve(explained(courses(true))).await.unwrap().into_inner();
    let error = loop {
        match failing.message().await {
            Ok(message) => assert!(message.is_some(), "it ended well"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::DataLoss, "{error}");
    assert!(parts(error.metadata())["wait"] >= 60_000);
    // A stream of requests, and one that is refused before it has begun.
    let dishes = || stream::iter([Dish { content: "bread".into() }]);
    let all = mesh.client().collect(explained(dishes())).await.unwrap();
    assert_eq!(parts(all.metadata())["away"], 0);
    let mut closed = explained(dishes());
    closed.metadata_mut().insert("x-closed", "yes".parse().unwrap());
    let error = mesh.client().banter(closed).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert_eq!(parts(error.metadata())["away"], 0);
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
        let mut request = explained(Number { value: 1, ms: 100 });
        request.set_timeout(Duration::from_millis(900));
        let asked = Instant::now();
        match mesh.client().square(request).await {
            Err(error) if error.code() == Code::ResourceExhausted => {
                assert!(error.get_details_retry_info().is_some(), "{error}");
                assert_eq!(parts(error.metadata())["away"], 0);
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
