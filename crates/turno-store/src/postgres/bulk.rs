//! Rows of one kind as arrays, a column each: one statement for as many as there are.

use sqlx::postgres::{PgArguments, PgHasArrayType};
use sqlx::{Arguments, Encode, Postgres, Type};
use uuid::Uuid;

use crate::batch::{Begin, Key, Leave, Record, Submit, capped, millis};
use crate::state::State;

/// New tickets.
pub(super) const SUBMIT: &str = "INSERT INTO turno.ticket (id, state, method, tenant, labels, key, attempts, retries, \
    submitted_at, not_before, due_at, began_at, timeout_ms, keep_ms, gateway, metadata, request_bytes, request_seal, \
    request_body, request, parts, items) \
    SELECT a, b, c, d, e::jsonb, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, w FROM unnest($1::uuid[], $2::text[], \
    $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], \
    $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::uuid[], $16::bytea[], $17::bigint[], $18::bytea[], \
    $19::uuid[], $20::bytea[], $21::bigint[], $22::bigint[]) AS v(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, w)";

/// Their keys. Fewer rows than keys: somebody else was faster with one of them.
pub(super) const KEY: &str = "INSERT INTO turno.idempotency AS old (tenant, key, ticket, demand, remembered_until, method, \
    submitted_at) SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bytea[], $5::bigint[], $6::text[], \
    $7::bigint[]) ON CONFLICT (tenant, key) DO UPDATE SET ticket = excluded.ticket, demand = excluded.demand, \
    remembered_until = excluded.remembered_until, method = excluded.method, submitted_at = excluded.submitted_at, \
    state = NULL, ended_at = NULL WHERE old.remembered_until <= excluded.submitted_at";

/// The beginnings of attempts.
pub(super) const BEGIN: &str = "UPDATE turno.ticket AS t SET state = 'running', due_at = NULL, attempts = v.number, \
    gateway = v.gateway, began_at = v.began_at FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[]) \
    AS v(id, number, gateway, began_at) WHERE t.id = v.id";

/// The ends of attempts.
pub(super) const LEAVE: &str = "UPDATE turno.ticket AS t SET state = v.state, due_at = v.due_at, ended_at = v.ended_at, \
    expires_at = v.expires_at, failures = v.failures, gateway = NULL, \
    failure_code = coalesce(v.code, t.failure_code), \
    failure_message = CASE WHEN v.code IS NULL THEN t.failure_message ELSE v.message END, \
    failure_details = CASE WHEN v.code IS NULL THEN t.failure_details ELSE v.details END, \
    response_bytes = coalesce(v.bytes, 0), response_seal = v.seal, response_body = v.body, response = v.response \
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
    $8::text[], $9::bytea[], $10::bigint[], $11::bytea[], $12::uuid[], $13::bytea[]) \
    AS v(id, state, due_at, ended_at, expires_at, failures, code, message, details, bytes, seal, body, response) \
    WHERE t.id = v.id";

/// What is kept of attempts that failed.
pub(super) const RECORD: &str = "INSERT INTO turno.attempt (ticket, number, began_at, ended_at, code, message, details, \
    seal) SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], \
    $7::bytea[], $8::bytea[]) \
    ON CONFLICT (ticket, number) DO NOTHING";

/// Values to be bound, one after another.
#[derive(Default)]
pub(super) struct Values(pub(super) PgArguments);

impl Values {
    pub(super) fn put<'t, T: Encode<'t, Postgres> + Type<Postgres>>(mut self, value: T) -> Self {
        self.0.add(value).expect("numbers, text, bytes and arrays of them can be bound");
        self
    }

    /// One column of `rows`.
    fn column<'t, R, V>(self, rows: &'t [R], value: impl Fn(&'t R) -> V) -> Self
    where
        Vec<V>: Encode<'t, Postgres> + Type<Postgres>,
        V: PgHasArrayType,
    {
        let column: Vec<V> = rows.iter().map(value).collect();
        self.put(column)
    }
}

pub(super) fn filled(bytes: &bytes::Bytes) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(&bytes[..])
}

pub(super) fn submits(rows: &[Submit<'_>]) -> Values {
    let due = |row: &Submit<'_>| {
        let due = row.submission.ticket.not_before.map_or(row.now, |time| time.0.max(row.now));
        row.gateway.is_none().then_some(due)
    };
    let state = |row: &Submit<'_>| if row.gateway.is_some() { State::Running } else { State::Waiting };
    Values::default()
        .column(rows, |row| row.submission.ticket.id.0)
        .column(rows, |row| state(row).name())
        .column(rows, |row| row.submission.ticket.method.as_str())
        .column(rows, |row| row.submission.ticket.tenant.as_str())
        .column(rows, |row| row.submission.labels.as_deref())
        .column(rows, |row| row.submission.ticket.key.as_ref().map(|key| key.key.as_str()))
        .column(rows, |row| i64::from(row.gateway.is_some()))
        .column(rows, |row| i64::from(row.submission.ticket.retries))
        .column(rows, |row| row.now)
        .column(rows, |row| row.submission.ticket.not_before.map(|time| time.0))
        .column(rows, due)
        .column(rows, |row| row.gateway.map(|_| row.now))
        .column(rows, |row| row.submission.ticket.timeout.map(millis))
        .column(rows, |row| millis(row.submission.ticket.keep_result_for))
        .column(rows, |row| row.gateway.map(|gateway| gateway.0))
        .column(rows, |row| filled(&row.submission.ticket.metadata))
        .column(rows, |row| capped(row.submission.request.length()))
        .column(rows, |row| &row.submission.seal.0[..])
        .column(rows, |row| row.submission.request.name())
        .column(rows, |row| row.submission.request.inline().and_then(filled))
        .column(rows, |row| row.submission.ticket.inputs.map(|inputs| i64::from(inputs.parts)))
        .column(rows, |row| row.submission.ticket.inputs.map(|inputs| capped(inputs.items)))
}

pub(super) fn keys(rows: &[Key<'_>]) -> Values {
    Values::default()
        .column(rows, |row| row.submission.ticket.tenant.as_str())
        .column(rows, |row| row.key)
        .column(rows, |row| row.submission.ticket.id.0)
        .column(rows, |row| &row.submission.demand.0[..])
        .column(rows, |row| row.remembered_until)
        .column(rows, |row| row.submission.ticket.method.as_str())
        .column(rows, |row| row.now)
}

pub(super) fn begins(rows: &[Begin]) -> Values {
    Values::default()
        .column(rows, |row| row.attempt.ticket.0)
        .column(rows, |row| i64::from(row.attempt.number))
        .column(rows, |row| row.attempt.gateway.0)
        .column(rows, |row| row.now)
}

pub(super) fn leaves(rows: &[Leave<'_>]) -> Values {
    let body = |row: &Leave<'_>| -> Option<Uuid> { row.response.as_ref().and_then(|(body, _)| body.name()) };
    Values::default()
        .column(rows, |row| row.ticket.0)
        .column(rows, |row| row.state.name())
        .column(rows, |row| row.due_at)
        .column(rows, |row| row.ended_at)
        .column(rows, |row| row.expires_at)
        .column(rows, |row| i64::from(row.failures))
        .column(rows, |row| row.failure.map(|failure| i64::from(failure.code)))
        .column(rows, |row| row.failure.map(|failure| failure.message.as_str()))
        .column(rows, |row| row.failure.and_then(|failure| filled(&failure.details)))
        .column(rows, |row| row.response.as_ref().map(|(body, _)| capped(body.length())))
        .column(rows, |row| row.seal().map(|seal| seal.0))
        .column(rows, body)
        .column(rows, |row| row.response.as_ref().and_then(|(body, _)| body.inline()).and_then(filled))
}

pub(super) fn records(rows: &[Record<'_>]) -> Values {
    Values::default()
        .column(rows, |row| row.ticket.0)
        .column(rows, |row| i64::from(row.number))
        .column(rows, |row| row.began_at)
        .column(rows, |row| row.ended_at)
        .column(rows, |row| i64::from(row.failure.code))
        .column(rows, |row| row.failure.message.as_str())
        .column(rows, |row| filled(&row.failure.details))
        .column(rows, |row| row.seal().0)
}
