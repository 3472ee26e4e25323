//! A ticket and its words.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::part::Inputs;
use crate::state::State;

/// Requests and responses above so many bytes are kept beside the ticket's row: each change of a row writes all of it again.
pub const INLINE: usize = 16 * 1024;

/// Names a ticket: a UUID of version 7, so that later ones sort behind earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub Uuid);

impl TicketId {
    /// A new one.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for TicketId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TicketId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// Names a gateway from its start to its end. One that starts again is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(pub Uuid);

impl GatewayId {
    /// No gateway's: whatever it is said to hold is due.
    pub(crate) const NOBODY: Self = Self(Uuid::nil());
}

/// Milliseconds since the beginning of 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// The same key is the same ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The submitter's own words; keys of different tenants have nothing to do with each other.
    pub key: String,
    /// How long it is remembered from the submit on; for ever when absent. It outlives the ticket if need be.
    pub remembered_for: Option<Duration>,
}

/// A ticket on its way into the store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTicket {
    /// Its name from now on.
    pub id: TicketId,
    /// "gallery.v1.Gallery/Thumbnail"
    pub method: String,
    /// The method's request, encoded. Above [`INLINE`] it is kept beside the row.
    pub request: Bytes,
    /// Of a map: its inputs, which were put under this name before. The request says what else is to be known of it.
    pub inputs: Option<Inputs>,
    /// `turno-tenant`; empty for nobody.
    pub tenant: String,
    /// Lines of metadata that go with every attempt, encoded by the gateway.
    pub metadata: Bytes,
    /// The submitter's own words, to find it by.
    pub labels: BTreeMap<String, String>,
    /// The same key is the same ticket.
    pub key: Option<IdempotencyKey>,
    /// No attempt begins before.
    pub not_before: Option<Timestamp>,
    /// The longest that one attempt may take, kept to the millisecond; the method's own limit holds anyway.
    pub timeout: Option<Duration>,
    /// Attempts after the first.
    pub retries: u32,
    /// How long it is kept once its state is final.
    pub keep_result_for: Duration,
    /// Its first attempt begins at this gateway as soon as it is on disk: the attempt is on record with it. Without a
    /// lease (see [`crate::Store::renew`]) it does not.
    pub begin_at: Option<GatewayId>,
}

/// An attempt of a ticket. It fences: what an attempt reports that is not the ticket's current one is refused, and so no
/// number is given twice, not even when an attempt was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Whose.
    pub ticket: TicketId,
    /// Where it runs.
    pub gateway: GatewayId,
    /// The first is 1.
    pub number: u32,
}

/// How an attempt has failed. The words of `google.rpc.Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// A `google.rpc.Code`.
    pub code: i32,
    /// For people.
    pub message: String,
    /// The encoded `google.rpc.Status` of a rich error; empty when there is none.
    pub details: Bytes,
}

/// How a ticket ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// [`State::Done`]: the method's response, encoded. Above [`INLINE`] it is kept beside the row.
    Done(Bytes),
    /// [`State::Failed`].
    Failed(Failure),
    /// [`State::Dead`]: with the reason.
    Dead(Failure),
    /// [`State::Cancelled`]: the attempt has stopped because the ticket was cancelled.
    Cancelled,
}

impl Outcome {
    /// The state that it leads to.
    pub fn state(&self) -> State {
        match self {
            Self::Done(_) => State::Done,
            Self::Failed(_) => State::Failed,
            Self::Dead(_) => State::Dead,
            Self::Cancelled => State::Cancelled,
        }
    }
}

/// What a method says of how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of `total`.
    pub done: u64,
    /// Zero when nobody knows.
    pub total: u64,
    /// For people.
    pub note: String,
}

/// A ticket as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// Its name.
    pub id: TicketId,
    /// "gallery.v1.Gallery/Thumbnail"
    pub method: String,
    /// `turno-tenant`; empty for nobody.
    pub tenant: String,
    /// Where it stands.
    pub state: State,
    /// The submitter's own words.
    pub labels: BTreeMap<String, String>,
    /// The submitter's idempotency key.
    pub key: Option<String>,
    /// Attempts that have begun, those too that were given back before a node had them.
    pub attempts: u32,
    /// Attempts that count against `retries`: those that failed or whose node was lost. One that ended with its gateway
    /// is nobody's fault.
    pub failures: u32,
    /// Attempts after the first that it may have.
    pub retries: u32,
    /// Somebody wants it cancelled; it says [`State::Cancelled`] once nothing of it runs.
    pub cancel_requested: bool,
    /// Somebody has deleted it: it is gone once it has ended, unless it is asked for anew before.
    pub delete_requested: bool,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// No attempt begins before.
    pub not_before: Option<Timestamp>,
    /// When the current or last attempt began.
    pub began_at: Option<Timestamp>,
    /// When its state became final.
    pub ended_at: Option<Timestamp>,
    /// When it will be forgotten; only of one that has ended.
    pub expires_at: Option<Timestamp>,
    /// The gateway that runs it now.
    pub gateway: Option<GatewayId>,
    /// The method's last word about how far it is.
    pub progress: Progress,
    /// Why the last attempt failed; the final error of one that is failed or dead.
    pub failure: Option<Failure>,
    /// The request's size in bytes.
    pub request_bytes: u64,
    /// The response's size in bytes; zero until it is done.
    pub response_bytes: u64,
    /// The dead ticket that this one takes up again.
    pub redrive_of: Option<TicketId>,
    /// The ticket that has taken up this dead one.
    pub redriven_as: Option<TicketId>,
    /// Of a map.
    pub inputs: Option<Inputs>,
    /// Only its idempotency key is remembered: it has expired or was deleted, and its request, response, labels and
    /// attempts are gone. Only a submit with its key meets such a one.
    pub forgotten: bool,
}

/// An attempt that has failed, for who wants to know why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The first is 1; zero of one that is damaged and cannot be read.
    pub number: u32,
    /// When it began.
    pub began_at: Timestamp,
    /// When it failed, or was found to have ended with its gateway.
    pub ended_at: Timestamp,
    /// Why; `DATA_LOSS` if what is stored of it is damaged.
    pub failure: Failure,
}
