//! Clients of tickets while things are killed: they submit, cancel and read, whatever answers, and all that they see goes
//! into a history.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::longrunning::{
    CancelOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
};
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{SubmitRequest, TicketMetadata, TicketState};
use turno_runtime::task;

use crate::eventually;
use crate::history::{History, Read};
use crate::stubs::Number;

/// For everything to be done once the killing is over.
const PATIENCE: Duration = Duration::from_secs(300);
/// At the end, when every ticket is read once more.
const READERS: usize = 32;
const PAUSE: Duration = Duration::from_millis(5);
/// Before a submit with a key is made again.
const AGAIN: Duration = Duration::from_millis(20);

/// Clients that go on until they are told to end. Every second submit has a key, and is made again until it is
/// acknowledged, by whichever gateway; every tenth ticket is cancelled.
#[derive(Clone, Debug)]
pub struct Clients {
    gateways: Vec<Channel>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    history: Mutex<History>,
    end: AtomicBool,
    next: AtomicUsize,
    acknowledged: AtomicUsize,
}

impl Clients {
    /// Of these gateways, in pairs of one who submits and one who reads.
    pub fn start(gateways: &[SocketAddr], pairs: usize) -> (Self, Vec<JoinHandle<()>>) {
        let gateways = gateways.iter().map(|gateway| channel(*gateway)).collect();
        let clients = Self { gateways, seen: Arc::default() };
        let working = (0..pairs).flat_map(|number| {
            let (submitting, reading) = (clients.clone(), clients.clone());
            [
                task::spawn("submitter", async move { submitting.submit_on(number).await }),
                task::spawn("reader", async move { reading.read_on(number + 1).await }),
            ]
        });
        let working = working.collect();
        (clients, working)
    }

    /// Tickets that were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.seen.acknowledged.load(Ordering::Relaxed)
    }

    /// How many ended so.
    pub fn ended(&self, state: TicketState) -> usize {
        self.seen.history.lock().ended(state)
    }

    /// Ends the clients, waits until every ticket has ended, reads each once more at every gateway, and answers all that
    /// cannot have been. `may_die`: a ticket may end dead.
    pub async fn mistakes(&self, working: Vec<JoinHandle<()>>, may_die: bool) -> Vec<String> {
        self.seen.end.store(true, Ordering::Relaxed);
        for each in working {
            each.await.expect("a client that does not break");
        }
        let until = Instant::now() + PATIENCE;
        for state in ["waiting", "running"] {
            while self.any(state).await {
                assert!(Instant::now() < until, "tickets are still {state}");
                tokio::time::sleep(PAUSE).await;
            }
        }
        let tickets = self.seen.history.lock().acknowledged().to_vec();
        for gateway in 0..self.gateways.len() {
            let reading = tickets.iter().map(|ticket| self.read_surely(gateway, ticket, until));
            stream::iter(reading).buffer_unordered(READERS).collect::<()>().await;
        }
        self.seen.history.lock().mistakes(may_die)
    }

    fn gateway(&self, number: usize) -> Channel {
        self.gateways[number % self.gateways.len()].clone()
    }

    async fn submit_on(self, number: usize) {
        while !self.seen.end.load(Ordering::Relaxed) {
            let value = self.seen.next.fetch_add(1, Ordering::Relaxed) as u64;
            let Some(name) = self.submit(number, value).await else { continue };
            self.seen.history.lock().submitted(&name, value * value);
            self.seen.acknowledged.fetch_add(1, Ordering::Relaxed);
            if value % 10 == 3 {
                self.seen.history.lock().cancelling(&name);
                let request = CancelOperationRequest { name };
                // Whether it was heard, the ticket says.
                drop(OperationsClient::new(self.gateway(number)).cancel_operation(request).await);
            }
        }
    }

    /// `None`: without a key nobody knows whether it is stored.
    async fn submit(&self, number: usize, value: u64) -> Option<String> {
        let key = if value.is_multiple_of(2) { value.to_string() } else { String::new() };
        for asked in number.. {
            match TicketsClient::new(self.gateway(asked)).submit(square(value, &key)).await {
                Ok(operation) => return Some(operation.into_inner().name),
                Err(_) if key.is_empty() => return None,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
        None
    }

    async fn read_on(self, number: usize) {
        while !self.seen.end.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSE).await;
            let ticket = {
                let history = self.seen.history.lock();
                let known = history.acknowledged();
                (!known.is_empty()).then(|| known[rand::random_range(0..known.len())].clone())
            };
            if let Some(ticket) = ticket {
                self.read(number, &ticket).await;
            }
        }
    }

    /// False when nobody has answered.
    async fn read(&self, gateway: usize, ticket: &str) -> bool {
        let began = Instant::now();
        let request = GetOperationRequest { name: ticket.to_owned() };
        let answered = OperationsClient::new(self.gateway(gateway)).get_operation(request).await;
        let ended = Instant::now();
        let read = match answered {
            Ok(operation) => seen(operation.into_inner(), began, ended),
            // An acknowledged ticket that is not there is lost.
            Err(error) if matches!(error.code(), Code::NotFound | Code::DataLoss) => {
                Read { began, ended, state: TicketState::Unspecified, attempts: 0, value: None }
            }
            Err(_) => return false,
        };
        self.seen.history.lock().read(ticket, read);
        true
    }

    async fn read_surely(&self, gateway: usize, ticket: &str, until: Instant) {
        while !self.read(gateway, ticket).await {
            assert!(Instant::now() < until, "{ticket} cannot be read");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn any(&self, state: &str) -> bool {
        let filter = format!("state = {state}");
        let request = ListOperationsRequest { filter, page_size: 1, ..ListOperationsRequest::default() };
        let listed = OperationsClient::new(self.gateway(0)).list_operations(request).await;
        listed.map_or(true, |page| !page.into_inner().operations.is_empty())
    }
}

/// Waits until a gateway that was started answers; how long that took.
pub async fn serving(gateway: SocketAddr) -> Duration {
    let (began, channel) = (Instant::now(), channel(gateway));
    eventually("the gateway serves", async || {
        let asked = ListOperationsRequest { page_size: 1, ..ListOperationsRequest::default() };
        OperationsClient::new(channel.clone()).list_operations(asked).await.is_ok()
    })
    .await;
    began.elapsed()
}

fn channel(gateway: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{gateway}")).expect("an address");
    endpoint.connect_timeout(Duration::from_secs(1)).timeout(Duration::from_secs(10)).connect_lazy()
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

fn seen(operation: Operation, began: Instant, ended: Instant) -> Read {
    let metadata = operation.metadata.expect("a ticket has metadata");
    let metadata = TicketMetadata::decode(&metadata.value[..]).expect("a ticket's metadata");
    let value = match operation.result {
        Some(Ending::Response(any)) => Some(Number::decode(&any.value[..]).expect("a number").value),
        _ => None,
    };
    Read { began, ended, state: metadata.state(), attempts: metadata.attempts, value }
}
