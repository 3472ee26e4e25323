//! What is acknowledged is not lost: gateways and workers killed with -9 under load, everything that clients saw recorded
//! and held against a model. The long form, some minutes of it:
//!
//!     cargo test --release --workspace --test durability -- --ignored --nocapture --test-threads 1

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test's own figures and failures")]

use std::net::SocketAddr;
use std::time::Duration;

use turno_proto::v1::TicketState;
use turno_tests::ordeal::{Clients, serving};
use turno_tests::{Process, free_port};

const GATEWAY: &str = env!("CARGO_BIN_EXE_test-gateway");
const KITCHEN: &str = env!("CARGO_BIN_EXE_kitchen-node");

/// How hard it is made.
#[derive(Clone, Copy)]
struct Ordeal {
    kills: usize,
    tickets: usize,
    clients: usize,
    /// Between two kills, at most.
    pause_ms: u64,
}

const SHORT: Ordeal = Ordeal { kills: 20, tickets: 500, clients: 4, pause_ms: 300 };
const LONG: Ordeal = Ordeal { kills: 300, tickets: 100_000, clients: 16, pause_ms: 700 };
/// A gateway serves again within that, however much it had: asked of the long form, which has the machine to itself.
const AT_ONCE: Duration = Duration::from_secs(2);

impl Ordeal {
    fn is_over(self, kills: usize, clients: &Clients) -> bool {
        kills >= self.kills && clients.acknowledged() >= self.tickets
    }

    async fn pause(self) {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..self.pause_ms))).await;
    }
}

fn kitchen(nodes: SocketAddr) -> Process {
    let nodes = nodes.to_string();
    Process::start(KITCHEN, &["--gateway", &nodes, "--role", "worker", "--slots", "1", "--log", "error"])
}

fn gateway(listen: SocketAddr, nodes: SocketAddr, kept: &str) -> Process {
    Process::start(GATEWAY, &[&listen.to_string(), &nodes.to_string(), kept])
}

fn held(what: &str, clients: &Clients, mistakes: &[String]) {
    let [done, cancelled, dead] =
        [TicketState::Done, TicketState::Cancelled, TicketState::Dead].map(|state| clients.ended(state));
    println!("{what}: {done} done, {cancelled} cancelled, {dead} dead");
    assert!(mistakes.is_empty(), "{} mistakes: {:#?}", mistakes.len(), &mistakes[..mistakes.len().min(5)]);
    assert_eq!(done + cancelled + dead, clients.acknowledged());
}

/// Gateways killed at random moments. How long the slowest took to serve again.
async fn kill_the_gateway(ordeal: Ordeal) -> Duration {
    let (listen, nodes, data) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let kept = data.path().display().to_string();
    let mut running = gateway(listen, nodes, &kept);
    let _kitchens = [kitchen(nodes), kitchen(nodes)];
    serving(listen).await;
    let (clients, working) = Clients::start(&[listen], ordeal.clients);
    let (mut kills, mut slowest) = (0, Duration::ZERO);
    while !ordeal.is_over(kills, &clients) {
        ordeal.pause().await;
        running.kill();
        kills += 1;
        running = gateway(listen, nodes, &kept);
        slowest = slowest.max(serving(listen).await);
    }
    let mistakes = clients.mistakes(working, false).await;
    held(
        &format!("{kills} kills of the gateway, serving again after {slowest:?} at most"),
        &clients,
        &mistakes,
    );
    slowest
}

/// Workers killed at random moments. The same input on two of them is in quarantine, and its ticket dead.
async fn kill_workers(ordeal: Ordeal) {
    let (listen, nodes, data) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let _gateway = gateway(listen, nodes, &data.path().display().to_string());
    let mut kitchens = [kitchen(nodes), kitchen(nodes)];
    serving(listen).await;
    let (clients, working) = Clients::start(&[listen], ordeal.clients);
    let mut kills = 0;
    while !ordeal.is_over(kills, &clients) {
        ordeal.pause().await;
        let again = kitchen(nodes);
        std::mem::replace(&mut kitchens[kills % 2], again).kill();
        kills += 1;
    }
    let mistakes = clients.mistakes(working, true).await;
    held(&format!("{kills} kills of workers"), &clients, &mistakes);
    assert!(clients.ended(TicketState::Dead) * 20 <= clients.acknowledged());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_gateways_that_are_killed() {
    kill_the_gateway(SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_workers_that_are_killed() {
    kill_workers(SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: the long form"]
async fn the_long_form_of_gateways_that_are_killed() {
    let slowest = kill_the_gateway(LONG).await;
    assert!(slowest <= AT_ONCE, "a gateway that was killed served again only after {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: the long form"]
async fn the_long_form_of_workers_that_are_killed() {
    kill_workers(LONG).await;
}
