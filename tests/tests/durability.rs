//! What is acknowledged is not lost: gateways and workers killed with -9 under load, everything that clients saw recorded
//! and held against a model. The long form is `cargo test --release --workspace --test durability -- --ignored --nocapture`.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test's own tasks, figures and failures"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prost::Message as _;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::longrunning::{
    CancelOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
};
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{SubmitRequest, TicketMetadata, TicketState};
use turno_tests::history::{History, Read};
use turno_tests::stubs::Number;
use turno_tests::{Process, free_port};

const GATEWAY: &str = env!("CARGO_BIN_EXE_test-gateway");
const KITCHEN: &str = env!("CARGO_BIN_EXE_kitchen-node");
/// For everything to be done once the killing is over.
const PATIENCE: Duration = Duration::from_secs(120);

/// How hard it is made.
#[derive(Clone, Copy)]
struct Ordeal {
    kills: usize,
    tickets: usize,
    submitters: usize,
    /// Between two kills, at most.
    pause_ms: u64,
}

const SHORT: Ordeal = Ordeal { kills: 20, tickets: 500, submitters: 4, pause_ms: 300 };
const LONG: Ordeal = Ordeal { kills: 300, tickets: 100_000, submitters: 16, pause_ms: 700 };

/// Clients that submit, cancel and read until they are told to end, whatever answers.
struct Clients {
    history: Arc<Mutex<History>>,
    end: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    channels: Vec<Channel>,
    next: Arc<AtomicUsize>,
}

impl Clients {
    fn of(gateways: &[SocketAddr]) -> Self {
        let channel = |gateway: &SocketAddr| {
            let endpoint = Endpoint::from_shared(format!("http://{gateway}")).unwrap();
            endpoint.connect_timeout(Duration::from_secs(1)).timeout(Duration::from_secs(10)).connect_lazy()
        };
        Self {
            history: Arc::default(),
            end: Arc::default(),
            acknowledged: Arc::default(),
            channels: gateways.iter().map(channel).collect(),
            next: Arc::default(),
        }
    }

    fn channel(&self, number: usize) -> Channel {
        self.channels[number % self.channels.len()].clone()
    }

    fn start(&self, submitters: usize) -> Vec<tokio::task::JoinHandle<()>> {
        (0..submitters).flat_map(|number| [self.submitter(number), self.reader(number)]).collect()
    }

    /// Every second submit has a key, and is made again until it is acknowledged; every tenth ticket is cancelled.
    fn submitter(&self, number: usize) -> tokio::task::JoinHandle<()> {
        let (history, end, count) = (self.history.clone(), self.end.clone(), self.acknowledged.clone());
        let (next, channels) = (self.next.clone(), self.channels.clone());
        tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let value = next.fetch_add(1, Ordering::Relaxed) as u64;
                let key = if value.is_multiple_of(2) { value.to_string() } else { String::new() };
                let mut asked = 0;
                let name = loop {
                    let channel = channels[(number + asked) % channels.len()].clone();
                    match TicketsClient::new(channel).submit(square(value, &key)).await {
                        Ok(operation) => break Some(operation.into_inner().name),
                        Err(_) if key.is_empty() => break None,
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                    asked += 1;
                };
                let Some(name) = name else { continue };
                history.lock().submitted(&name, value * value);
                count.fetch_add(1, Ordering::Relaxed);
                if value % 10 == 3 {
                    history.lock().cancelling(&name);
                    let request = CancelOperationRequest { name };
                    // Whether it was heard, the ticket says.
                    drop(
                        OperationsClient::new(channels[number % channels.len()].clone())
                            .cancel_operation(request)
                            .await,
                    );
                }
            }
        })
    }

    fn reader(&self, number: usize) -> tokio::task::JoinHandle<()> {
        let (history, end, channel) = (self.history.clone(), self.end.clone(), self.channel(number + 1));
        tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let known = history.lock().acknowledged();
                if let Some(ticket) = (!known.is_empty()).then(|| &known[rand::random_range(0..known.len())])
                {
                    read(&channel, &history, ticket).await;
                }
            }
        })
    }

    /// Reads every ticket until it has ended, and once more.
    async fn read_to_the_end(&self, may_die: bool) {
        let until = Instant::now() + PATIENCE;
        for state in ["waiting", "running"] {
            while self.any(state).await {
                assert!(Instant::now() < until, "tickets are still {state}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let tickets = self.history.lock().acknowledged();
        for ticket in &tickets {
            for number in 0..self.channels.len() {
                while !read(&self.channel(number), &self.history, ticket).await {
                    assert!(Instant::now() < until, "{ticket} cannot be read");
                }
            }
        }
        let mistakes = self.history.lock().mistakes(may_die);
        assert!(
            mistakes.is_empty(),
            "{} mistakes, such as {:#?}",
            mistakes.len(),
            &mistakes[..mistakes.len().min(5)]
        );
    }

    async fn any(&self, state: &str) -> bool {
        let request =
            ListOperationsRequest { filter: format!("state = {state}"), page_size: 1, ..Default::default() };
        match OperationsClient::new(self.channel(0)).list_operations(request).await {
            Ok(page) => !page.into_inner().operations.is_empty(),
            Err(_) => true,
        }
    }
}

fn square(value: u64, key: &str) -> SubmitRequest {
    SubmitRequest {
        method: "kitchen.v1.Kitchen/Square".into(),
        request: Number { value, ms: 0 }.encode_to_vec().into(),
        idempotency_key: key.to_owned(),
        retries: Some(50),
        ..SubmitRequest::default()
    }
}

/// False when nobody has answered.
async fn read(channel: &Channel, history: &Mutex<History>, ticket: &str) -> bool {
    let began = Instant::now();
    let request = GetOperationRequest { name: ticket.to_owned() };
    let answered = OperationsClient::new(channel.clone()).get_operation(request).await;
    let ended = Instant::now();
    let read = match answered {
        Ok(operation) => seen(operation.into_inner(), began, ended),
        // An acknowledged ticket that is not there is lost.
        Err(error) if error.code() == Code::NotFound || error.code() == Code::DataLoss => {
            Read { began, ended, state: TicketState::Unspecified, attempts: 0, value: None }
        }
        Err(_) => return false,
    };
    history.lock().read(ticket, read);
    true
}

fn seen(operation: Operation, began: Instant, ended: Instant) -> Read {
    let metadata = TicketMetadata::decode(&operation.metadata.unwrap().value[..]).unwrap();
    let value = match operation.result {
        Some(Ending::Response(any)) => Some(Number::decode(&any.value[..]).unwrap().value),
        _ => None,
    };
    Read { began, ended, state: metadata.state(), attempts: metadata.attempts, value }
}

/// How long it takes until a gateway that was started answers.
async fn serving(clients: SocketAddr, since: Instant) -> Duration {
    let channel = Endpoint::from_shared(format!("http://{clients}")).unwrap().connect_lazy();
    loop {
        let asked =
            OperationsClient::new(channel.clone()).list_operations(ListOperationsRequest::default()).await;
        if asked.is_ok() {
            return since.elapsed();
        }
        assert!(since.elapsed() < PATIENCE, "a gateway does not come back: {asked:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn kitchen(nodes: SocketAddr, slots: &str) -> Process {
    let nodes = nodes.to_string();
    Process::start(KITCHEN, &["--gateway", &nodes, "--role", "worker", "--slots", slots, "--log", "error"])
}

fn tell(what: &str, clients: &Clients, slowest: Duration) {
    let history = clients.history.lock();
    let [done, cancelled, dead] =
        [TicketState::Done, TicketState::Cancelled, TicketState::Dead].map(|state| history.ended(state));
    println!(
        "{what}: {done} done, {cancelled} cancelled, {dead} dead; serving again after at most {slowest:?}"
    );
}

/// Gateways killed at random moments.
async fn kill_the_gateway(ordeal: Ordeal) {
    let (listen, nodes, data) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let start = |data: &Path| Process::gateway(GATEWAY, listen, nodes, data);
    let mut gateway = start(data.path());
    let _kitchens = [kitchen(nodes, "1"), kitchen(nodes, "1")];
    serving(listen, Instant::now()).await;
    let clients = Clients::of(&[listen]);
    let working = clients.start(ordeal.submitters);
    let (mut kills, mut slowest) = (0, Duration::ZERO);
    while kills < ordeal.kills || clients.acknowledged.load(Ordering::Relaxed) < ordeal.tickets {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..ordeal.pause_ms))).await;
        gateway.kill();
        kills += 1;
        let again = Instant::now();
        gateway = start(data.path());
        slowest = slowest.max(serving(listen, again).await);
    }
    clients.end.store(true, Ordering::Relaxed);
    for each in working {
        each.await.unwrap();
    }
    clients.read_to_the_end(false).await;
    tell(&format!("{kills} kills of the gateway"), &clients, slowest);
}

/// Workers killed at random moments. The same input on two of them is in quarantine, and its ticket dead.
async fn kill_workers(ordeal: Ordeal) {
    let (listen, nodes, data) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let _gateway = Process::gateway(GATEWAY, listen, nodes, data.path());
    let mut kitchens = [kitchen(nodes, "1"), kitchen(nodes, "1")];
    serving(listen, Instant::now()).await;
    let clients = Clients::of(&[listen]);
    let working = clients.start(ordeal.submitters);
    let mut kills = 0;
    while kills < ordeal.kills || clients.acknowledged.load(Ordering::Relaxed) < ordeal.tickets {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..ordeal.pause_ms))).await;
        let again = kitchen(nodes, "1");
        std::mem::replace(&mut kitchens[kills % 2], again).kill();
        kills += 1;
    }
    clients.end.store(true, Ordering::Relaxed);
    for each in working {
        each.await.unwrap();
    }
    clients.read_to_the_end(true).await;
    let (dead, all) =
        (clients.history.lock().ended(TicketState::Dead), clients.acknowledged.load(Ordering::Relaxed));
    assert!(dead * 20 <= all, "{dead} of {all} are dead");
    tell(&format!("{kills} kills of workers"), &clients, Duration::ZERO);
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
    kill_the_gateway(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: the long form"]
async fn the_long_form_of_workers_that_are_killed() {
    kill_workers(LONG).await;
}
