//! SQLite's rows, and in what order tickets are read from them.

use rusqlite::types::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::rows::{Odd, Row};

/// What a ticket is read from. A row keeps the gateway that was lost with its attempt until the next one begins, so that it
/// is known whose attempt came to nothing; it does not run the ticket any more.
pub(super) const TICKET: &str = "id, method, tenant, state, labels, key, attempts, failures, retries, cancel_requested, \
    delete_requested, submitted_at, not_before, began_at, ended_at, expires_at, iif(due_at IS NULL, gateway, NULL), progress_done, progress_total, progress_note, \
    failure_code, failure_message, failure_details, request_bytes, response_bytes, redrive_of, redriven_as, parts, items, \
    response_seal";

/// What a ticket that is due is read from.
pub(super) const GRANT: &str = "seq, id, state, method, tenant, metadata, timeout_ms, keep_ms, retries, failures, attempts, \
    cancel_requested, delete_requested, gateway, began_at, due_at, parts, items, request_bytes, request_seal, request_body, request";

impl Row for SqliteRow {
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

/// A row that the writer has read, whole. What cannot be read as text has no value, and is odd.
pub(super) struct Found(Vec<Option<Value>>);

impl Found {
    pub(super) fn of(row: &rusqlite::Row<'_>) -> Self {
        let values = (0..row.as_ref().column_count()).map(|at| row.get(at).ok());
        Self(values.collect())
    }

    fn at(&self, at: usize) -> Result<&Value, Odd> {
        self.0.get(at).and_then(Option::as_ref).ok_or(Odd)
    }
}

impl Row for Found {
    fn number(&self, at: usize) -> Result<Option<i64>, Odd> {
        match self.at(at)? {
            Value::Null => Ok(None),
            Value::Integer(number) => Ok(Some(*number)),
            _ => Err(Odd),
        }
    }

    fn text(&self, at: usize) -> Result<Option<&str>, Odd> {
        match self.at(at)? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            _ => Err(Odd),
        }
    }

    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, Odd> {
        match self.at(at)? {
            Value::Null => Ok(None),
            Value::Blob(bytes) => Ok(Some(bytes)),
            _ => Err(Odd),
        }
    }
}
