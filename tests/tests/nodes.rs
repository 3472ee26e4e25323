//! Nodes that come, leave and are lost.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt as _;
use turno::node::config::{NodeConfig, Role};
use turno_gateway::GatewayConfig;
use turno_runtime::units::Span;
use turno_tests::kitchen::Cook;
use turno_tests::stubs::kitchen_client::KitchenClient;
use turno_tests::stubs::{Courses, Dish, Number, Wait};
use turno_tests::{TestMesh, eventually, refused_at_once};

fn wait(ms: u64) -> Wait {
    Wait { ms, ..Wait::default() }
}

#[tokio::test]
async fn jobs_spread_over_the_slots_of_all_workers() {
    let mesh = TestMesh::start(2, 2).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.bake(wait(1000)).await })
        })
        .collect();
    eventually("every slot is taken", async || {
        mesh.nodes().await.iter().filter(|node| node.role == "worker").all(|node| node.in_flight >= 2)
    })
    .await;
    // Small calls go on as if nothing were.
    assert_eq!(mesh.client().echo(Dish { content: "x".into() }).await.unwrap().into_inner().content, "x");
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_worker_that_comes_later_takes_what_waits() {
    let mesh =
        TestMesh::gateway(GatewayConfig { patience: Span::seconds(20), ..GatewayConfig::default() }).await;
    let first = mesh.kitchen(Role::Worker, 1).await;
    first.leave().await;
    let mut client = mesh.client();
    let waiting = tokio::spawn(async move { client.square(Number { value: 5, ms: 0 }).await });
    let _second = mesh.kitchen(Role::Worker, 1).await;
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().value, 25);
}

/// As when all of a mesh is started together, and its nodes take longer than the gateway waits for them at its start.
#[tokio::test]
async fn calls_wait_for_the_first_node_however_late_it_is() {
    let patience = Span::seconds(3);
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..GatewayConfig::default() }).await;
    let error = mesh.client().echo(Dish::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().starts_with("no node has joined since this gateway started"), "{error}");
    let mut client = mesh.client();
    let waiting = tokio::spawn(async move { client.echo(Dish::default()).await });
    let _node = mesh.kitchen(Role::Io, 1).await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_that_wait_for_the_first_node_are_in_the_house_once() {
    let config = GatewayConfig { max_calls: 1, patience: Span::seconds(20), ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    let calls = (0..2).map(|_| {
        let mut client = mesh.client();
        tokio::spawn(async move { client.echo(Dish::default()).await })
    });
    let (first, _, mut waiting) = futures_util::future::select_all(calls).await;
    let refused = first.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let _node = mesh.kitchen(Role::Io, 1).await;
    waiting.remove(0).await.unwrap().unwrap();
}

#[tokio::test]
async fn when_the_last_node_has_left_calls_wait_and_then_hear_so() {
    let patience = Span(Duration::from_millis(200));
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..GatewayConfig::default() }).await;
    mesh.kitchen(Role::Both, 1).await.leave().await;
    for error in [
        mesh.client().echo(Dish::default()).await.unwrap_err(),
        mesh.client().square(Number::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.message().starts_with("no node serves kitchen.v1.Kitchen/"), "{error}");
        assert!(error.message().ends_with("its last one left, and none came within 200 ms"), "{error}");
    }
    let killed = mesh.kitchen(Role::Both, 1).await;
    killed.running.abort();
    eventually("it is gone", async || mesh.nodes().await.is_empty()).await;
    let error = mesh.client().echo(Dish::default()).await.unwrap_err();
    assert!(error.message().ends_with("its last one was lost, and none came within 200 ms"), "{error}");
    let killed = mesh.kitchen(Role::Both, 1).await;
    let mut client = mesh.client();
    let begun = tokio::spawn(async move { client.reheat(wait(60_000)).await });
    eventually("it runs", async || mesh.in_flight().await == 1).await;
    killed.running.abort();
    let error = begun.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(
        error.message().ends_with("came within 200 ms; it may have run before, at another node"),
        "{error}"
    );
}

#[tokio::test]
async fn a_node_that_leaves_finishes_what_it_has() {
    let mesh = TestMesh::start(0, 1).await;
    let leaving = mesh.kitchen(Role::Worker, 2).await;
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let mut client = mesh.client();
            tokio::spawn(async move { client.bake(wait(500)).await })
        })
        .collect();
    eventually("it works", async || mesh.nodes().await.iter().any(|node| node.in_flight >= 2)).await;
    let _other = mesh.kitchen(Role::Worker, 2).await;
    leaving.leave().await;
    // Bake may not be repeated: had one been lost, it would have failed.
    for call in calls {
        call.await.unwrap().unwrap();
    }
    eventually("it is gone", async || mesh.nodes().await.len() == 2).await;
}

#[tokio::test]
async fn what_a_lost_node_had_is_repeated_only_if_it_may_be() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let lost = mesh.kitchen(Role::Io, 1).await;
    let (mut may, mut may_not) = (mesh.client(), mesh.client());
    let may = tokio::spawn(async move { may.reheat(wait(2000)).await });
    let may_not = tokio::spawn(async move { may_not.simmer(wait(60_000)).await });
    eventually("both run", async || mesh.nodes().await.iter().any(|node| node.in_flight == 2)).await;
    let _other = mesh.kitchen(Role::Io, 1).await;
    lost.running.abort();
    may.await.unwrap().unwrap();
    let error = may_not.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("may have run"), "{error}");
}

#[tokio::test]
async fn a_gateway_that_ends_finishes_what_is_in_flight_nested_calls_included() {
    let mesh = TestMesh::start(1, 1).await;
    let (mut one, mut other) = (mesh.client(), mesh.client());
    let one = tokio::spawn(async move { one.order(Number { value: 9, ms: 2000 }).await });
    let other = tokio::spawn(async move { other.simmer(wait(2000)).await });
    eventually("both run", async || mesh.nodes().await.iter().map(|node| node.in_flight).sum::<u64>() >= 3)
        .await;
    mesh.end().await;
    assert_eq!(one.await.unwrap().unwrap().into_inner().value, 81);
    other.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_outlives_a_gateways_time_to_drain_hears_so_and_leaves_its_node() {
    let drain = Span(Duration::from_millis(100));
    let mesh = TestMesh::gateway(GatewayConfig { drain, ..GatewayConfig::default() }).await;
    let cook = Cook::default();
    let _node = mesh.kitchen_of(&cook, Role::Io, 1).await;
    let (mut one, mut other) = (mesh.client(), mesh.client());
    let waits = tokio::spawn(async move { one.simmer(wait(60_000)).await.map(drop) });
    let streams = tokio::spawn(async move {
        let courses = Courses { count: 1, pause_ms: 60_000, ..Courses::default() };
        other.serve(courses).await?.into_inner().message().await.map(drop)
    });
    eventually("both run", async || cook.begun() == 2).await;
    mesh.end().await;
    for call in [waits, streams] {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.message().starts_with("the gateway is ending, and kitchen.v1.Kitchen/"), "{error}");
        assert!(error.message().ends_with("it may have run"), "{error}");
    }
    eventually("the methods are dropped", async || cook.given_up() == 2).await;
}

#[tokio::test]
async fn what_no_node_has_had_when_the_time_to_drain_is_over_has_not_run() {
    let drain = Span(Duration::from_millis(400));
    let mesh = TestMesh::gateway(GatewayConfig { drain, ..GatewayConfig::default() }).await;
    let _worker = mesh.kitchen(Role::Worker, 1).await;
    let (mut one, mut other) = (mesh.client(), mesh.client());
    let holds = tokio::spawn(async move { one.knead(wait(60_000)).await });
    eventually("the slot is taken", async || mesh.in_flight().await == 1).await;
    let waits = tokio::spawn(async move { other.knead(wait(60_000)).await });
    tokio::task::yield_now().await;
    let refused = mesh.client().knead(refused_at_once(wait(0))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    mesh.end().await;
    let error = holds.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().ends_with("it may have run"), "{error}");
    assert!(error.get_details_retry_info().is_none(), "who came again might run it again: {error}");
    let error = waits.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(
        error.message().contains("kitchen.v1.Kitchen/Knead when its time to drain was over: it has not run"),
        "{error}"
    );
    assert!(error.get_details_retry_info().is_some(), "{error}");
}

#[tokio::test]
async fn a_node_links_again_when_the_gateway_is_back() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let nodes = mesh.running().nodes();
    let node = mesh.kitchen(Role::Io, 1).await;
    mesh.end().await;
    let (listen, data) = ("127.0.0.1:0".parse().unwrap(), tempfile::tempdir().unwrap());
    let again = GatewayConfig { nodes, listen, data: data.path().into(), ..GatewayConfig::default() };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let gateway = turno_gateway::Gateway::bind(again).await.unwrap().start(shutdown);
    let url = format!("http://{}", gateway.clients());
    let mut client = KitchenClient::connect(url).await.unwrap();
    // At once, before the node is back: a gateway that has just started waits for the nodes that it does not know yet.
    client.echo(Dish::default()).await.unwrap();
    assert!(node.running.readiness().get());
}

#[tokio::test]
async fn a_node_without_the_token_stays_outside() {
    let token = serde_token("open-sesame");
    let mesh = TestMesh::gateway(GatewayConfig { token, ..GatewayConfig::default() }).await;
    let config = mesh.node_config(Role::Io, 1);
    let make = || turno::node("kitchen").service(turno_tests::kitchen::Kitchen::default);
    let outside = make().start(&config, tokio_util::sync::CancellationToken::new()).unwrap();
    let token = "open-sesame".to_owned().try_into().unwrap();
    let inside = mesh.join(make(), NodeConfig { token, ..config }).await;
    assert_eq!(mesh.nodes().await.len(), 1);
    assert!(!outside.readiness().get());
    // Nor does one without it wait for nodes: of a method that nobody serves.
    let url = format!("http://{}", mesh.running().nodes());
    let mut stranger = KitchenClient::connect(url).await.unwrap();
    assert_eq!(stranger.bake(wait(0)).await.unwrap_err().code(), Code::Unauthenticated);
    // Nested calls show it too.
    let dish = Dish::default();
    let seen = mesh.client().inspect_nested(dish).await.unwrap().into_inner();
    assert!(!seen.metadata.contains_key("authorization"));
    inside.leave().await;
}

fn serde_token<T: TryFrom<String, Error: std::fmt::Debug>>(token: &str) -> T {
    T::try_from(token.to_owned()).unwrap()
}
