//! Two gateways on one PostgreSQL, one of them killed with -9 again and again: the other takes over what it had. The long
//! form, some minutes of it:
//!
//!     cargo test --release --workspace --test takeover -- --ignored --nocapture

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test's own figures and failures")]

use std::net::SocketAddr;
use std::time::Duration;

use turno_tests::ordeal::{Clients, serving};
use turno_tests::{Postgres, Process, free_port};

const GATEWAY: &str = env!("CARGO_BIN_EXE_test-gateway");
const KITCHEN: &str = env!("CARGO_BIN_EXE_kitchen-node");

fn kitchen(nodes: SocketAddr) -> Process {
    let nodes = nodes.to_string();
    Process::start(KITCHEN, &["--gateway", &nodes, "--role", "worker", "--slots", "1", "--log", "error"])
}

fn gateway(listen: SocketAddr, nodes: SocketAddr, kept: &str) -> Process {
    Process::start(GATEWAY, &[&listen.to_string(), &nodes.to_string(), kept])
}

async fn kill_one_of_two(least_kills: usize, tickets: usize, pairs: usize, pause_ms: u64) {
    let Some(postgres) = Postgres::start().await else {
        return println!("skipped: no PostgreSQL is installed");
    };
    let [(one, one_nodes), (other, other_nodes)] = [(); 2].map(|()| (free_port(), free_port()));
    let kept = postgres.address();
    let mut killed = gateway(one, one_nodes, &kept);
    let _stays = gateway(other, other_nodes, &kept);
    let _kitchens = [kitchen(one_nodes), kitchen(other_nodes)];
    serving(one).await;
    serving(other).await;
    let (clients, working) = Clients::start(&[one, other], pairs);
    let mut kills = 0;
    while kills < least_kills || clients.acknowledged() < tickets {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..pause_ms))).await;
        killed.kill();
        kills += 1;
        killed = gateway(one, one_nodes, &kept);
        serving(one).await;
    }
    let mistakes = clients.mistakes(working, false).await;
    println!("{kills} kills of one of two gateways: {} tickets", clients.acknowledged());
    assert!(mistakes.is_empty(), "{} mistakes: {:#?}", mistakes.len(), &mistakes[..mistakes.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_one_of_two_gateways() {
    kill_one_of_two(5, 500, 4, 600).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: the long form"]
async fn the_long_form_of_one_of_two_gateways() {
    kill_one_of_two(300, 100_000, 16, 700).await;
}
