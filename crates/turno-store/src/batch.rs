//! A transaction on its way: what it has found out, and the rows that it has still to write. Rows gather until somebody has to
//! read what they say, or all is decided; which statement they need is the database's business.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::body::{Body, Granted, Stored};
use crate::change::Submission;
use crate::seal::Seal;
use crate::space::Space;
use crate::state::State;
use crate::ticket::{Attempt, Failure, GatewayId, Progress, TicketId};

/// An attempt under way.
#[derive(Clone)]
pub(crate) struct Held {
    /// Its ticket's number, where the database has one.
    pub(crate) seq: i64,
    pub(crate) attempt: Attempt,
    /// When it began, in milliseconds.
    pub(crate) began_at: i64,
    /// Of the attempts before.
    pub(crate) failures: u32,
    pub(crate) keep_ms: i64,
    pub(crate) cancel_requested: bool,
    pub(crate) delete_requested: bool,
}

/// What a transaction changes of what is held.
pub(crate) type Overlay = HashMap<TicketId, Option<Held>>;

/// A transaction on its way.
pub(crate) struct Batch<'a> {
    /// Its time, in milliseconds.
    pub(crate) now: i64,
    /// This machine's.
    pub(crate) instant: Instant,
    /// For what its changes add.
    pub(crate) space: Space,
    pub(crate) overlay: Overlay,
    pub(crate) keys: HashMap<(&'a str, &'a str), KnownKey>,
    /// Methods that a ticket is submitted for, for the first time as far as this process knows.
    pub(crate) methods: HashSet<&'a str>,
    /// How many more or fewer tickets there are of each state.
    pub(crate) totals: [i64; State::ALL.len()],
    pub(crate) rows: Rows<'a>,
}

/// A key as it is known.
#[derive(Clone)]
pub(crate) struct KnownKey {
    pub(crate) ticket: TicketId,
    pub(crate) demand: Bytes,
    pub(crate) remembered_until: Option<i64>,
    pub(crate) method: String,
    pub(crate) state: Option<State>,
    pub(crate) submitted_at: i64,
    pub(crate) ended_at: Option<i64>,
}

/// Rows that wait for their statement.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    pub(crate) submits: Vec<Submit<'a>>,
    pub(crate) keys: Vec<Key<'a>>,
    pub(crate) begins: Vec<Begin>,
    pub(crate) leaves: Vec<Leave<'a>>,
    pub(crate) records: Vec<Record<'a>>,
}

/// A new ticket.
pub(crate) struct Submit<'a> {
    pub(crate) seq: i64,
    pub(crate) submission: &'a Submission,
    pub(crate) gateway: Option<GatewayId>,
    pub(crate) now: i64,
}

/// Its key.
pub(crate) struct Key<'a> {
    pub(crate) submission: &'a Submission,
    pub(crate) key: &'a str,
    pub(crate) remembered_until: Option<i64>,
    pub(crate) now: i64,
}

/// An attempt begins.
pub(crate) struct Begin {
    pub(crate) seq: i64,
    pub(crate) attempt: Attempt,
    pub(crate) now: i64,
}

/// An attempt, or somebody's wish, leaves a ticket in a state.
pub(crate) struct Leave<'a> {
    pub(crate) seq: i64,
    pub(crate) ticket: TicketId,
    pub(crate) state: State,
    pub(crate) due_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) failures: u32,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) response: Option<(&'a Body, Seal)>,
    /// Written with it, where progress is not on disk already.
    pub(crate) progress: Option<Progress>,
}

/// An attempt that failed.
pub(crate) struct Record<'a> {
    pub(crate) seq: i64,
    pub(crate) ticket: TicketId,
    pub(crate) number: u32,
    pub(crate) began_at: i64,
    pub(crate) ended_at: i64,
    pub(crate) failure: &'a Failure,
}

/// A ticket that is due, with the attempt that begins.
pub(crate) struct Due {
    pub(crate) state: State,
    pub(crate) granted: Granted,
    pub(crate) held: Held,
    /// The attempt before, if it ended with its gateway: its number, and when it began.
    pub(crate) lost: Option<(u32, i64)>,
}

/// A row that is due and cannot be read: what can be said of it.
pub(crate) struct Broken {
    pub(crate) seq: i64,
    pub(crate) ticket: Option<TicketId>,
    pub(crate) state: Option<State>,
}

/// What is known of a ticket while something rare happens to it.
pub(crate) struct Standing {
    pub(crate) seq: i64,
    pub(crate) ticket: TicketId,
    pub(crate) state: State,
    pub(crate) failures: u32,
    pub(crate) keep_ms: i64,
    pub(crate) delete_requested: bool,
    pub(crate) redriven_as: Option<TicketId>,
    pub(crate) is_map: bool,
}

/// What a ticket was submitted with.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) tenant: String,
    pub(crate) metadata: Bytes,
    pub(crate) request: Stored,
}

impl Leave<'_> {
    /// Over what the ticket ends with, its response or its failure; of one that goes on, or was cancelled, there is none.
    pub(crate) fn seal(&self) -> Option<Seal> {
        match (&self.response, self.failure) {
            (Some((_, seal)), _) => Some(*seal),
            (None, Some(failure)) if self.state.is_failure() => {
                Some(Seal::of_failure(self.ticket, self.state, failure))
            }
            _ => None,
        }
    }
}

impl Record<'_> {
    /// Over what the attempt has failed with.
    pub(crate) fn seal(&self) -> Seal {
        Seal::of_attempt(self.ticket, self.number, self.failure)
    }
}

impl Batch<'_> {
    /// Nothing has happened yet, and it is `now`.
    pub(crate) fn new(now: i64) -> Self {
        Self {
            now,
            instant: Instant::now(),
            space: Space::BOUNDLESS,
            overlay: Overlay::new(),
            keys: HashMap::new(),
            methods: HashSet::new(),
            totals: [0; State::ALL.len()],
            rows: Rows::default(),
        }
    }

    /// A ticket went from one state to another; `None` is not to be at all.
    pub(crate) fn count(&mut self, from: Option<State>, to: Option<State>) {
        if let Some(from) = from {
            self.totals[from as usize] -= 1;
        }
        if let Some(to) = to {
            self.totals[to as usize] += 1;
        }
    }
}

/// As databases keep it: what is longer than time itself is for ever.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// As databases keep it: they know no larger numbers.
pub(crate) fn capped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
