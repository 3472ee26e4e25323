//! A call that is at a node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use turno_proto::mesh::v1::{Invocation, Outcome, Progress};

use crate::clients;
use crate::edge::Messages;
use crate::link::stays::Stay;
use crate::map::gate::Pass;
use crate::queue::Place;
use crate::unread::{Reader, Room};

/// What the gateway keeps of it.
pub(crate) struct Pending {
    /// Who waits; nobody, once it was cancelled.
    pub(crate) reply: Option<Reply>,
    /// Who may leave its answer unread; none where who waits takes what comes.
    pub(crate) reader: Option<Arc<Reader>>,
    /// By its place at the node, where the time that it takes is compared with that of others.
    pub(crate) method: Option<u32>,
    /// Kept until the outcome is back.
    pub(crate) hold: Option<Hold>,
    /// Of its request.
    pub(crate) bytes: usize,
    /// The body, until the node has fetched it.
    pub(crate) body: Option<Bytes>,
    /// The stream of requests, until the node has come for it.
    pub(crate) messages: Option<Unfetched>,
    pub(crate) sent_at: Instant,
}

/// What a call has of its node; a call to an `async fn` that is not of the batch has nothing.
pub(crate) enum Hold {
    /// A job.
    Place(Place),
    /// An `async fn`'s, of the batch. It is given back when this is dropped.
    Stay(#[expect(dead_code, reason = "it is held")] Stay),
}

/// The method, unless this is for several items: they are not one call.
pub(crate) fn observed(invocation: &Invocation) -> Option<u32> {
    (invocation.items <= 1).then_some(invocation.method)
}

/// What is left of a call that nobody waits for any more, to be dropped outside the lock.
pub(crate) struct GivenUp {
    pub(crate) method: Option<u32>,
    /// How long it was waited for.
    pub(crate) got: Duration,
    _rest: (Option<Reply>, Option<Bytes>, Option<Unfetched>),
}

impl Pending {
    /// Whether it is not of the batch, or a job, which has its slot.
    pub(crate) fn is_in_front(&self) -> bool {
        !matches!(self.hold, Some(Hold::Stay(_)))
    }

    /// By what a large answer has to wait: none where the node comes for the body, or who asked takes it at once.
    pub(crate) fn pass(&self) -> Option<&Arc<Pass>> {
        match &self.reply {
            Some(Reply::Map(_, pass)) if self.body.is_none() => pass.as_ref(),
            _ => None,
        }
    }

    /// How long it has been away, without its wait for room.
    pub(crate) fn away(&self) -> Duration {
        let back = self.pass().and_then(|pass| pass.came_at()).unwrap_or_else(Instant::now);
        back.saturating_duration_since(self.sent_at)
    }

    /// Nobody waits for it any more. A stream takes as long as it likes, and what was given up before is known.
    pub(crate) fn give_up(&mut self) -> GivenUp {
        let is_one_answer = self.reply.as_ref().is_some_and(|reply| !matches!(reply, Reply::Stream(_)));
        GivenUp {
            method: self.method.filter(|_| is_one_answer),
            got: self.sent_at.elapsed(),
            _rest: (self.reply.take(), self.body.take(), self.messages.take()),
        }
    }
}

/// A stream of requests that waits for a node to come for it. Shared with the call's attempts: as long as it is here,
/// no method has begun with it.
#[derive(Clone)]
pub(crate) struct Unfetched(Arc<Mutex<Option<Messages>>>);

impl Unfetched {
    pub(crate) fn new(messages: Messages) -> Self {
        Self(Arc::new(Mutex::new(Some(messages))))
    }

    pub(crate) fn fetch(&self) -> Option<Messages> {
        self.0.lock().take()
    }

    pub(crate) fn is_here(&self) -> bool {
        self.0.lock().is_some()
    }
}

/// The calls that are at one node.
#[derive(Default)]
pub(crate) struct Calls {
    map: HashMap<u64, Pending>,
    closed: bool,
}

impl Calls {
    /// False once the link is closed: nobody would ever answer.
    pub(crate) fn insert(&mut self, call: u64, pending: Pending) -> bool {
        if !self.closed {
            self.map.insert(call, pending);
        }
        !self.closed
    }

    pub(crate) fn get(&self, call: &u64) -> Option<&Pending> {
        self.map.get(call)
    }

    pub(crate) fn get_mut(&mut self, call: &u64) -> Option<&mut Pending> {
        self.map.get_mut(call)
    }

    pub(crate) fn remove(&mut self, call: &u64) -> Option<Pending> {
        self.map.remove(call)
    }

    /// No call comes any more; answers those that are left.
    pub(crate) fn close(&mut self) -> Vec<u64> {
        self.closed = true;
        self.map.keys().copied().collect()
    }
}

/// Where its answer goes.
pub(crate) enum Reply {
    Once(oneshot::Sender<Result<Answer, Lost>>),
    /// The same, for who waits until it has stopped, hears how far it is, and takes what comes: a ticket.
    Heard(oneshot::Sender<Result<Answer, Lost>>, watch::Sender<Progress>),
    /// The same, for who waits until it has stopped, and takes what comes, but what is large not before there is room.
    Map(oneshot::Sender<Result<Answer, Lost>>, Option<Arc<Pass>>),
    /// A client that is linked takes it at once.
    Client(clients::Answer),
    Stream(mpsc::Sender<Event>),
}

/// What a node has answered.
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// Since the invocation was sent.
    pub(crate) away: Duration,
}

/// What a stream answers.
pub(crate) enum Event {
    /// A method that takes a stream will answer one, and wants to be asked.
    Begun,
    /// And what holds room for it while it is unread.
    Message(Bytes, Option<Room>),
    End(Result<Answer, Lost>),
}

/// The node was lost with the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// It had been handed over, so it may have run; else nothing of it reached the node.
    pub(crate) may_have_run: bool,
}

impl Lost {
    pub(crate) const UNSENT: Self = Self { may_have_run: false };
}
