//! Tickets: any unary method, submitted, and run when its turn has come. What is acknowledged is on disk.
//!
//! A ticket's way through the files: `service` and `operations` take what clients ask; `submission` looks at a submit,
//! `submit` stores it; `runner` claims what is due (`quiet`: when nothing is; `taken`: what a lost gateway had), `hand`
//! has places and memory for it, `shares` how much of them each queue may have, `unserved` which methods wait for a
//! node, `attempt` has the method run once, `losses` counts the nodes that were lost with a ticket, `weigh` asks
//! whether they live, `verdict` says what follows from what the attempt came to, `patience` how long a store is asked
//! again, `bill` where its time went. `board` knows what runs here and who watches; `keeper` keeps the `lease`.
//! `operation` is a ticket in the words of `google.longrunning`, `filter` reads what a listing wants, and `listing`
//! makes a page of it.

mod attempt;
mod bill;
mod board;
mod crowd;
mod desk;
mod envelope;
mod filter;
mod hand;
mod keeper;
mod lease;
mod linked;
mod listing;
mod losses;
mod map;
mod operation;
mod operations;
mod patience;
mod quiet;
mod refusal;
mod runner;
mod service;
mod shares;
mod submission;
mod submit;
mod taken;
mod unserved;
mod verdict;
mod waiting;
mod weigh;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turno_runtime::metrics::CounterFamily;
use turno_store::{GatewayId, State, Store};
use uuid::Uuid;

use crate::admission::Admission;
use crate::descriptors::Descriptors;
use crate::methods::Methods;
use crate::router::Router;
use bill::Counts;
use board::Board;
use crowd::Crowd;
use hand::Hand;
use unserved::Unserved;

pub(crate) use envelope::Envelope;
pub(crate) use linked::is_linked;
pub(crate) use operations::OperationsService;
pub(crate) use service::TicketsService;

/// The tickets of one gateway. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tickets(Arc<Inner>);

/// What they need of their gateway.
pub(crate) struct Surroundings {
    pub(crate) store: Arc<dyn Store>,
    /// Other gateways may have the same store.
    pub(crate) is_shared: bool,
    pub(crate) methods: Arc<Methods>,
    pub(crate) router: Arc<Router>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) descriptors: Descriptors,
    /// Until then nodes may still be on their way.
    pub(crate) settled: Instant,
    pub(crate) max_message: usize,
    /// Also of an attempt that nobody gives a timeout.
    pub(crate) longest_call: Duration,
    /// Attempts under way at once.
    pub(crate) in_hand: usize,
    /// Bytes of their requests together.
    pub(crate) in_hand_bytes: usize,
}

struct Inner {
    around: Surroundings,
    gateway: GatewayId,
    board: Arc<Board>,
    hand: Hand,
    unserved: Unserved,
    /// Places for submits on their way to the disk.
    submits: Arc<Semaphore>,
    /// Something may be due.
    due: Notify,
    /// No attempt begins any more.
    closing: CancellationToken,
    attempts: TaskTracker,
    crowd: Mutex<Crowd>,
    counts: Counts,
    ended: CounterFamily,
    /// Places for those who read what a ticket came to before.
    looks_back: Semaphore,
    since: Instant,
}

/// Submits on their way to the disk.
const MOST_SUBMITS: usize = 16_384;
/// Of the tickets that were at a node when it was lost, so many are looked up at once: the store has others to serve.
const MOST_LOOKS_BACK: usize = 16;
/// To tell the store that this gateway ends, or has ended.
const RESIGNING: Duration = Duration::from_secs(2);

impl Tickets {
    pub(crate) fn new(around: Surroundings) -> Self {
        let hand = Hand::new(around.in_hand, around.in_hand_bytes);
        let help = "Tickets that have ended, by what they have come to.";
        Self(Arc::new(Inner {
            around,
            gateway: GatewayId(Uuid::now_v7()),
            board: Arc::default(),
            hand,
            unserved: Unserved::default(),
            submits: Arc::new(Semaphore::new(MOST_SUBMITS)),
            due: Notify::new(),
            closing: CancellationToken::new(),
            attempts: TaskTracker::new(),
            crowd: Mutex::default(),
            counts: Counts::new(),
            ended: CounterFamily::new("turno_tickets_total", help),
            looks_back: Semaphore::new(MOST_LOOKS_BACK),
            since: Instant::now(),
        }))
    }

    fn count_ended(&self, state: State) {
        self.0.ended.with([("state", state.name().into())]).increment(1);
    }

    /// Attempts under way.
    pub(crate) fn in_hand(&self) -> usize {
        self.0.hand.taken()
    }

    fn is_served(&self, method: &str) -> bool {
        self.0.around.methods.get(&format!("/{method}")).is_some_and(|method| method.is_served())
    }

    /// The longest that a client waits at a time.
    fn longest_wait(&self) -> Duration {
        self.0.around.longest_call
    }

    /// No attempt begins any more; what no node has is given back.
    pub(crate) fn close(&self) {
        self.0.closing.cancel();
        self.0.attempts.close();
    }

    /// What runs may finish for so long. Then the rest is another gateway's, or this one's when it is back.
    pub(crate) async fn drained(&self, patience: Duration) {
        if !self.0.around.is_shared {
            let told = tokio::time::timeout(RESIGNING, self.store().last_ends()).await;
            tracing::debug!(?told, "the store was told that ends come last");
        }
        if tokio::time::timeout(patience, self.0.attempts.wait()).await.is_err() {
            tracing::warn!(
                attempts = self.0.attempts.len(),
                "time to drain is over: attempts are left, and begin again"
            );
        }
        let resigned = tokio::time::timeout(RESIGNING, self.store().resign(self.0.gateway)).await;
        if let Ok(Err(error)) = resigned {
            tracing::warn!(%error, "the store was not told that this gateway ends");
        }
        // Before what they call is told that this gateway ends: that would be a failure of theirs.
        self.0.board.abandon_all();
    }

    fn store(&self) -> &dyn Store {
        &*self.0.around.store
    }
}
