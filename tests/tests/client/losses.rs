//! Nodes, links and gateways that end or break.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use turno::node::config::Role;
use turno::{Client, Code};
use turno_gateway::{Gateway, GatewayConfig};
use turno_tests::kitchen::{Cook, Courses, Number, kitchen};
use turno_tests::{TestMesh, eventually, free_port};

use crate::breaking::{self, Fate};
use crate::{client, client_of, dish, timed, wait};

#[tokio::test]
async fn what_a_lost_node_had_is_repeated_only_if_it_may_be() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let lost = mesh.kitchen(Role::Io, 1).await;
    let (client, other) = (client(&mesh), client(&mesh));
    let may = tokio::spawn(async move { client.call::<kitchen::Reheat>(wait(2000)).await });
    let may_not = tokio::spawn(async move { other.call::<kitchen::Simmer>(wait(60_000)).await });
    eventually("both run", async || mesh.nodes().await[0].in_flight == 2).await;
    let _other = mesh.kitchen(Role::Io, 1).await;
    lost.running.abort();
    may.await.unwrap().unwrap();
    let error = may_not.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("may have run"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_loses_no_call() {
    let meshes = [TestMesh::start(0, 1).await, TestMesh::start(0, 1).await];
    let client =
        Client::to(meshes.iter().map(|mesh| mesh.running().clients().to_string())).connect().unwrap();
    // Simmer may not be repeated: had one been lost, it would have failed.
    let ending = CancellationToken::new();
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let (client, ending) = (client.clone(), ending.clone());
            tokio::spawn(async move {
                let (mut calls, mut after) = (0, 0);
                while after < 20 {
                    client.call::<kitchen::Simmer>(wait(2)).await.unwrap();
                    calls += 1;
                    after += u32::from(ending.is_cancelled());
                }
                calls
            })
        })
        .collect();
    for mesh in &meshes {
        eventually("calls go to both", async || mesh.nodes().await[0].calls_served > 50).await;
    }
    let [one, _other] = meshes;
    one.end().await;
    ending.cancel();
    for caller in callers {
        assert!(caller.await.unwrap() >= 20);
    }
}

#[tokio::test]
async fn a_gateway_that_ends_answers_what_is_in_flight() {
    let mesh = TestMesh::start(1, 1).await;
    let (one, other, third) = (client(&mesh), client(&mesh), client(&mesh));
    let idle = client(&mesh);
    idle.call::<kitchen::Echo>(dish("x")).await.unwrap();
    let one = tokio::spawn(async move { one.call::<kitchen::Order>(Number { value: 9, ms: 1000 }).await });
    let other = tokio::spawn(async move { other.call::<kitchen::Simmer>(wait(1000)).await });
    eventually("both run", async || mesh.nodes().await.iter().map(|node| node.in_flight).sum::<u64>() >= 3)
        .await;
    let third = tokio::spawn(async move { third.call::<kitchen::Square>(Number { value: 3, ms: 0 }).await });
    eventually("the third waits", async || {
        mesh.nodes().await.iter().map(|node| node.in_flight).sum::<u64>() >= 3
    })
    .await;
    mesh.end().await;
    assert_eq!(one.await.unwrap().unwrap().value, 81);
    other.await.unwrap().unwrap();
    assert_eq!(third.await.unwrap().unwrap().value, 9);
}

#[tokio::test]
async fn streams_outlive_a_gateway_that_ends_and_the_next_one_goes_elsewhere() {
    let meshes = [TestMesh::start(0, 1).await, TestMesh::start(0, 1).await];
    let client = client_of(&meshes).await;
    let courses = || Courses { count: 100, bytes: 10, pause_ms: 20, ..Courses::default() };
    let mut streams = Vec::new();
    for _ in &meshes {
        streams.push(client.stream::<kitchen::Serve>(courses()).await.unwrap());
    }
    let [one, _other] = meshes;
    let gateway = one.running().clients().to_string();
    let ending = tokio::spawn(one.end());
    eventually("the client is told", async || !format!("{client:?}").contains(&gateway)).await;
    streams.push(client.stream::<kitchen::Serve>(courses()).await.unwrap());
    for stream in streams {
        assert_eq!(stream.map(|dish| dish.unwrap().content.len()).collect::<Vec<_>>().await, [10; 100]);
    }
    ending.await.unwrap();
}

#[tokio::test]
async fn who_dials_the_port_for_nodes_hears_so() {
    let token = "open-sesame".to_owned().try_into().unwrap();
    let mesh = TestMesh::gateway(GatewayConfig { token, ..GatewayConfig::default() }).await;
    let wrong = mesh.running().nodes().to_string();
    let client = Client::to([wrong]).patience(Duration::from_millis(200)).connect().unwrap();
    // Once it has dialled, which may take longer than a call's patience.
    eventually("it hears so", async || {
        let error = client.call::<kitchen::Echo>(dish("x")).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        error.message().contains("clients have one of their own")
    })
    .await;
}

#[tokio::test]
async fn a_client_links_again_when_the_gateway_is_back() {
    let (listen, nodes) = (free_port(), free_port());
    let mesh = TestMesh::gateway(GatewayConfig { listen, nodes, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let client = client(&mesh);
    client.call::<kitchen::Echo>(dish("x")).await.unwrap();
    mesh.end().await;
    let waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.call::<kitchen::Echo>(dish("x")).await });
    let data = tempfile::tempdir().unwrap();
    let again = GatewayConfig { nodes, listen, data: data.path().into(), ..GatewayConfig::default() };
    let _gateway = Gateway::bind(again).await.unwrap().start(CancellationToken::new());
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_gateway_that_takes_long_to_leave_does_not_keep_its_address_from_the_next() {
    let (listen, cook) = (free_port(), Cook::default());
    let mesh = TestMesh::gateway(GatewayConfig { listen, ..GatewayConfig::default() }).await;
    let _worker = mesh.kitchen_of(&cook, Role::Worker, 1).await;
    let client = client(&mesh);
    let rests = client.clone();
    let rests = tokio::spawn(async move { rests.call::<kitchen::Rest>(dish("x")).await });
    eventually("it runs", async || cook.resting() == 1).await;
    let ending = tokio::spawn(mesh.end());
    eventually("its port is closed", async || std::net::TcpListener::bind(listen).is_ok()).await;
    let next = TestMesh::gateway(GatewayConfig { listen, ..GatewayConfig::default() }).await;
    let _node = next.kitchen(Role::Io, 1).await;
    client.call::<kitchen::Echo>(dish("x")).await.unwrap();
    assert_eq!(cook.resting(), 1);
    cook.let_go(1);
    rests.await.unwrap().unwrap();
    ending.await.unwrap();
}

#[tokio::test]
async fn without_a_gateway_a_call_waits_and_then_hears_so() {
    let nobody = free_port();
    let client = Client::to([nobody.to_string()]).patience(Duration::from_millis(300)).connect().unwrap();
    let error = client.call::<kitchen::Echo>(dish("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains(&nobody.to_string()), "{error}");
    assert!(error.message().contains("refused"), "{error}");
    let error = client.call::<kitchen::Echo>(timed(dish("x"), Duration::from_millis(50))).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(Client::connect("no port").is_err());
}

#[tokio::test]
async fn patience_is_as_long_for_those_that_wait_for_their_turn() {
    const WAITING: usize = 20;
    let mesh = TestMesh::start(0, 1).await;
    let gateway = mesh.running().clients().to_string();
    let patience = Duration::from_millis(500);
    let client = Client::to([gateway.clone()]).patience(patience).in_flight(1).connect().unwrap();
    let holds = client.clone();
    let holds = tokio::spawn(async move { holds.call::<kitchen::Simmer>(wait(3000)).await });
    eventually("it runs", async || mesh.in_flight().await == 1).await;
    let waiting = (0..WAITING).map(|number| {
        let content = vec![7; if number.is_multiple_of(2) { 1 } else { 100_000 }];
        client.call::<kitchen::Echo>(dish(content))
    });
    let began = std::time::Instant::now();
    let (answers, ()) = tokio::join!(futures_util::future::join_all(waiting), mesh.end());
    holds.await.unwrap().unwrap();
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.message().contains(&gateway), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_map_waits_for_a_gateway_no_longer_than_its_deadline() {
    let nobody = free_port();
    let client = Client::to([nobody.to_string()]).patience(Duration::from_secs(20)).connect().unwrap();
    let dishes = futures_util::stream::iter([dish("x")]);
    let began = std::time::Instant::now();
    let error = client.map::<kitchen::Echo>(timed(dishes, Duration::from_millis(50))).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn what_may_have_run_when_the_link_breaks_is_repeated_only_if_it_may_be() {
    let every_second = |call: u64| if call.is_multiple_of(2) { Fate::Breaks } else { Fate::Answered };
    let broken = breaking::serve(every_second).await;
    let client = Client::connect(broken.to_string()).unwrap();
    let error = client.call::<kitchen::Simmer>(wait(0)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("may have run"), "{error}");
    // The link breaks under every second call.
    assert_eq!(client.call::<kitchen::Echo>(dish("bread")).await.unwrap(), dish("bread"));
    assert_eq!(client.call::<kitchen::Echo>(dish("bread")).await.unwrap(), dish("bread"));
}

#[tokio::test]
async fn what_may_have_run_says_so_where_no_gateway_comes_back() {
    let broken = breaking::serve_some(|_| Fate::Breaks, 1).await.to_string();
    let client = Client::to([broken.clone()]).patience(Duration::from_millis(300)).connect().unwrap();
    let error = client.call::<kitchen::Echo>(dish("bread")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("it may have run; it did not go again: no gateway of"), "{error}");
    assert!(error.message().contains(&broken), "{error}");
}

/// On one link when it breaks.
const IN_FLIGHT: u64 = 300;

#[tokio::test]
async fn of_all_the_calls_of_a_link_that_breaks_no_more_are_repeated_than_the_budget_has_room_for() {
    // None of them is answered before all have left.
    let fate = |call: u64| match call {
        1..IN_FLIGHT => Fate::Held,
        IN_FLIGHT => Fate::Breaks,
        _ => Fate::Answered,
    };
    let client = Client::connect(breaking::serve(fate).await.to_string()).unwrap();
    client.call::<kitchen::Echo>(dish("bread")).await.unwrap();
    let calls = (0..IN_FLIGHT).map(|_| client.call::<kitchen::Echo>(dish("bread")));
    let answers = futures_util::future::join_all(calls).await;
    let repeated = answers.iter().filter(|answer| answer.is_ok()).count();
    // The reserve is 100; and a fifth of the calls.
    assert!((150..=170).contains(&repeated), "{repeated} were repeated");
    for error in answers.into_iter().filter_map(Result::err) {
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.message().contains("may have run"), "{error}");
        assert!(error.message().contains("the retry budget is used up"), "{error}");
    }
    // What is called now is a call, not a repetition.
    client.call::<kitchen::Echo>(dish("bread")).await.unwrap();
}

#[tokio::test]
async fn a_deadline_runs_while_a_call_waits_for_a_gateway() {
    let (listen, nodes) = (free_port(), free_port());
    let mesh = TestMesh::gateway(GatewayConfig { listen, nodes, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let client = Client::to([listen.to_string()]).patience(Duration::from_secs(20)).connect().unwrap();
    client.call::<kitchen::Echo>(dish("x")).await.unwrap();
    mesh.end().await;
    // By the link, and by plain gRPC.
    let waiting = [1, 100_000].map(|bytes| {
        let (client, request) = (client.clone(), timed(dish(vec![7; bytes]), Duration::from_secs(30)));
        tokio::spawn(async move { client.call::<kitchen::Inspect>(request).await })
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let data = tempfile::tempdir().unwrap();
    let again = GatewayConfig { nodes, listen, data: data.path().into(), ..GatewayConfig::default() };
    let _gateway = Gateway::bind(again).await.unwrap().start(CancellationToken::new());
    for call in waiting {
        let seen = call.await.unwrap().unwrap();
        assert!((10_000..29_600).contains(&seen.time_left_ms), "{} ms are left", seen.time_left_ms);
    }
}
