//! Rows that come many at a time, each bound to the places of its kind's statement.

use bytes::Bytes;
use rusqlite::{Statement, ToSql};

use crate::batch::{Begin, Key, Leave, Record, Submit, capped, millis};
use crate::change::Submission;
use crate::state::State;

/// A row of a statement that is run for many.
pub(super) trait BulkRow {
    const SQL: &'static str;

    fn bind(&self, places: &mut Places<'_, '_>);
}

/// A statement's places, filled one after another.
pub(super) struct Places<'s, 'c> {
    statement: &'s mut Statement<'c>,
    next: usize,
    filled: rusqlite::Result<()>,
}

impl<'s, 'c> Places<'s, 'c> {
    pub(super) fn of(statement: &'s mut Statement<'c>) -> Self {
        Self { statement, next: 1, filled: Ok(()) }
    }

    /// What went wrong first, if something did.
    pub(super) fn filled(self) -> rusqlite::Result<()> {
        self.filled
    }

    fn put(&mut self, value: impl ToSql) -> &mut Self {
        if self.filled.is_ok() {
            self.filled = self.statement.raw_bind_parameter(self.next, value);
            self.next += 1;
        }
        self
    }

    fn bytes(&mut self, bytes: Option<&Bytes>) -> &mut Self {
        self.put(some(bytes))
    }
}

/// Empty bytes are kept as none.
pub(super) fn some(bytes: Option<&Bytes>) -> Option<&[u8]> {
    bytes.map(|bytes| &bytes[..]).filter(|bytes| !bytes.is_empty())
}

impl BulkRow for Submit<'_> {
    const SQL: &'static str = "INSERT INTO ticket (seq, id, state, method, tenant, labels, key, attempts, retries, \
        submitted_at, not_before, due_at, began_at, timeout_ms, keep_ms, gateway, metadata, request_bytes, request_seal, \
        request_body, request, parts, items) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

    fn bind(&self, places: &mut Places<'_, '_>) {
        let Submission { ticket, labels, seal, request, .. } = self.submission;
        let begins = self.gateway.is_some();
        let state = if begins { State::Running } else { State::Waiting };
        let due = ticket.not_before.map_or(self.now, |time| time.0.max(self.now));
        places
            .put(self.seq)
            .put(ticket.id.to_string())
            .put(state.name())
            .put(&ticket.method)
            .put(&ticket.tenant)
            .put(labels)
            .put(ticket.key.as_ref().map(|key| &key.key))
            .put(begins)
            .put(ticket.retries)
            .put(self.now)
            .put(ticket.not_before.map(|time| time.0))
            .put((!begins).then_some(due))
            .put(begins.then_some(self.now))
            .put(ticket.timeout.map(millis))
            .put(millis(ticket.keep_result_for))
            .put(self.gateway.map(|gateway| gateway.0.to_string()))
            .bytes(Some(&ticket.metadata))
            .put(capped(request.length()))
            .put(&seal.0[..])
            .put(request.name().map(|name| name.to_string()))
            .bytes(request.inline())
            .put(ticket.inputs.map(|inputs| inputs.parts))
            .put(ticket.inputs.map(|inputs| capped(inputs.items)));
    }
}

impl BulkRow for Key<'_> {
    const SQL: &'static str = "INSERT OR REPLACE INTO idempotency (tenant, key, ticket, demand, remembered_until, method, \
        submitted_at) VALUES (?, ?, ?, ?, ?, ?, ?)";

    fn bind(&self, places: &mut Places<'_, '_>) {
        let ticket = &self.submission.ticket;
        places
            .put(&ticket.tenant)
            .put(self.key)
            .put(ticket.id.to_string())
            .put(&self.submission.demand.0[..])
            .put(self.remembered_until)
            .put(&ticket.method)
            .put(self.now);
    }
}

impl BulkRow for Begin {
    const SQL: &'static str = "UPDATE ticket SET state = 'running', due_at = NULL, attempts = ?2, gateway = ?3, \
        began_at = ?4 WHERE seq = ?1";

    fn bind(&self, places: &mut Places<'_, '_>) {
        places.put(self.seq).put(self.attempt.number).put(self.attempt.gateway.0.to_string()).put(self.now);
    }
}

impl BulkRow for Leave<'_> {
    const SQL: &'static str = "UPDATE ticket SET state = ?2, due_at = ?3, ended_at = ?4, expires_at = ?5, failures = ?6, \
        gateway = NULL, failure_code = coalesce(?7, failure_code), \
        failure_message = iif(?7 IS NULL, failure_message, ?8), \
        failure_details = iif(?7 IS NULL, failure_details, ?9), \
        response_bytes = coalesce(?10, 0), response_seal = ?11, response_body = ?12, response = ?13, \
        progress_done = coalesce(?14, progress_done), progress_total = coalesce(?15, progress_total), \
        progress_note = coalesce(?16, progress_note) WHERE seq = ?1";

    fn bind(&self, places: &mut Places<'_, '_>) {
        let body = self.response.as_ref().map(|(body, _)| *body);
        places
            .put(self.seq)
            .put(self.state.name())
            .put(self.due_at)
            .put(self.ended_at)
            .put(self.expires_at)
            .put(self.failures)
            .put(self.failure.map(|failure| failure.code))
            .put(self.failure.map(|failure| &failure.message))
            .bytes(self.failure.map(|failure| &failure.details))
            .put(body.map(|body| capped(body.length())))
            .put(self.seal().map(|seal| seal.0))
            .put(body.and_then(|body| body.name()).map(|name| name.to_string()))
            .bytes(body.and_then(|body| body.inline()))
            .put(self.progress.as_ref().map(|progress| capped(progress.done)))
            .put(self.progress.as_ref().map(|progress| capped(progress.total)))
            .put(self.progress.as_ref().map(|progress| &progress.note));
    }
}

impl BulkRow for Record<'_> {
    const SQL: &'static str = "INSERT OR REPLACE INTO attempt (ticket, number, began_at, ended_at, code, message, details, \
        seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

    fn bind(&self, places: &mut Places<'_, '_>) {
        places
            .put(self.seq)
            .put(self.number)
            .put(self.began_at)
            .put(self.ended_at)
            .put(self.failure.code)
            .put(&self.failure.message)
            .bytes(Some(&self.failure.details))
            .put(self.seal().0);
    }
}
