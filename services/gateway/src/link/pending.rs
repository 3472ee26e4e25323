//! A call that is at a node.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use turno_proto::mesh::Outcome;

use crate::queue::Place;

/// What the gateway keeps of it.
pub(crate) struct Pending {
    /// Who waits; nobody, once it was cancelled.
    pub(crate) reply: Option<Reply>,
    /// The job's place, kept until the outcome is back.
    pub(crate) place: Option<Place>,
    /// The body, until the node has fetched it.
    pub(crate) body: Option<Bytes>,
    pub(crate) sent_at: Instant,
}

/// Where its answer goes.
pub(crate) enum Reply {
    Once(oneshot::Sender<Result<Outcome, Lost>>),
    Stream(mpsc::Sender<Event>),
}

/// What a stream answers.
pub(crate) enum Event {
    Message(Bytes),
    End(Result<Outcome, Lost>),
}

/// The node was lost with the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// It had been handed over, so it may have run; else nothing of it reached the node.
    pub(crate) may_have_run: bool,
}
