//! A PostgreSQL that goes away under its gateway, for longer than a lease too: what was acknowledged ends, once. And one that
//! hangs: whoever asks or submits is told so.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test's own figures and failures")]

use std::net::SocketAddr;
use std::time::Duration;

use prost::Message as _;
use tonic::Code;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::longrunning::{GetOperationRequest, ListOperationsRequest, Operation};
use turno_proto::v1::SubmitRequest;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_tests::ordeal::{Clients, serving};
use turno_tests::stubs::Wait;
use turno_tests::{Postgres, Process, eventually, free_port};

const GATEWAY: &str = env!("CARGO_BIN_EXE_test-gateway");
const KITCHEN: &str = env!("CARGO_BIN_EXE_kitchen-node");

/// A ticket that was given up twice runs for 11 s once more, after the gateway has noticed each time.
const PATIENCE: Duration = Duration::from_secs(120);

/// 15 s are stated (the store's `connections.rs` and `session.rs`); the rest is for a machine that is busy. It must not be for ever.
const STATED: Duration = Duration::from_secs(40);

/// A lease is 10 s.
const AWAY: [Duration; 4] = [
    Duration::from_millis(0),
    Duration::from_millis(300),
    Duration::from_millis(12_500),
    Duration::from_millis(100),
];

/// A gateway that has its tickets there, and its node; where its clients call.
async fn mesh(postgres: &Postgres) -> (SocketAddr, [Process; 2]) {
    let (clients, nodes) = (free_port(), free_port());
    let (clients_at, nodes_at) = (clients.to_string(), nodes.to_string());
    let gateway = Process::start(GATEWAY, &[&clients_at, &nodes_at, &postgres.address()]);
    let node = Process::start(KITCHEN, &["--gateway", &nodes_at, "--slots", "1", "--log", "error"]);
    serving(clients).await;
    (clients, [node, gateway])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_store_that_is_away() {
    let Some(mut postgres) = Postgres::start().await else {
        return println!("skipped: no PostgreSQL is installed");
    };
    let (clients, _processes) = mesh(&postgres).await;
    let gateway = format!("http://{clients}");
    let (clients, working) = Clients::start(&[clients], 4);
    let mut running = Vec::new();
    for away in AWAY {
        let before = clients.acknowledged();
        eventually("tickets are acknowledged", async || clients.acknowledged() > before + 50).await;
        let waits = runs_on(&gateway).await;
        postgres.stop();
        tokio::time::sleep(away).await;
        postgres.run().await;
        running.push(waits);
    }
    for name in running {
        // Its lease being over, the gateway has given it up: it begins again.
        tokio::time::timeout(PATIENCE, done(&gateway, &name)).await.expect("it is done at last");
    }
    let mistakes = clients.mistakes(working, false).await;
    println!("{} tickets", clients.acknowledged());
    assert!(mistakes.is_empty(), "{} mistakes: {:#?}", mistakes.len(), &mistakes[..mistakes.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_of_a_store_that_hangs_is_told() {
    let Some(postgres) = Postgres::start().await else {
        return println!("skipped: no PostgreSQL is installed");
    };
    let (clients, _processes) = mesh(&postgres).await;
    let operations = OperationsClient::connect(format!("http://{clients}")).await.unwrap();
    let (mut one, mut other) = (operations.clone(), operations);
    let nobodys = || GetOperationRequest { name: "operations/0198c5b2-0000-7000-8000-000000000000".into() };
    postgres.pause();
    let reads = async {
        tokio::join!(one.get_operation(nobodys()), other.list_operations(ListOperationsRequest::default()))
    };
    let (got, listed) = tokio::time::timeout(STATED, reads).await.expect("both have an end");
    assert_eq!(got.unwrap_err().code(), Code::Unavailable);
    assert_eq!(listed.unwrap_err().code(), Code::Unavailable);
    postgres.go_on();
    eventually("it is read again", async || {
        let got = one.clone().get_operation(nobodys()).await;
        got.is_err_and(|error| error.code() == Code::NotFound)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_submits_to_a_store_that_hangs_is_told() {
    let Some(postgres) = Postgres::start().await else {
        return println!("skipped: no PostgreSQL is installed");
    };
    let (clients, _processes) = mesh(&postgres).await;
    let gateway = format!("http://{clients}");
    // With what runs there is more to store than the submits.
    runs_on(&gateway).await;
    postgres.pause();
    let submits = futures_util::future::join_all((0..20).map(|_| submit(&gateway, 0)));
    for submitted in tokio::time::timeout(STATED, submits).await.expect("all have an end") {
        let refused = submitted.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("nothing was stored"), "{refused}");
    }
    postgres.go_on();
    eventually("tickets are stored again", async || submit(&gateway, 0).await.is_ok()).await;
}

/// A ticket that runs when its gateway's lease ends.
async fn runs_on(gateway: &str) -> String {
    submit(gateway, 11_000).await.unwrap()
}

/// The name of a ticket that runs for so many milliseconds.
async fn submit(gateway: &str, ms: u64) -> Result<String, tonic::Status> {
    let wait = Wait { ms, content: "soup".into() };
    let (method, request) = ("kitchen.v1.Kitchen/Simmer".into(), wait.encode_to_vec().into());
    let request = SubmitRequest { method, request, ..SubmitRequest::default() };
    let mut tickets = TicketsClient::connect(gateway.to_owned()).await.unwrap();
    Ok(tickets.submit(request).await?.into_inner().name)
}

async fn done(gateway: &str, name: &str) {
    while get(gateway, name).await.is_none_or(|ticket| !ticket.done) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `None` while the store does not answer.
async fn get(gateway: &str, name: &str) -> Option<Operation> {
    let mut operations = OperationsClient::connect(gateway.to_owned()).await.unwrap();
    let got = operations.get_operation(GetOperationRequest { name: name.to_owned() }).await;
    got.ok().map(tonic::Response::into_inner)
}
