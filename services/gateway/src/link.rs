//! A link as the gateway holds it: the calls that are at the node, and the way to send it more. The node's half is
//! in the SDK's `node/link.rs`.

pub(crate) mod frames;
pub(crate) mod heard;
mod load;
mod now;
mod parting;
pub(crate) mod pending;
pub(crate) mod stays;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Code;
use turno_proto::mesh::v1::{self as mesh, Blocking, Hello, Invocation, Outcome};
use turno_proto::status;
use turno_runtime::task;
use turno_runtime::units::micros;

use crate::batch::Line;
use crate::edge::Messages;
use crate::map::gate::Pass;
use crate::methods::Method;
use crate::queue::Place;
use crate::scheduler::{MethodId, Spent, Standing, WorkerId};
use crate::unread::Reader;
use crate::window::{Told, Window};
use frames::Down;
use load::Load;
use pending::{Answer, Calls, Event, GivenUp, Hold, Lost, Pending, Reply, Unfetched};
use stays::Stays;

pub(crate) use parting::Parting;

/// The link to one node.
pub(crate) struct Link {
    pub(crate) id: WorkerId,
    pub(crate) hello: Hello,
    pub(crate) peer: SocketAddr,
    pub(crate) since: Instant,
    down: mpsc::Sender<Down>,
    carry_above: usize,
    /// Where this node has each method, by the gateway's id; filled once, when the node joins.
    index: Mutex<HashMap<MethodId, u32>>,
    /// By that place.
    methods: Mutex<HashMap<u32, Arc<Method>>>,
    pending: Mutex<Calls>,
    next_call: AtomicU64,
    outstanding: AtomicUsize,
    /// Those of them that are not of the batch.
    in_front: AtomicUsize,
    served: AtomicU64,
    leaving: AtomicBool,
    /// Its node had another link when this one ended, or had left in order by another.
    outlived: AtomicBool,
    /// Slots that this gateway may fill.
    slots: AtomicU32,
    has_backlog: AtomicBool,
    /// Calls wait for so many slots that chunks of maps have, and the node has not been told yet.
    slots_wanted: AtomicU32,
    window: Mutex<Window>,
    /// Whether its async threads keep up.
    pub(crate) load: Load,
    /// Calls of the batch to its `async fn`s.
    pub(crate) stays: Arc<Stays>,
    blocking: Mutex<Vec<Blocking>>,
    /// How many times slower it is with its jobs than others, while it is set aside for that; else zero.
    times_slower: AtomicU32,
}

/// Events of a stream on their way to the client; flow control is HTTP/2's.
const EVENTS_WAITING: usize = 4;

impl Link {
    pub(crate) fn new(
        id: WorkerId,
        hello: Hello,
        peer: SocketAddr,
        down: mpsc::Sender<Down>,
        carry_above: usize,
    ) -> Self {
        let slots = hello.slots;
        Self {
            id,
            hello,
            peer,
            since: Instant::now(),
            down,
            carry_above,
            index: Mutex::default(),
            methods: Mutex::default(),
            pending: Mutex::default(),
            next_call: AtomicU64::new(1),
            outstanding: AtomicUsize::new(0),
            in_front: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            outlived: AtomicBool::new(false),
            slots: AtomicU32::new(slots),
            has_backlog: AtomicBool::new(false),
            slots_wanted: AtomicU32::new(0),
            window: Mutex::default(),
            load: Load::default(),
            stays: Stays::new(),
            blocking: Mutex::default(),
            times_slower: AtomicU32::new(0),
        }
    }

    /// The methods that the node has seen to hold a thread, all of them at each word.
    pub(crate) fn set_blocking(&self, mut blocking: Vec<Blocking>) {
        blocking.truncate(self.hello.methods.len());
        *self.blocking.lock() = blocking;
    }

    pub(crate) fn blocking(&self) -> Vec<Blocking> {
        self.blocking.lock().clone()
    }

    /// It is set aside for being slow with its jobs, or is no longer.
    pub(crate) fn set_standing(&self, standing: Standing) {
        let (node, id) = (&self.hello.name, &self.hello.node_id);
        let times = match standing {
            Standing::Well => {
                tracing::info!(node, id, "worker is no longer set aside");
                0
            }
            Standing::Aside { times } => {
                let peer = self.peer;
                tracing::warn!(node, id, %peer, times, "worker is much slower than the others: set aside");
                times
            }
        };
        self.times_slower.store(times, Ordering::Relaxed);
    }

    pub(crate) fn times_slower(&self) -> u32 {
        self.times_slower.load(Ordering::Relaxed)
    }

    pub(crate) fn learn(&self, method: Arc<Method>, index: u32) {
        self.index.lock().insert(method.id, index);
        self.methods.lock().insert(index, method);
    }

    pub(crate) fn index_of(&self, method: MethodId) -> Option<u32> {
        self.index.lock().get(&method).copied()
    }

    /// Calls at the node.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Whether one more call to an `async fn` may go there, as the node keeps up with them.
    pub(crate) fn has_room(&self) -> bool {
        self.load.allows(|| self.in_front())
    }

    /// The node says what queue its async threads have; nothing if there is none.
    pub(crate) fn heard_queue(&self, queue: Option<mesh::Queue>) {
        self.load.heard(queue, || self.in_front());
        let queue = queue.unwrap_or_default();
        // One that does not tell them apart has them in one line.
        let wait_us = queue.batch_wait_us.unwrap_or(queue.wait_us);
        self.stays.heard(Line { wait_us, calls: queue.batch_waiting });
    }

    /// Calls at the node but for those of the batch.
    fn in_front(&self) -> usize {
        self.in_front.load(Ordering::Relaxed)
    }

    /// Calls that it has answered.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Whether it has said that it leaves; one that was lost has not.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Whether its node has outlived it, or has said that it leaves: then nothing that it had has killed it.
    pub(crate) fn is_no_death(&self) -> bool {
        self.is_leaving() || self.outlived.load(Ordering::Relaxed)
    }

    /// Its node is known to have lived longer.
    pub(crate) fn set_outlived(&self) {
        self.outlived.store(true, Ordering::Relaxed);
    }

    /// It takes no more work. Answers whether that is news.
    pub(crate) fn set_leaving(&self) -> bool {
        !self.leaving.swap(true, Ordering::Relaxed)
    }

    /// The node gives this gateway so many of its slots from now on.
    pub(crate) fn set_slots(&self, slots: u32) {
        self.slots.store(slots, Ordering::Relaxed);
    }

    /// Slots that this gateway may fill.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.load(Ordering::Relaxed)
    }

    /// Tells the node whether jobs wait that it could run, when that is news: it may have several gateways.
    pub(crate) fn tell_backlog(&self, jobs: usize) {
        let has_backlog = jobs > 0;
        if self.has_backlog.load(Ordering::Relaxed) != has_backlog
            && self.down.try_send(Down::Backlog(jobs as u64)).is_ok()
        {
            self.has_backlog.store(has_backlog, Ordering::Relaxed);
        }
    }

    /// Asks the node to end a chunk of a map early.
    pub(crate) fn want_slot(&self) {
        self.slots_wanted.fetch_add(1, Ordering::Relaxed);
        // Where there is no room for it, the writer comes by in any case.
        let _busy = self.down.try_send(Down::WantSlot);
    }

    /// Slots to be asked for in the next frame.
    pub(crate) fn take_slots_wanted(&self) -> u32 {
        self.slots_wanted.swap(0, Ordering::Relaxed)
    }

    /// Sends an invocation whose answer is one message. Dropping what this answers cancels the call.
    pub(crate) async fn unary(
        self: &Arc<Self>,
        invocation: Invocation,
        hold: Option<Hold>,
        reader: Option<Arc<Reader>>,
    ) -> Result<Answer, Lost> {
        let room = self.room().await?;
        let (reply, answer) = oneshot::channel();
        let mut sent = self.send(room, invocation, Reply::Once(reply), hold, None, reader)?;
        let answer = answer.await.unwrap_or(Err(Lost { may_have_run: true }));
        sent.done = true;
        answer
    }

    /// Sends an invocation whose answer is a stream, and its request perhaps too. Dropping the guard cancels the call.
    pub(crate) async fn stream(
        self: &Arc<Self>,
        invocation: Invocation,
        hold: Option<Hold>,
        messages: Option<Unfetched>,
        reader: Option<Arc<Reader>>,
    ) -> Result<(mpsc::Receiver<Event>, Sent), Lost> {
        let room = self.room().await?;
        let (reply, events) = mpsc::channel(EVENTS_WAITING);
        let sent = self.send(room, invocation, Reply::Stream(reply), hold, messages, reader)?;
        Ok((events, sent))
    }

    /// Room for one frame more. Few wait for it: the future of a call, which is moved, has none for that.
    async fn room(&self) -> Result<mpsc::Permit<'_, Down>, Lost> {
        match self.down.try_reserve() {
            Ok(room) => Ok(room),
            Err(TrySendError::Full(())) => Box::pin(self.down.reserve()).await.map_err(|_| Lost::UNSENT),
            Err(TrySendError::Closed(())) => Err(Lost::UNSENT),
        }
    }

    /// With room for it: from the moment that the call is on record nothing is awaited until it is on its way, so that
    /// a caller who goes away leaves either nothing or a call that the node will answer.
    fn send(
        self: &Arc<Self>,
        room: mpsc::Permit<'_, Down>,
        mut invocation: Invocation,
        reply: Reply,
        hold: Option<Hold>,
        messages: Option<Unfetched>,
        reader: Option<Arc<Reader>>,
    ) -> Result<Sent, Lost> {
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        invocation.call = call;
        let bytes = invocation.body.len();
        let body = (bytes > self.carry_above).then(|| std::mem::take(&mut invocation.body));
        invocation.carried = body.is_some();
        let (method, since) = (pending::observed(&invocation), Instant::now());
        let pending =
            Pending { reply: Some(reply), reader, method, hold, bytes, body, messages, sent_at: since };
        if !self.keep(call, pending) {
            return Err(Lost::UNSENT);
        }
        room.send(Down::Invoke(invocation));
        Ok(Sent { link: self.clone(), call, since, done: false })
    }

    /// Puts a call on record that is about to be sent. False when the link is closed.
    fn keep(&self, call: u64, pending: Pending) -> bool {
        if pending.hold.is_none() {
            self.load.sent();
        }
        let in_front = usize::from(pending.is_in_front());
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        self.in_front.fetch_add(in_front, Ordering::Relaxed);
        let kept = self.pending.lock().insert(call, pending);
        if !kept {
            self.outstanding.fetch_sub(1, Ordering::Relaxed);
            self.in_front.fetch_sub(in_front, Ordering::Relaxed);
        }
        kept
    }

    /// An outcome has come over the link. What is large in it needs room, unless who asked takes it in any case.
    pub(crate) fn outcome(&self, mut outcome: Outcome) {
        // A call that was given up by both sides at once is answered and already forgotten.
        let Some(pending) = self.forget(outcome.call) else { return };
        if let Some(reader) = &pending.reader {
            reader.take(&mut outcome);
        }
        self.answer(pending, outcome);
    }

    /// The same at the end of a carry, which has seen to the room.
    pub(crate) fn carried(&self, outcome: Outcome) {
        if let Some(pending) = self.forget(outcome.call) {
            self.answer(pending, outcome);
        }
    }

    fn answer(&self, pending: Pending, outcome: Outcome) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let away = pending.away();
        if let Some(Hold::Place(place)) = pending.hold {
            self.finish(place, &outcome, (away, pending.bytes), pending.reply.is_some());
        }
        match pending.reply {
            Some(Reply::Once(reply) | Reply::Heard(reply, _) | Reply::Map(reply, _)) => {
                drop(reply.send(Ok(Answer { outcome, away })))
            }
            Some(Reply::Client(answer)) => answer.give(Ok(Answer { outcome, away })),
            Some(Reply::Stream(events)) => end_stream(events, Event::End(Ok(Answer { outcome, away }))),
            None => {}
        }
    }

    /// Gives a job's place back, with what was learned. One that was given up may have ended early for that.
    fn finish(&self, place: Place, outcome: &Outcome, (away, bytes): (Duration, usize), is_wanted: bool) {
        let Some(cost) = outcome.cost else { return };
        let prefetch = {
            let mut window = self.window.lock();
            let on_node_us = cost.queue_us.saturating_add(cost.run_us);
            window.observe(Told { away_us: micros(away), on_node_us, run_us: cost.run_us, bytes });
            window.prefetch(self.slots())
        };
        let items = cost.items.max(1);
        let done = is_wanted && status::code_of(outcome.code) == Code::Ok;
        place.finish(Spent { run_us: cost.run_us, cpu_us: cost.cpu_us, items, done }, prefetch);
    }

    /// Nobody waits for the call any more. Its place stays taken until the node says that it is done.
    fn cancel(self: &Arc<Self>, call: u64) {
        let given_up = self.pending.lock().get_mut(&call).map(Pending::give_up);
        let Some(given_up) = given_up else { return };
        self.observe(&given_up);
        self.tell_cancel(call);
    }

    /// What a call that was given up says of the node.
    fn observe(&self, given_up: &GivenUp) {
        let method = given_up.method.and_then(|index| self.methods.lock().get(&index).cloned());
        if let Some(method) = method {
            method.gave_up(self.id, given_up.got);
        }
    }

    /// The body of a carried request, for the node that fetches it.
    pub(crate) fn take_body(&self, call: u64) -> Option<Bytes> {
        self.pending.lock().get_mut(&call)?.body.take()
    }

    /// The stream of requests, for the node that reads it. The lock is held meanwhile: what is forgotten is not fetched.
    pub(crate) fn take_messages(&self, call: u64) -> Option<Messages> {
        self.pending.lock().get_mut(&call)?.messages.take()?.fetch()
    }

    /// Who may leave the answer to `call` unread.
    pub(crate) fn reader_of(&self, call: u64) -> Option<Arc<Reader>> {
        self.pending.lock().get(&call)?.reader.clone()
    }

    /// Whether the node still owes an outcome for `call`, and where the messages of its stream go.
    pub(crate) fn stream_of(&self, call: u64) -> Option<Option<mpsc::Sender<Event>>> {
        match &self.pending.lock().get(&call)?.reply {
            Some(Reply::Stream(events)) => Some(Some(events.clone())),
            _ => Some(None),
        }
    }

    /// By what a large answer to `call` has to wait.
    pub(crate) fn pass_of(&self, call: u64) -> Option<Arc<Pass>> {
        self.pending.lock().get(&call)?.pass().cloned()
    }

    fn forget(&self, call: u64) -> Option<Pending> {
        let pending = self.pending.lock().remove(&call);
        if let Some(pending) = &pending {
            self.outstanding.fetch_sub(1, Ordering::Relaxed);
            self.in_front.fetch_sub(usize::from(pending.is_in_front()), Ordering::Relaxed);
        }
        pending
    }

    /// Tells the node that no invocation follows.
    pub(crate) async fn release(&self) {
        // A link that is gone needs no release.
        let _gone = self.down.send(Down::Released).await;
    }

    /// The node has ended its side. Once the writer has stopped, every call left is lost.
    pub(crate) async fn close(&self) {
        tokio::select! {
            _ = self.down.send(Down::End) => {}
            () = self.down.closed() => {}
        }
        self.down.closed().await;
        self.lose_all();
    }

    /// What the writer had not taken, or may not send any more: nothing of it reached the node.
    fn lose_unsent(&self, call: u64) {
        self.lose(call, Lost::UNSENT);
    }

    fn lose_all(&self) {
        let calls = self.pending.lock().close();
        for call in calls {
            self.lose(call, Lost { may_have_run: true });
        }
    }

    fn lose(&self, call: u64, lost: Lost) {
        match self.forget(call).and_then(|pending| pending.reply) {
            Some(Reply::Once(reply) | Reply::Heard(reply, _) | Reply::Map(reply, _)) => {
                drop(reply.send(Err(lost)))
            }
            Some(Reply::Client(answer)) => answer.give(Err(lost)),
            Some(Reply::Stream(events)) => end_stream(events, Event::End(Err(lost))),
            None => {}
        }
    }
}

/// The last event goes behind those that wait.
fn end_stream(events: mpsc::Sender<Event>, end: Event) {
    if let Err(mpsc::error::TrySendError::Full(end)) = events.try_send(end) {
        task::spawn("gateway.stream_end", async move {
            // A client that is gone needs no end.
            let _gone = events.send(end).await;
        });
    }
}

/// A call at a node; cancelled when dropped before it is done.
pub(crate) struct Sent {
    link: Arc<Link>,
    call: u64,
    pub(crate) since: Instant,
    pub(crate) done: bool,
}

impl Sent {
    /// Cancels the call at `deadline`, unless what this answers is dropped before: also while nobody reads its answer.
    pub(crate) fn cancel_at(&self, deadline: Instant) -> DropGuard {
        let (link, call, over) = (self.link.clone(), self.call, CancellationToken::new());
        let guard = over.clone().drop_guard();
        task::spawn("gateway.deadline", async move {
            if tokio::time::timeout_at(deadline.into(), over.cancelled()).await.is_err() {
                link.cancel(call);
            }
        });
        guard
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.done {
            self.link.cancel(self.call);
        }
    }
}
