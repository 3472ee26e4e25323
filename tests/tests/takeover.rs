//! Two gateways on one PostgreSQL, one of them killed with -9 again and again: the other takes over what it had. And two
//! that cannot hear each other. The long form of the first, some minutes of it:
//!
//!     cargo test --release --workspace --test takeover -- --ignored --nocapture

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test's own figures and failures")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection, Row as _};
use tonic::Code;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::longrunning::{CancelOperationRequest, WaitOperationRequest};
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{SubmitRequest, TicketMetadata, TicketState};
use turno_runtime::task;
use turno_tests::ordeal::{Clients, serving};
use turno_tests::stubs::Wait;
use turno_tests::{Postgres, Process, eventually, free_port};

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

/// What becomes of a backend that listens.
#[derive(Clone, Copy)]
enum Listener {
    /// Who listened is told, and listens again: that ends too.
    IsEnded,
    /// Nobody is told.
    Hangs,
}

/// Backends that listened, by their process IDs.
type Deafened = Arc<Mutex<HashSet<i32>>>;

/// Nothing listens for long, again and again.
async fn deafen(mut person: PgConnection, listener: Listener, deafened: Deafened) {
    let sql = match listener {
        Listener::IsEnded => {
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        }
        // In the midst of something it would hold locks.
        Listener::Hangs => "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND state = 'idle'",
    };
    loop {
        let found = sqlx::query(sql).fetch_all(&mut person).await.unwrap();
        for row in found {
            let pid: i32 = row.get(0);
            if let (Listener::Hangs, Some(pid)) = (listener, Pid::from_raw(pid)) {
                // It may have ended by itself.
                let _gone = kill_process(pid, Signal::STOP);
            }
            deafened.lock().insert(pid);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn are_deaf(deafened: &Deafened, least: usize) {
    eventually("what listens is deafened", async || deafened.lock().len() >= least).await;
}

/// Less than the 30 s after which a gateway asks for a ticket if it has its store to itself.
const PATIENCE: Duration = Duration::from_secs(20);

async fn simmering(gateway: SocketAddr, ms: u64) -> String {
    let wait = Wait { ms, content: "soup".into() };
    let (method, request) = ("kitchen.v1.Kitchen/Simmer".into(), wait.encode_to_vec().into());
    let request = SubmitRequest { method, request, ..SubmitRequest::default() };
    let mut tickets = TicketsClient::connect(format!("http://{gateway}")).await.unwrap();
    tickets.submit(request).await.unwrap().into_inner().name
}

async fn ended(gateway: SocketAddr, name: &str) -> TicketState {
    let mut operations = OperationsClient::connect(format!("http://{gateway}")).await.unwrap();
    let waiting = async {
        loop {
            let request = WaitOperationRequest { name: name.to_owned(), timeout: None };
            match operations.wait_operation(request).await {
                Ok(operation) if operation.get_ref().done => break operation.into_inner(),
                Ok(_) => {}
                // A connection that no longer listens reads, and may have been ended for what it did before.
                Err(error) => assert_eq!(error.code(), Code::Unavailable, "{error}"),
            }
        }
    };
    let operation = tokio::time::timeout(PATIENCE, waiting).await.expect("its end is noticed in time");
    TicketMetadata::decode(&operation.metadata.unwrap().value[..]).unwrap().state()
}

/// A ticket that ends by itself and one that is cancelled, at gateways that had to hear of it from one another.
async fn do_without_hearing(near: SocketAddr, far: SocketAddr) {
    let done = simmering(near, 500).await;
    assert_eq!(ended(far, &done).await, TicketState::Done);
    let stopped = simmering(near, 600_000).await;
    let mut operations = OperationsClient::connect(format!("http://{far}")).await.unwrap();
    operations.cancel_operation(CancelOperationRequest { name: stopped.clone() }).await.unwrap();
    for gateway in [far, near] {
        assert_eq!(ended(gateway, &stopped).await, TicketState::Cancelled);
    }
}

async fn do_not_hear_each_other(listener: Listener, least: usize) {
    let Some(postgres) = Postgres::start().await else {
        return println!("skipped: no PostgreSQL is installed");
    };
    let [(one, one_nodes), (other, other_nodes)] = [(); 2].map(|()| (free_port(), free_port()));
    let kept = postgres.address();
    let _gateways = [gateway(one, one_nodes, &kept), gateway(other, other_nodes, &kept)];
    // Of both roles.
    let _kitchens = [one_nodes, other_nodes].map(|nodes| {
        Process::start(KITCHEN, &["--gateway", &nodes.to_string(), "--slots", "1", "--log", "error"])
    });
    serving(one).await;
    serving(other).await;
    let (person, deafened) = (PgConnection::connect(&kept).await.unwrap(), Deafened::default());
    let deafening = task::spawn("deafen", deafen(person, listener, deafened.clone()));
    are_deaf(&deafened, 2).await;
    let (clients, working) = Clients::start(&[one, other], 2);
    do_without_hearing(one, other).await;
    do_without_hearing(other, one).await;
    eventually("tickets are acknowledged", async || clients.acknowledged() > 100).await;
    let mistakes = clients.mistakes(working, false).await;
    are_deaf(&deafened, least).await;
    assert!(!deafening.is_finished(), "nothing deafens them any more");
    deafening.abort();
    println!("{} backends that listened: {} tickets", deafened.lock().len(), clients.acknowledged());
    assert!(mistakes.is_empty(), "{} mistakes: {:#?}", mistakes.len(), &mistakes[..mistakes.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_whose_listeners_are_ended_again_and_again_lose_nothing() {
    do_not_hear_each_other(Listener::IsEnded, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_whose_listeners_hang_lose_nothing() {
    do_not_hear_each_other(Listener::Hangs, 2).await;
}
