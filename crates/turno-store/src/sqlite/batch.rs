//! What a transaction has still to write, row by row, until there is a statement's worth of it.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Encode, Sqlite, Type};

use super::memory::Overlay;
use super::shapes::{self, Shape};
use crate::change::Submission;
use crate::seal::Seal;
use crate::state::State;
use crate::ticket::{Attempt, Failure, GatewayId, Progress, TicketId};

/// A transaction on its way.
pub(super) struct Batch<'a> {
    /// Its time, in milliseconds and for leases.
    pub(super) now: i64,
    pub(super) instant: Instant,
    pub(super) begun: bool,
    pub(super) overlay: Overlay,
    pub(super) keys: HashMap<(&'a str, &'a str), KnownKey>,
    pub(super) totals: [i64; State::ALL.len()],
    pub(super) rows: Rows<'a>,
}

/// A key as it is known.
#[derive(Clone)]
pub(super) struct KnownKey {
    pub(super) ticket: TicketId,
    pub(super) demand: Vec<u8>,
    pub(super) remembered_until: Option<i64>,
    pub(super) method: String,
    pub(super) state: Option<State>,
    pub(super) submitted_at: i64,
    pub(super) ended_at: Option<i64>,
}

/// Rows that wait for their statement.
#[derive(Default)]
pub(super) struct Rows<'a> {
    pub(super) submits: Vec<Submit<'a>>,
    pub(super) keys: Vec<Key<'a>>,
    pub(super) begins: Vec<Begin>,
    pub(super) leaves: Vec<Leave<'a>>,
    pub(super) records: Vec<Record<'a>>,
}

/// A new ticket.
pub(super) struct Submit<'a> {
    pub(super) seq: i64,
    pub(super) submission: &'a Submission,
    pub(super) gateway: Option<GatewayId>,
    pub(super) now: i64,
}

/// Its key.
pub(super) struct Key<'a> {
    pub(super) submission: &'a Submission,
    pub(super) key: &'a str,
    pub(super) remembered_until: Option<i64>,
    pub(super) now: i64,
}

/// An attempt begins.
pub(super) struct Begin {
    pub(super) seq: i64,
    pub(super) attempt: Attempt,
    pub(super) now: i64,
}

/// An attempt leaves its ticket in a state.
pub(super) struct Leave<'a> {
    pub(super) seq: i64,
    pub(super) state: State,
    pub(super) due_at: Option<i64>,
    pub(super) ended_at: Option<i64>,
    pub(super) expires_at: Option<i64>,
    pub(super) failures: u32,
    pub(super) failure: Option<&'a Failure>,
    pub(super) response: Option<(&'a crate::body::Body, Seal)>,
    pub(super) progress: Option<Progress>,
}

/// An attempt that failed.
pub(super) struct Record<'a> {
    pub(super) seq: i64,
    pub(super) number: u32,
    pub(super) began_at: i64,
    pub(super) ended_at: i64,
    pub(super) failure: &'a Failure,
}

impl<'a> Batch<'a> {
    pub(super) fn new(now: i64) -> Self {
        Self {
            now,
            instant: Instant::now(),
            begun: false,
            overlay: Overlay::new(),
            keys: HashMap::new(),
            totals: [0; State::ALL.len()],
            rows: Rows::default(),
        }
    }

    /// A ticket went from one state to another; `None` is not to be at all.
    pub(super) fn count(&mut self, from: Option<State>, to: Option<State>) {
        if let Some(from) = from {
            self.totals[from as usize] -= 1;
        }
        if let Some(to) = to {
            self.totals[to as usize] += 1;
        }
    }
}

/// A row of a statement over many.
pub(super) trait BulkRow {
    const SHAPE: &'static Shape;

    fn bind(&self, values: &mut Values);
}

/// Values to be bound, one after another.
#[derive(Default)]
pub(super) struct Values(pub(super) SqliteArguments);

impl Values {
    pub(super) fn put<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        self.0.add(value).expect("numbers, text and bytes can be bound");
        self
    }

    fn bytes(&mut self, bytes: Option<&Bytes>) -> &mut Self {
        self.put(bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| &bytes[..]))
    }
}

impl BulkRow for Submit<'_> {
    const SHAPE: &'static Shape = &shapes::SUBMIT;

    fn bind(&self, values: &mut Values) {
        let Submission { ticket, labels, seal, request, .. } = self.submission;
        let begins = self.gateway.is_some();
        let state = if begins { State::Running } else { State::Waiting };
        let due = ticket.not_before.map_or(self.now, |time| time.0.max(self.now));
        values
            .put(self.seq)
            .put(ticket.id.to_string())
            .put(state.name())
            .put(ticket.method.as_str())
            .put(ticket.tenant.as_str())
            .put(labels.as_deref())
            .put(ticket.key.as_ref().map(|key| key.key.as_str()))
            .put(i64::from(begins))
            .put(i64::from(ticket.retries))
            .put(self.now)
            .put(ticket.not_before.map(|time| time.0))
            .put((!begins).then_some(due))
            .put(begins.then_some(self.now))
            .put(ticket.timeout.map(millis))
            .put(millis(ticket.keep_result_for))
            .put(self.gateway.map(|gateway| gateway.0.to_string()))
            .bytes(Some(&ticket.metadata))
            .put(request.length() as i64)
            .put(&seal.0[..])
            .put(request.name().map(|name| name.to_string()))
            .bytes(request.inline());
    }
}

impl BulkRow for Key<'_> {
    const SHAPE: &'static Shape = &shapes::KEY;

    fn bind(&self, values: &mut Values) {
        let ticket = &self.submission.ticket;
        values
            .put(ticket.tenant.as_str())
            .put(self.key)
            .put(ticket.id.to_string())
            .put(&self.submission.demand.0[..])
            .put(self.remembered_until)
            .put(ticket.method.as_str())
            .put(self.now);
    }
}

impl BulkRow for Begin {
    const SHAPE: &'static Shape = &shapes::BEGIN;

    fn bind(&self, values: &mut Values) {
        values
            .put(self.seq)
            .put(i64::from(self.attempt.number))
            .put(self.attempt.gateway.0.to_string())
            .put(self.now);
    }
}

impl BulkRow for Leave<'_> {
    const SHAPE: &'static Shape = &shapes::LEAVE;

    fn bind(&self, values: &mut Values) {
        let (body, seal) = self.response.as_ref().map(|(body, seal)| (*body, seal)).unzip();
        values
            .put(self.seq)
            .put(self.state.name())
            .put(self.due_at)
            .put(self.ended_at)
            .put(self.expires_at)
            .put(i64::from(self.failures))
            .put(self.failure.map(|failure| failure.code))
            .put(self.failure.map(|failure| failure.message.as_str()))
            .bytes(self.failure.map(|failure| &failure.details))
            .put(body.map(|body| body.length() as i64))
            .put(seal.map(|seal| &seal.0[..]))
            .put(body.and_then(|body| body.name()).map(|name| name.to_string()))
            .bytes(body.and_then(|body| body.inline()))
            .put(self.progress.as_ref().map(|progress| capped(progress.done)))
            .put(self.progress.as_ref().map(|progress| capped(progress.total)))
            .put(self.progress.as_ref().map(|progress| progress.note.as_str()));
    }
}

impl BulkRow for Record<'_> {
    const SHAPE: &'static Shape = &shapes::RECORD;

    fn bind(&self, values: &mut Values) {
        values
            .put(self.seq)
            .put(i64::from(self.number))
            .put(self.began_at)
            .put(self.ended_at)
            .put(self.failure.code)
            .put(self.failure.message.as_str())
            .bytes(Some(&self.failure.details));
    }
}

/// As SQLite keeps it: what is longer than time itself is for ever.
pub(super) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn capped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
