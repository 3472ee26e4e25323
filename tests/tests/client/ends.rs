//! Calls that nobody waits for any more.

use std::time::Duration;

use futures_util::future::try_join_all;
use turno::node::config::Role;
use turno::{Client, Code};
use turno_gateway::GatewayConfig;
use turno_runtime::units::Span;
use turno_tests::kitchen::{Number, Wait, kitchen};
use turno_tests::{TestMesh, eventually, free_port, refused_at_once};

use crate::{client, given_up, timed, wait};

#[tokio::test]
async fn a_deadline_ends_the_call_and_the_method() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let simmer = client.call::<kitchen::Simmer>(timed(wait(60_000), Duration::from_secs(1))).await;
    assert_eq!(simmer.unwrap_err().code(), Code::DeadlineExceeded);
    let knead = client.call::<kitchen::Knead>(timed(wait(60_000), Duration::from_millis(100))).await;
    assert_eq!(knead.unwrap_err().code(), Code::DeadlineExceeded);
    // The only slot is free again, and the awaiting method was dropped.
    assert_eq!(client.call::<kitchen::Square>(Number { value: 2, ms: 0 }).await.unwrap().value, 4);
    eventually("the method is dropped", async || given_up(&client).await == 1).await;
}

#[tokio::test]
async fn the_gateway_ends_what_takes_too_long() {
    let longest_call = Span(Duration::from_millis(100));
    let mesh = TestMesh::gateway(GatewayConfig { longest_call, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Both, 1).await;
    let client = client(&mesh);
    let error = client.call::<kitchen::Simmer>(wait(60_000)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(error.message(), "kitchen.v1.Kitchen/Simmer was not done within 100 ms");
    let error = client.call::<kitchen::Knead>(wait(60_000)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(error.message(), "kitchen.v1.Kitchen/Knead was not done within 100 ms");
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}

#[tokio::test]
async fn dropping_a_call_cancels_it() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let calls = [client.clone(), client.clone()];
    let [awaiting, job] = calls;
    let calls = [
        tokio::spawn(async move { drop(awaiting.call::<kitchen::Simmer>(wait(60_000)).await) }),
        tokio::spawn(async move { drop(job.call::<kitchen::Knead>(wait(60_000)).await) }),
    ];
    eventually("both run", async || mesh.nodes().await.iter().all(|node| node.in_flight == 1)).await;
    calls.iter().for_each(|call| call.abort());
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
    assert_eq!(given_up(&client).await, 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_does_not_hold_a_gateway_that_ends() {
    let mesh = TestMesh::start(0, 1).await;
    let client = client(&mesh);
    let call = client.clone();
    let call = tokio::spawn(async move { drop(call.call::<kitchen::Simmer>(wait(60_000)).await) });
    eventually("it runs", async || mesh.nodes().await[0].in_flight == 1).await;
    let gateway = mesh.running().clients().to_string();
    let ending = tokio::spawn(mesh.end());
    eventually("the client is told", async || !format!("{client:?}").contains(&gateway)).await;
    call.abort();
    // The time to drain is 30 s.
    tokio::time::timeout(Duration::from_secs(10), ending).await.expect("the gateway ends").unwrap();
}

#[tokio::test]
async fn what_outlives_a_gateways_time_to_drain_hears_that_it_may_have_run() {
    let drain = Span(Duration::from_millis(100));
    let mesh = TestMesh::gateway(GatewayConfig { drain, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let client = client(&mesh);
    let call = tokio::spawn(async move { client.call::<kitchen::Simmer>(wait(60_000)).await });
    eventually("it runs", async || mesh.in_flight().await == 1).await;
    mesh.end().await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().contains("it may have run"), "{error}");
}

#[tokio::test]
async fn what_no_node_has_had_when_a_gateways_time_to_drain_is_over_goes_to_another() {
    let drain = Span(Duration::from_millis(500));
    let one = TestMesh::gateway(GatewayConfig { drain, ..GatewayConfig::default() }).await;
    let _worker = one.kitchen(Role::Worker, 1).await;
    let listen = free_port();
    let gateways = [one.running().clients().to_string(), listen.to_string()];
    let client = Client::to(gateways).patience(Duration::from_secs(20)).connect().unwrap();
    let holds = client.clone();
    let holds = tokio::spawn(async move { holds.call::<kitchen::Knead>(wait(60_000)).await });
    eventually("the slot is taken", async || one.in_flight().await == 1).await;
    // They may not be repeated: had they been lost, they would have failed.
    let calls = (0..600).map(|_| {
        let client = client.clone();
        async move { client.call::<kitchen::Bake>(wait(0)).await }
    });
    let waits = tokio::spawn(try_join_all(calls.collect::<Vec<_>>()));
    // It goes by plain gRPC.
    let large = Wait { content: vec![0; 200_000].into(), ..wait(0) };
    let (beside, request) = (client.clone(), large.clone());
    let beside = tokio::spawn(async move { beside.call::<kitchen::Bake>(request).await });
    tokio::task::yield_now().await;
    for last in [wait(0), large] {
        let refused = client.call::<kitchen::Bake>(refused_at_once(last)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let other = TestMesh::gateway(GatewayConfig { listen, ..GatewayConfig::default() }).await;
    let _worker_of_other = other.kitchen(Role::Worker, 1).await;
    one.end().await;
    let error = holds.await.unwrap().unwrap_err();
    assert!(error.message().contains("it may have run"), "{error}");
    waits.await.unwrap().unwrap();
    beside.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_job_without_a_place_waits_for_the_one_that_another_leaves() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let [holds, waits] = [client.clone(), client.clone()];
    let holds = tokio::spawn(async move { drop(holds.call::<kitchen::Knead>(wait(60_000)).await) });
    eventually("the slot is taken", async || mesh.nodes().await.iter().any(|node| node.in_flight == 1)).await;
    let square = Number { value: 12, ms: 0 };
    let waits = tokio::spawn(async move { waits.call::<kitchen::Square>(square).await });
    holds.abort();
    assert_eq!(waits.await.unwrap().unwrap().value, 144);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_calls_along() {
    let mesh = TestMesh::start(0, 1).await;
    let gone = client(&mesh);
    // The only client, so that nothing else keeps its link.
    let call = tokio::spawn(async move { drop(gone.call::<kitchen::Simmer>(wait(60_000)).await) });
    eventually("it runs", async || mesh.nodes().await.iter().all(|node| node.in_flight == 1)).await;
    call.abort();
    eventually("nothing is in flight", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}
