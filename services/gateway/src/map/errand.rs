//! One chunk's way to a node and back. What may not go yet because the house is full, waits: a map has time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use turno_proto::mesh::v1::{Caller, Entry, Invocation, Kind};
use turno_proto::status::goes_elsewhere;

use super::book::{Chunk, Suspect};
use super::gate::Pass;
use crate::account::Account;
use crate::calls::{self, Call};
use crate::course::Course;
use crate::link::Link;
use crate::link::pending::Answer;
use crate::methods::{Method, Running};
use crate::router::{Router, Target};
use crate::scheduler::WorkerId;

/// What all chunks of a map have in common.
#[derive(Clone)]
pub(crate) struct Errands {
    pub(crate) router: Arc<Router>,
    /// Of a call whose method does not say.
    pub(crate) longest_call: Duration,
    /// Whatever the method says.
    pub(crate) at_most: Duration,
    pub(crate) method: Arc<Method>,
    pub(crate) metadata: Vec<Entry>,
    pub(crate) caller: Caller,
    /// It is not called by what is of the batch itself.
    pub(crate) begins_batch: bool,
    /// The map's own.
    pub(crate) deadline: Option<Instant>,
    /// So many of its chunks wait for a turn at an I/O node at once: whoever comes to that line later stands behind them.
    pub(crate) turns: Arc<Semaphore>,
    /// Hears when a chunk goes to its node.
    pub(crate) sent: mpsc::Sender<(u64, Instant, WorkerId)>,
}

/// How a chunk comes back.
pub(crate) enum Back {
    Answered(Answer),
    /// Nothing of it ran.
    Unstarted,
    /// Its node was lost, and it may have run.
    Lost(Arc<Link>),
    /// An item took longer than a call of its method may: so long.
    Late(Duration),
    /// The nodes that were lost with a suspect have had time to come again; it was at none meanwhile.
    Weighed(Suspect),
    /// There is no other node for a twin.
    NoOther,
    /// Nobody serves the method, and nobody came.
    Nobody(Status),
}

impl Back {
    /// Whether a node has run of it, or may have: else it was a try, and the same goes again.
    pub(crate) fn was_there(&self) -> bool {
        match self {
            Self::Answered(_) | Self::Lost(_) | Self::Late(_) => true,
            Self::Unstarted | Self::Weighed(_) | Self::NoOther | Self::Nobody(_) => false,
        }
    }
}

/// Chunks of one map that may wait for their turn at I/O nodes: the next ones are there before it comes.
const TURNS: usize = 8;
/// No item begins later than this after its chunk's first: what was wrong about their length is soon put right.
const SLICE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(20);

impl Errands {
    pub(crate) fn turns() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(TURNS))
    }

    /// Brings a chunk to a node, and its outcome back, with where its time went. One that is to `stop` comes back when nothing
    /// of it runs; dropping the future cancels it without waiting for that.
    pub(crate) async fn run(
        self,
        chunk: Chunk,
        pass: Option<Arc<Pass>>,
        stop: CancellationToken,
    ) -> (Back, Account) {
        if chunk.handed_back > 1 {
            tokio::time::sleep(PAUSE).await;
        }
        let (asked, course) = (Instant::now(), Course::default());
        course.seek(asked);
        let back = self.there_and_back(&chunk, pass.as_ref(), &stop, &course).await;
        let now = Instant::now();
        if matches!(back, Back::Unstarted) {
            // Wherever it was, that came to nothing.
            course.seek(now);
        }
        let (whole, spent) = (now.saturating_duration_since(asked), course.end(now));
        let account = Account::of_chunk(whole, &spent.measured, spent.cost.as_ref());
        self.method.spent.add(&account);
        (back, account)
    }

    async fn there_and_back(
        &self,
        chunk: &Chunk,
        pass: Option<&Arc<Pass>>,
        stop: &CancellationToken,
        course: &Course,
    ) -> Back {
        let avoid = chunk.avoid;
        let mut call = self.call(chunk);
        let (target, _running) = match stop.run_until_cancelled(self.find(&call, avoid)).await {
            Some(Ok(found)) => found,
            // The first of the two is still out.
            Some(Err(_)) if avoid.is_some() => return Back::NoOther,
            Some(Err(status)) => return Back::Nobody(status),
            None => return Back::Unstarted,
        };
        let (sent, most, link) = (Instant::now(), self.longest().saturating_add(2 * SLICE), target.link);
        course.send(&link, sent);
        // It is only for stragglers: where nobody reads on just now, they are found later.
        let _unread = self.sent.try_send((chunk.id, sent, link.id));
        call.deadline =
            Some(self.deadline.into_iter().chain(sent.checked_add(most)).min().unwrap_or(sent + SLICE));
        let slice_us = SLICE.as_micros() as u64;
        let invocation = Invocation { slice_us, ..calls::invocation(&call, target.index) };
        // The node is told of the deadline too; but what does not listen there is not waited for here.
        let answer = tokio::select! {
            answer = link.stoppable(invocation, target.hold, pass.cloned(), stop) => answer,
            () = late(most, pass) => return Back::Late(self.longest()),
        };
        match answer {
            Ok(Answer { outcome, .. }) if goes_elsewhere(&outcome) => Back::Unstarted,
            Ok(answer) => {
                course.back(answer.away, answer.outcome.cost);
                // What was cut short says nothing of how long it takes.
                if chunk.items == 1 && !stop.is_cancelled() {
                    self.method.observe(link.id, answer.away);
                }
                Back::Answered(answer)
            }
            Err(lost) if lost.may_have_run => Back::Lost(link),
            Err(_) => Back::Unstarted,
        }
    }

    fn call(&self, chunk: &Chunk) -> Call {
        Call {
            method: self.method.clone(),
            // Of waiting for a place: only the map's end ends it.
            deadline: None,
            metadata: self.metadata.clone(),
            caller: self.caller.clone(),
            body: chunk.body.clone(),
            items: chunk.items,
            reader: None,
            begins_batch: self.begins_batch,
        }
    }

    /// A node, or why there is none: but for a full house, which is waited for.
    async fn find(&self, call: &Call, avoid: Option<WorkerId>) -> Result<(Target, Option<Running>), Status> {
        loop {
            if self.method.could_enter().is_ok() {
                match self.route(call, avoid).await {
                    Ok(target) => {
                        if let Ok(running) = self.method.enter() {
                            return Ok((target, running));
                        }
                    }
                    Err(status) if status.code() != Code::ResourceExhausted => return Err(status),
                    Err(_) => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn route(&self, call: &Call, avoid: Option<WorkerId>) -> Result<Target, Status> {
        let is_job = self.method.served().kind == Kind::Job;
        let _turn = if is_job { None } else { self.turns.acquire().await.ok() };
        self.router.route(call, avoid).await
    }

    /// A call of the method may take so long: then an item may too, beside those that ran before it, in its chunk and in
    /// that which had the slot, each for a slice.
    fn longest(&self) -> Duration {
        let own = self.method.served().policy.timeout;
        own.unwrap_or(self.longest_call).min(self.at_most)
    }
}

/// What has run by then is not late, however long there is no room for it.
async fn late(most: Duration, pass: Option<&Arc<Pass>>) {
    tokio::time::sleep(most).await;
    if pass.is_some_and(|pass| pass.came_at().is_some()) {
        std::future::pending().await
    }
}
