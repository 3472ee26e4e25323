//! What comes back of a call.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::metadata::MetadataMap;
use turno::node::config::Role;
use turno::{Code, Request};
use turno_gateway::GatewayConfig;
use turno_runtime::units::{Size, Span};
use turno_tests::kitchen::{Courses, Dish, Number, Wait, kitchen};
use turno_tests::{TestMesh, eventually};

use crate::{client, dish, timed, wait};

#[tokio::test]
async fn every_kind_of_method_answers() {
    let mesh = TestMesh::start(1, 2).await;
    let client = client(&mesh);
    assert_eq!(client.call::<kitchen::Echo>(dish("bread")).await.unwrap(), dish("bread"));
    assert_eq!(client.call::<kitchen::Echo>(Dish::default()).await.unwrap(), Dish::default());
    assert_eq!(client.call::<kitchen::Square>(Number { value: 12, ms: 0 }).await.unwrap().value, 144);
    assert_eq!(client.call::<kitchen::Order>(Number { value: 7, ms: 0 }).await.unwrap().value, 49);
    let courses = Courses { count: 5, bytes: 10, ..Courses::default() };
    let served = client.stream::<kitchen::Serve>(courses).await.unwrap();
    assert_eq!(served.map(|dish| dish.unwrap().content.len()).collect::<Vec<_>>().await, [10; 5]);
    assert!(format!("{client:?}").contains(&mesh.running().clients().to_string()));
}

#[tokio::test]
async fn a_rich_error_arrives_untouched() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let error = client.call::<kitchen::Refuse>(dish(&b"\x08\x09\x00\xff"[..])).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, "the oven is cold"));
    assert_eq!(error.details(), b"\x08\x09\x00\xff");
    assert_eq!(error.metadata().get("waiter").unwrap(), "Rosa");
    assert_eq!(error.metadata().get("oven").unwrap(), "cold");
    assert_eq!(client.call::<kitchen::Burn>(dish("x")).await.unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn deadline_metadata_and_caller_reach_the_method() {
    let mesh = TestMesh::start(0, 1).await;
    let mut request = timed(Dish::default(), Duration::from_secs(30));
    request.metadata_mut().insert("turno-tenant", "bakery".parse().unwrap());
    request.metadata_mut().insert("x-table", "7".parse().unwrap());
    request.metadata_mut().insert("turno-caller-peer", "somebody else".parse().unwrap());
    let seen = client(&mesh).call::<kitchen::Inspect>(request).await.unwrap();
    assert_eq!(seen.metadata.get("x-table").unwrap(), "7");
    assert_eq!(seen.metadata.get("turno-tenant").unwrap(), "bakery");
    assert!(!seen.metadata.contains_key("grpc-timeout"));
    assert!(seen.peer.starts_with("127.0.0.1:"), "{}", seen.peer);
    assert!((20_000..=30_000).contains(&seen.time_left_ms), "{}", seen.time_left_ms);
    let seen = client(&mesh).call::<kitchen::Inspect>(Dish::default()).await.unwrap();
    assert_eq!((seen.time_left_ms, seen.metadata.len()), (0, 0));
}

#[tokio::test]
async fn large_bodies_go_both_ways() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    let content = bytes::Bytes::from((0..1_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    assert!(client.call::<kitchen::Echo>(dish(content.clone())).await.unwrap().content == content);
    let job = client.call::<kitchen::Bake>(Wait { ms: 0, content: content.clone() }).await.unwrap();
    assert!(job.content == content, "a job's body came back changed");
    // Below the limit of a frame, above that of the node's link, both ways.
    let carry_above = Size::kib(4);
    let mesh = TestMesh::gateway(GatewayConfig { carry_above, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Both, 1).await;
    let client = self::client(&mesh);
    let middle = content.slice(..60_000);
    assert!(client.call::<kitchen::Echo>(dish(middle.clone())).await.unwrap().content == middle);
}

#[tokio::test]
async fn a_good_answer_has_its_trailers_small_or_large() {
    let mesh = TestMesh::start(1, 1).await;
    let client = client(&mesh);
    // One that goes by the link, and one that is too large for it.
    for bytes in [10, 1_000_000] {
        let asked = || dish(vec![7; bytes]);
        let plain = client.call_with_metadata::<kitchen::Inspect>(asked()).await.unwrap();
        assert_eq!(plain.get_ref().method, "kitchen.v1.Kitchen/Inspect");
        assert_eq!(plain.metadata().get("inspector").unwrap(), "Rosa");
        assert!(!plain.metadata().contains_key("turno-explain"));
        let nested = client.call_with_metadata::<kitchen::InspectNested>(asked()).await.unwrap();
        assert_eq!(nested.metadata().get_all("inspector").iter().count(), 1);
        let told = client.call_with_metadata::<kitchen::Inspect>(explained(asked())).await.unwrap();
        assert_eq!(told.metadata().get("inspector").unwrap(), "Rosa");
        assert_eq!(spent(told.metadata(), "away"), 0);
        let slow = explained(Wait { ms: 50, content: asked().content });
        let slow = client.call_with_metadata::<kitchen::Simmer>(slow).await.unwrap();
        assert!(spent(slow.metadata(), "wait") >= 45_000, "{:?}", slow.metadata());
        assert_eq!(slow.into_inner(), asked());
    }
}

/// Asks for its account.
fn explained<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("turno-explain", "1".parse().unwrap());
    request
}

/// A part of the account of a call, whose parts sum to the whole.
fn spent(metadata: &MetadataMap, name: &str) -> u64 {
    let text = metadata.get("turno-explain").expect("an account").to_str().unwrap();
    let us = |part: &str| part.strip_suffix("us").and_then(|us| us.parse::<u64>().ok());
    let parts: Vec<_> = text
        .split(' ')
        .filter_map(|part| part.split_once('='))
        .filter_map(|(name, value)| Some((name, us(value)?)))
        .collect();
    let sum: u64 = parts[1..].iter().map(|(_, us)| us).sum();
    assert_eq!(parts[0], ("total", sum), "{text}");
    parts.iter().find(|(part, _)| *part == name).expect("a part of that name").1
}

#[tokio::test]
async fn a_call_that_is_late_hears_whether_it_was_in_the_queue_or_at_a_node() {
    let longest_call = Span(Duration::from_millis(400));
    let mesh = TestMesh::gateway(GatewayConfig { longest_call, ..GatewayConfig::default() }).await;
    let _worker = mesh.kitchen(Role::Worker, 1).await;
    let (holding, taken) = (client(&mesh), explained(wait(3_000)));
    let holding = tokio::spawn(async move { holding.call::<kitchen::Bake>(taken).await });
    eventually("the slot is taken", async || mesh.in_flight().await == 1).await;
    let waiting = client(&mesh).call::<kitchen::Bake>(explained(wait(0))).await.unwrap_err();
    let held = holding.await.unwrap().unwrap_err();
    assert_eq!((waiting.code(), held.code()), (Code::DeadlineExceeded, Code::DeadlineExceeded));
    assert!(spent(waiting.metadata(), "queue") >= 350_000, "{waiting:?}");
    assert!(spent(held.metadata(), "away") >= 350_000, "{held:?}");
}

#[tokio::test]
async fn what_nobody_serves_is_unimplemented() {
    let patience = Span(Duration::from_millis(100));
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..GatewayConfig::default() }).await;
    let error = client(&mesh).call::<kitchen::Echo>(dish("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().starts_with("no node has joined"), "{error}");
    let _worker = mesh.kitchen(Role::Worker, 1).await;
    let error = client(&mesh).call::<kitchen::Echo>(dish("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().starts_with("no node has served kitchen.v1.Kitchen/Echo since "), "{error}");
}
