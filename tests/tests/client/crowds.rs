//! More calls than there is room for.

use std::time::Duration;

use turno::node::config::Role;
use turno::{Client, Code};
use turno_gateway::GatewayConfig;
use turno_tests::kitchen::{Courses, Dish, Number, Wait, kitchen};
use turno_tests::{TestMesh, eventually};

use crate::{client, client_of, dish, timed, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_at_once_are_all_answered() {
    let mesh = TestMesh::start(1, 2).await;
    let client = client(&mesh);
    let calls: Vec<_> = (0..10_000_u64)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                loop {
                    match right(&client, number).await {
                        // The gateway holds back what its only I/O node cannot keep up with.
                        Err(error) if error.code() == Code::ResourceExhausted => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        answer => return answer,
                    }
                }
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap());
    }
}

async fn right(client: &Client, number: u64) -> turno::Result<bool> {
    if number.is_multiple_of(10) {
        let square = client.call::<kitchen::Square>(Number { value: number, ms: 0 }).await?;
        return Ok(square.value == number * number);
    }
    let content = bytes::Bytes::from(number.to_string());
    let reheat = Wait { ms: number % 7, content: content.clone() };
    Ok(client.call::<kitchen::Reheat>(reheat).await?.content == content)
}

#[tokio::test]
async fn a_client_keeps_to_its_limit() {
    let mesh = TestMesh::start(0, 1).await;
    let client = Client::to([mesh.running().clients().to_string()]).in_flight(2).connect().unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<kitchen::Simmer>(wait(500)).await })
        })
        .collect();
    eventually("two run", async || mesh.nodes().await[0].in_flight == 2).await;
    let late = client.call::<kitchen::Echo>(timed(Dish::default(), Duration::from_millis(50))).await;
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn large_calls_keep_to_the_limit_too() {
    let mesh = TestMesh::start(0, 1).await;
    let client = Client::to([mesh.running().clients().to_string()]).in_flight(1).connect().unwrap();
    for bytes in [1, 100_000] {
        let (holds, waits) = (client.clone(), Wait { ms: 60_000, content: vec![7; bytes].into() });
        let holds = tokio::spawn(async move { holds.call::<kitchen::Simmer>(waits).await });
        eventually("it runs", async || mesh.nodes().await[0].in_flight == 1).await;
        let soon = Duration::from_millis(300);
        for bytes in [1, 100_000] {
            let late = client.call::<kitchen::Echo>(timed(dish(vec![7; bytes]), soon)).await;
            assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
        }
        holds.abort();
        eventually("it has ended", async || mesh.nodes().await[0].in_flight == 0).await;
    }
}

#[tokio::test]
async fn streams_have_no_place_however_quiet_they_are() {
    const QUIET: u64 = 8;
    let mesh = TestMesh::start(0, 1).await;
    let client = Client::to([mesh.running().clients().to_string()]).in_flight(1).connect().unwrap();
    let courses = |pause_ms| Courses { count: 600, bytes: 1, pause_ms, ..Courses::default() };
    let quiet: Vec<_> = (0..QUIET)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { drop(client.stream::<kitchen::Serve>(courses(60_000)).await) })
        })
        .collect();
    eventually("all of them run", async || mesh.nodes().await[0].in_flight == QUIET).await;
    for bytes in [1, 100_000] {
        let soon = timed(dish(vec![7; bytes]), Duration::from_secs(10));
        client.call::<kitchen::Echo>(soon).await.unwrap();
    }
    // Nor do they wait for one.
    let holds = client.clone();
    let holds = tokio::spawn(async move { drop(holds.call::<kitchen::Simmer>(wait(60_000)).await) });
    eventually("it runs", async || mesh.nodes().await[0].in_flight == QUIET + 1).await;
    let soon = timed(courses(10), Duration::from_secs(10));
    drop(client.stream::<kitchen::Serve>(soon).await.unwrap());
    holds.abort();
    quiet.iter().for_each(|stream| stream.abort());
}

#[tokio::test]
async fn streams_spread_by_those_that_are_open() {
    let meshes = [TestMesh::start(0, 1).await, TestMesh::start(0, 1).await];
    let client = client_of(&meshes).await;
    let courses = || Courses { count: 600, bytes: 1, pause_ms: 100, ..Courses::default() };
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(client.stream::<kitchen::Serve>(courses()).await.unwrap());
        // By turns alone, all that stay open would be at one gateway.
        drop(client.stream::<kitchen::Serve>(courses()).await.unwrap());
    }
    for mesh in &meshes {
        eventually("each has half of them", async || mesh.in_flight().await == 2).await;
    }
}

#[tokio::test]
async fn calls_that_follow_one_another_spread_over_the_gateways() {
    let meshes = [TestMesh::start(0, 1).await, TestMesh::start(0, 1).await];
    let client = client_of(&meshes).await;
    for bytes in [1, 100_000] {
        for _ in 0..20 {
            client.call::<kitchen::Echo>(dish(vec![7; bytes])).await.unwrap();
        }
    }
    for mesh in &meshes {
        let served = mesh.nodes().await[0].calls_served;
        assert!((15..=25).contains(&served), "{served} of 40");
    }
}

#[tokio::test]
async fn a_gateway_that_has_no_room_is_not_given_the_calls_of_the_others() {
    let full = TestMesh::gateway(GatewayConfig { max_calls: 1, ..GatewayConfig::default() }).await;
    let _node = full.kitchen(Role::Io, 1).await;
    let meshes = [full, TestMesh::start(0, 1).await];
    let inside = client(&meshes[0]);
    let _inside = tokio::spawn(async move { inside.call::<kitchen::Simmer>(wait(60_000)).await });
    eventually("it runs", async || meshes[0].in_flight().await == 1).await;
    let client = client_of(&meshes).await;
    let began = std::time::Instant::now();
    let mut refused = 0;
    for bytes in [1, 100_000].into_iter().cycle().take(200) {
        let answer = client.call::<kitchen::Echo>(dish(vec![7; bytes])).await;
        refused += u64::from(answer.is_err_and(|error| error.code() == Code::ResourceExhausted));
    }
    // It is asked, and then once a second again.
    assert!(refused >= 1, "it was never asked");
    assert!(refused <= began.elapsed().as_secs() + 2, "{refused} were refused in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_full_house_is_told_at_once() {
    let mesh = TestMesh::gateway(GatewayConfig { max_calls: 1, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let client = client(&mesh);
    let inside = client.clone();
    let inside = tokio::spawn(async move { inside.call::<kitchen::Simmer>(wait(60_000)).await });
    eventually("it runs", async || mesh.nodes().await[0].in_flight == 1).await;
    let error = client.call::<kitchen::Echo>(dish("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    inside.abort();
    eventually("there is room again", async || client.call::<kitchen::Echo>(dish("x")).await.is_ok()).await;
}
