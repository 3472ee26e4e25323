//! Each kind of row, bound to the values of its statement.

use bytes::Bytes;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Encode, Sqlite, Type};

use super::shapes::{self, Shape};
use crate::batch::{Begin, Key, Leave, Record, Submit, capped, millis};
use crate::change::Submission;
use crate::state::State;

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

    pub(super) fn bytes(&mut self, bytes: Option<&Bytes>) -> &mut Self {
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
            .bytes(request.inline())
            .put(ticket.inputs.map(|inputs| i64::from(inputs.parts)))
            .put(ticket.inputs.map(|inputs| capped(inputs.items)));
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
