//! What a store is asked to change, as data: it waits in a channel, goes into a transaction with others, and can be tried
//! again by itself when that transaction fails.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::body::{Body, Granted};
use crate::error::Error;
use crate::part::Parcel;
use crate::query::{Queue, Room};
use crate::seal::Seal;
use crate::state::State;
use crate::store::{Cancelled, Submitted};
use crate::ticket::{Attempt, Failure, GatewayId, NewTicket, Progress, Ticket, TicketId};

/// One change. Each method of [`crate::Store`] that changes something is one of these, or two.
pub(crate) enum Change {
    Submit(Box<Submission>),
    Claim {
        gateway: GatewayId,
        room: Room,
    },
    Finish {
        attempt: Attempt,
        ending: Box<Ending>,
    },
    Retry {
        attempt: Attempt,
        failure: Failure,
        pause: Duration,
    },
    Release {
        attempt: Attempt,
        pause: Duration,
    },
    Progress(Attempt, Progress),
    Cancel(TicketId),
    Delete(TicketId),
    Edit {
        ticket: TicketId,
        request: Option<Bytes>,
        retries: Option<u32>,
    },
    Redrive {
        dead: TicketId,
        new: TicketId,
    },
    Expire(u32),
    Renew {
        gateway: GatewayId,
        lease: Duration,
    },
    Resign(GatewayId),
    LastEnds,
    Disown {
        gateway: GatewayId,
        known: Vec<TicketId>,
        after: Duration,
    },
    NextDue {
        full: Vec<Queue>,
        unserved: Vec<String>,
        /// `None` begins with a new round.
        round: Option<Round>,
    },
    /// A part of a large body, written before the change that needs it.
    Piece {
        body: Uuid,
        number: u32,
        data: Bytes,
        /// Of what ends an attempt.
        is_of_end: bool,
    },
    /// A part of a map's inputs, before its ticket is there.
    Input {
        ticket: TicketId,
        number: u32,
        parcel: Box<Parcel>,
    },
    DropInputs(TicketId),
    /// A part of a map's results.
    Results {
        attempt: Attempt,
        number: u32,
        parcel: Box<Parcel>,
        done: u64,
    },
    /// The body is not needed after all.
    Discard(Uuid),
}

impl Change {
    /// The attempt has not begun, for nobody has heard of it.
    pub(crate) fn given_back(attempt: Attempt) -> Self {
        Self::Release { attempt, pause: Duration::ZERO }
    }
}

/// Where a round through all queues goes on: one change looks at some.
#[derive(Clone)]
pub(crate) struct Round {
    pub(crate) after: Queue,
    /// It goes on from the first queue, and ends with the last.
    pub(crate) is_around: bool,
}

/// A ticket, and what can be made of it before the writer's turn.
pub(crate) struct Submission {
    pub(crate) ticket: NewTicket,
    /// JSON; absent when there are none.
    pub(crate) labels: Option<String>,
    pub(crate) seal: Seal,
    pub(crate) demand: Seal,
    pub(crate) request: Body,
}

/// How a ticket ends, with its response sealed.
pub(crate) struct Ending {
    pub(crate) state: State,
    pub(crate) failure: Option<Failure>,
    pub(crate) response: Option<(Body, Seal)>,
}

/// What a change comes to.
pub(crate) enum Answer {
    Submitted(Submitted),
    Claimed(Vec<Granted>),
    State(State),
    Cancelled(Cancelled),
    Ticket(Box<Ticket>),
    Count(u64),
    /// Where not all queues have been looked at, the round goes on there.
    Due(Option<Duration>, Option<Round>),
    /// There is no space for what the change turned out to add. It has changed nothing; as an error it would be the
    /// transaction's end.
    NoSpace,
    Nothing,
}

impl Answer {
    /// The attempts that have begun by it: they are given back if nobody hears of them.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        match self {
            Self::Submitted(Submitted::Stored { attempt, .. }) => attempt.iter().copied().collect(),
            Self::Claimed(granted) => granted.iter().map(|granted| granted.claimed.attempt).collect(),
            _ => Vec::new(),
        }
    }
}

/// What a change comes to, or why it does not.
pub(crate) type Answered = Result<Answer, Error>;

/// The keys of all submits, with whose they are: each once, in order.
pub(crate) fn keys_of(changes: &[Change]) -> Vec<(&str, &str)> {
    let mut keys: Vec<_> = changes.iter().filter_map(key_of).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn key_of(change: &Change) -> Option<(&str, &str)> {
    let Change::Submit(submission) = change else { return None };
    let key = submission.ticket.key.as_ref()?;
    Some((submission.ticket.tenant.as_str(), key.key.as_str()))
}

/// The tickets that a change is about, as far as they are there already.
pub(crate) fn tickets_of(change: &Change) -> Option<TicketId> {
    match change {
        Change::Finish { attempt, .. }
        | Change::Retry { attempt, .. }
        | Change::Release { attempt, .. }
        | Change::Results { attempt, .. }
        | Change::Progress(attempt, _) => Some(attempt.ticket),
        Change::Cancel(ticket) | Change::Delete(ticket) | Change::Edit { ticket, .. } => Some(*ticket),
        Change::Redrive { dead, .. } => Some(*dead),
        _ => None,
    }
}
