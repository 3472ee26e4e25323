//! A client that is linked: what is held for its calls, and how they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};
use turno_proto::mesh::v1::Outcome;
use turno_proto::status;

use crate::admission::Permit;
use crate::bill::{self, Ended};
use crate::calls::Call;
use crate::clients::answers::Answers;
use crate::clients::incoming::MAX_BODY;
use crate::clients::table::{Table, Turn};
use crate::course::{Course, Spent};
use crate::edge::{self, Edge};
use crate::link::Sent;
use crate::link::pending::{self, Lost};
use crate::listen::Origin;
use crate::methods::Method;

/// One client.
pub(crate) struct Client {
    pub(super) edge: Arc<Edge>,
    pub(super) origin: Arc<Origin>,
    pub(super) peer: String,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) state: Mutex<State>,
    /// The reader should look again.
    news: Notify,
    /// So many have come.
    frames: AtomicU64,
}

pub(super) struct State {
    pub(super) calls: Table<InFlight>,
    pub(super) answers: Answers,
    /// The client has ended its side.
    no_more: bool,
    /// Nobody reads what would be answered.
    closed: bool,
}

impl State {
    /// Nothing is left to be answered.
    fn is_over(&self) -> bool {
        self.closed || (self.no_more && self.calls.is_empty())
    }
}

/// What is held for a call.
pub(super) struct InFlight {
    pub(super) head: Head,
    pub(super) permit: Permit,
    pub(super) at: At,
}

/// What has to be known of a call when it ends.
pub(super) struct Head {
    pub(super) path: Arc<str>,
    /// None when the call came before the method was known.
    pub(super) method: Option<Arc<Method>>,
    pub(super) started: Instant,
    /// The client asks for its account.
    pub(super) in_trailers: bool,
}

impl Head {
    /// As people write the method.
    fn name(&self) -> &str {
        self.path.trim_start_matches('/')
    }
}

/// Where a call is. Dropping it cancels the call.
pub(super) enum At {
    /// At its node, handed to the link at once; with what another attempt would need.
    Node(Sent, Call),
    /// On its way through the attempts, in a task of its own, which notes how far it is.
    Task { _running: AbortOnDropHandle<()>, course: Arc<Course> },
    /// With one of the gateway's own services.
    Own(#[expect(dead_code, reason = "held for its drop")] AbortOnDropHandle<()>),
    /// Between the first and the second.
    Turning,
}

impl At {
    /// What is known of the time of a call that ends now.
    fn spent(&self, now: Instant) -> Spent {
        match self {
            Self::Node(sent, _) => {
                Spent::at_once(now.saturating_duration_since(sent.since), None, sent.link().clone())
            }
            Self::Task { course, .. } => course.end(now),
            Self::Own(_) | Self::Turning => Spent::default(),
        }
    }

    /// The same of a call that no node has had, and none will have now.
    fn take_back(&self, now: Instant) -> Option<Spent> {
        match self {
            Self::Task { course, .. } => course.take_back(now),
            Self::Node(..) | Self::Own(_) | Self::Turning => None,
        }
    }
}

/// Takes the answer of a node's link to a call's first attempt.
pub(crate) struct Answer {
    pub(super) client: Arc<Client>,
    pub(super) number: u64,
    pub(super) turn: Turn,
}

impl Answer {
    pub(crate) fn give(self, first: Result<pending::Answer, Lost>) {
        let Self { client, number, turn } = self;
        match first {
            Ok(answer) if !status::goes_elsewhere(&answer.outcome) => {
                client.finish_first(number, turn, answer)
            }
            first => client.go_on(number, turn, first),
        }
    }
}

impl Client {
    pub(crate) fn new(edge: Arc<Edge>, origin: Arc<Origin>) -> Arc<Self> {
        let answers = Answers::new(MAX_BODY.min(edge.max_message), origin.reader.gathered());
        let state = State { calls: Table::default(), answers, no_more: false, closed: false };
        Arc::new(Self {
            edge,
            peer: origin.peer.to_string(),
            origin,
            runtime: tokio::runtime::Handle::current(),
            state: Mutex::new(state),
            news: Notify::new(),
            frames: AtomicU64::new(0),
        })
    }

    /// Completes when the reader should look again.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// For the reader, before each frame: whether it is to read one. Its calls are let in beside the answers that wait now.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.state.lock();
        state.answers.tell();
        state.answers.has_room()
    }

    pub(crate) fn first_deadline(&self) -> Option<Instant> {
        self.state.lock().calls.first_deadline()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().is_over()
    }

    /// A frame has come.
    pub(super) fn heard(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Neither a call of it is here nor an answer.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.calls.is_empty() && state.answers.is_empty()
    }

    /// A call was not let in.
    pub(super) fn refuse(&self, number: u64, head: &Head, status: Status) {
        let mut outcome = status::to_outcome(number, status);
        let account = self.record(head, status_of(&outcome), Spent::default(), Instant::now());
        outcome.trailers.extend(account.map(bill::trailer));
        self.change(|state| state.answers.push(outcome, None));
    }

    /// A call has its answer, unless it was cancelled or was late meanwhile.
    pub(super) fn finish(&self, number: u64, turn: Turn, answered: Result<Outcome, Status>) {
        let finished = self.change(|state| {
            let call = state.calls.finish(number, turn)?;
            let outcome = answered.unwrap_or_else(|status| status::to_outcome(number, status));
            let (outcome, now) = (tried(outcome), Instant::now());
            let spent = call.at.spent(now);
            Some(self.end(state, number, call, outcome, spent, now))
        });
        drop(finished);
    }

    /// The same at the first attempt, which was made without waiting.
    fn finish_first(&self, number: u64, turn: Turn, answer: pending::Answer) {
        let finished = self.change(|state| {
            let mut in_flight = state.calls.finish(number, turn)?;
            let pending::Answer { outcome, away } = answer;
            let spent = match &mut in_flight.at {
                At::Node(sent, call) => {
                    sent.done = true;
                    self.edge.router.trouble.answered(call, sent.link(), away);
                    Spent::at_once(away, outcome.cost, sent.link().clone())
                }
                At::Task { .. } | At::Own(_) | At::Turning => Spent::default(),
            };
            Some(self.end(state, number, in_flight, tried(outcome), spent, Instant::now()))
        });
        drop(finished);
    }

    /// Ends what should have been done by now.
    pub(crate) fn end_late(&self) {
        let now = Instant::now();
        let late = self.change(|state| {
            let mut late = Vec::new();
            while let Some((deadline, number, call)) = state.calls.take_late(now) {
                let limit = deadline.saturating_duration_since(call.head.started);
                let status = edge::too_late(call.head.name(), limit);
                let (outcome, spent) = (status::to_outcome(number, status), call.at.spent(now));
                late.push(self.end(state, number, call, outcome, spent, now));
            }
            late
        });
        drop(late);
    }

    /// The time to drain is over: what no node has had may go to another gateway. The rest ends with the link.
    pub(crate) fn take_back(&self) {
        let now = Instant::now();
        let taken_back = self.change(|state| {
            let taken_back = state.calls.take_those(|call| call.at.take_back(now));
            let end = |(number, call, spent): (u64, InFlight, Spent)| {
                let status = edge::not_begun(call.head.name());
                self.end(state, number, call, status::not_started(number, status), spent, now)
            };
            taken_back.into_iter().map(end).collect::<Vec<_>>()
        });
        drop(taken_back);
    }

    /// Answers what is to be dropped outside the lock, which may cancel the call.
    fn end(
        &self,
        state: &mut State,
        number: u64,
        call: InFlight,
        outcome: Outcome,
        spent: Spent,
        now: Instant,
    ) -> At {
        let mut outcome = Outcome { call: number, cost: None, ..outcome };
        let account = self.record(&call.head, status_of(&outcome), spent, now);
        outcome.trailers.extend(account.map(bill::trailer));
        state.answers.push(outcome, Some(call.permit));
        call.at
    }

    /// Nobody waits for a call any more: it ends here, and where it is.
    pub(super) fn give_up(&self, call: InFlight) {
        let now = Instant::now();
        let spent = call.at.spent(now);
        // Nobody would hear of it.
        let head = Head { in_trailers: false, ..call.head };
        self.record(&head, (Code::Cancelled, bill::GONE), spent, now);
    }

    /// As for a plain call. Answers its account, if the client has asked for it; what is no node's has none.
    fn record(&self, head: &Head, (code, error): (Code, &str), spent: Spent, now: Instant) -> Option<String> {
        let found = if head.method.is_none() { self.edge.methods.get(&head.path) } else { None };
        let method = head.method.as_ref().or(found.as_ref())?;
        let whole = now.saturating_duration_since(head.started);
        Ended { method, peer: self.origin.peer, code, error, whole, spent }.record(head.in_trailers)
    }

    /// The client has ended its side: what it asked for is still answered.
    pub(crate) fn no_more(&self) {
        self.change(|state| state.no_more = true);
    }

    /// The gateway is ending, and says so.
    pub(crate) fn leave(&self) {
        self.change(|state| state.answers.leave());
    }

    /// The client does not follow the protocol.
    pub(crate) fn break_off(&self, status: Status) {
        self.close_after(|answers| answers.break_off(status));
    }

    /// Nobody waits for anything any more.
    pub(crate) fn close(&self) {
        self.close_after(|_| ());
    }

    /// Nobody seems to be there: its connection need not wait for it once more.
    pub(crate) fn leave_alone(&self) {
        self.origin.left_alone.store(true, Ordering::Relaxed);
        self.close();
    }

    fn close_after(&self, last: impl FnOnce(&mut Answers)) {
        let cancelled = self.change(|state| {
            state.closed = true;
            state.answers.clear();
            last(&mut state.answers);
            state.calls.take_all()
        });
        cancelled.into_iter().for_each(|call| self.give_up(call));
    }

    /// Wakes those who wait for what was changed, outside the lock.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        let (writer, over) = (state.answers.writer(), state.is_over());
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        if over {
            self.news.notify_one();
        }
        changed
    }

    /// For the writer: takes from the answers, told whether none will follow.
    pub(super) fn write<R>(&self, take: impl FnOnce(&mut Answers, bool) -> R) -> R {
        let mut state = self.state.lock();
        let (over, had_room) = (state.is_over(), state.answers.has_room());
        let taken = take(&mut state.answers, over);
        let has_room = state.answers.has_room();
        drop(state);
        if has_room && !had_room {
            self.news.notify_one();
        }
        taken
    }
}

/// Whatever its last node says: where it could go elsewhere, it has been.
fn tried(outcome: Outcome) -> Outcome {
    Outcome { not_started: false, ..outcome }
}

fn status_of(outcome: &Outcome) -> (Code, &str) {
    (status::code_of(outcome.code), outcome.message.as_str())
}
