//! PostgreSQL's rows, and in what order tickets are read from them.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::rows::{Odd, Row};

/// What a ticket is read from. A row keeps the gateway that was lost with its attempt until the next one begins, so that it
/// is known whose attempt came to nothing; it does not run the ticket any more.
pub(super) const TICKET: &str = "id::text, method, tenant, state, labels::text, key, attempts, failures, retries, \
    cancel_requested::int::bigint, delete_requested::int::bigint, submitted_at, not_before, began_at, ended_at, expires_at, \
    CASE WHEN due_at IS NULL THEN gateway::text END, progress_done, progress_total, progress_note, failure_code, \
    failure_message, failure_details, request_bytes, response_bytes, redrive_of::text, redriven_as::text, \
    parts, items, response_seal";

/// What a ticket that is due is read from.
pub(super) const GRANT: &str = "0::bigint, id::text, state, method, tenant, metadata, timeout_ms, keep_ms, retries, failures, \
    attempts, cancel_requested::int::bigint, delete_requested::int::bigint, gateway::text, began_at, due_at, parts, items, \
    request_bytes, request_seal, request_body::text, request";

/// What a ticket in short is read from, and behind it who holds it: the gateway, the number and the beginning of the
/// attempt.
pub(super) const STANDING: &str = "0::bigint, state, failures, keep_ms, delete_requested::int::bigint, redriven_as::text, \
    parts, CASE WHEN ended_at IS NULL AND due_at IS NULL THEN gateway::text END, attempts, began_at, \
    cancel_requested::int::bigint, id::text";

impl Row for PgRow {
    fn number(&self, at: usize) -> Result<Option<i64>, Odd> {
        self.try_get(at).map_err(|_| Odd)
    }

    fn text(&self, at: usize) -> Result<Option<&str>, Odd> {
        self.try_get(at).map_err(|_| Odd)
    }

    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, Odd> {
        self.try_get(at).map_err(|_| Odd)
    }
}
