//! Rows as tickets. What does not read as it was written is damaged, and said to be.

use std::collections::BTreeMap;

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use std::time::Duration;
use uuid::Uuid;

use super::memory::Held;
use crate::body::{Granted, Stored};
use crate::error::Error;
use crate::state::State;
use crate::store::Claimed;
use crate::ticket::{Attempt, AttemptRecord, Failure, GatewayId, Progress, Ticket, TicketId, Timestamp};

/// What a [`Ticket`] is read from. A row keeps the gateway that was lost with its attempt until the next one begins, so that it
/// is known whose attempt came to nothing; it does not run the ticket any more.
pub(super) const TICKET: &str = "id, method, tenant, state, labels, key, attempts, failures, retries, cancel_requested, \
    submitted_at, not_before, began_at, ended_at, expires_at, iif(due_at IS NULL, gateway, NULL), progress_done, progress_total, progress_note, \
    failure_code, failure_message, failure_details, request_bytes, response_bytes, redrive_of, redriven_as";

/// What a [`Granted`] and its [`Held`] are read from.
pub(super) const GRANT: &str = "seq, id, state, method, tenant, metadata, timeout_ms, keep_ms, retries, failures, attempts, \
    cancel_requested, delete_requested, gateway, began_at, request_bytes, request_seal, request_body, request";

/// A row, read from left to right.
pub(super) struct Cells<'r> {
    row: &'r SqliteRow,
    next: usize,
}

/// A value that is not what it should be.
pub(super) struct Odd;

impl<'r> Cells<'r> {
    pub(super) fn of(row: &'r SqliteRow) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn get<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Result<T, Odd> {
        let value = self.row.try_get(self.next).map_err(|_| Odd);
        self.next += 1;
        value
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, Odd> {
        self.get::<&str>()?.parse().map_err(|_| Odd)
    }

    pub(super) fn maybe<T: std::str::FromStr>(&mut self) -> Result<Option<T>, Odd> {
        self.get::<Option<&str>>()?.map(|text| text.parse().map_err(|_| Odd)).transpose()
    }

    pub(super) fn state(&mut self) -> Result<State, Odd> {
        State::named(self.get()?).ok_or(Odd)
    }

    pub(super) fn count<T: TryFrom<i64>>(&mut self) -> Result<T, Odd> {
        self.get::<i64>()?.try_into().map_err(|_| Odd)
    }

    pub(super) fn bytes(&mut self) -> Result<Option<Bytes>, Odd> {
        Ok(self.get::<Option<&[u8]>>()?.map(Bytes::copy_from_slice))
    }

    fn time(&mut self) -> Result<Option<Timestamp>, Odd> {
        Ok(self.get::<Option<i64>>()?.map(Timestamp))
    }

    fn failure(&mut self) -> Result<Option<Failure>, Odd> {
        let code: Option<i32> = self.get()?;
        let message: Option<String> = self.get()?;
        let details = self.bytes()?;
        Ok(code.map(|code| Failure {
            code,
            message: message.unwrap_or_default(),
            details: details.unwrap_or_default(),
        }))
    }
}

/// A ticket, from [`TICKET`].
pub(super) fn ticket(asked: Option<TicketId>, row: &SqliteRow) -> Result<Ticket, Error> {
    let id = Cells::of(row).parsed().ok().or(asked);
    read(row).map_err(|Odd| match id {
        Some(id) => Error::Damaged(id),
        None => Error::Unusable("a ticket's row is damaged beyond its name".into()),
    })
}

fn read(row: &SqliteRow) -> Result<Ticket, Odd> {
    let mut cells = Cells::of(row);
    Ok(Ticket {
        id: cells.parsed()?,
        method: cells.get()?,
        tenant: cells.get()?,
        state: cells.state()?,
        labels: labels(cells.get()?)?,
        key: cells.get()?,
        attempts: cells.count()?,
        failures: cells.count()?,
        retries: cells.count()?,
        cancel_requested: cells.get::<i64>()? != 0,
        submitted_at: Timestamp(cells.get()?),
        not_before: cells.time()?,
        began_at: cells.time()?,
        ended_at: cells.time()?,
        expires_at: cells.time()?,
        gateway: cells.maybe::<Uuid>()?.map(GatewayId),
        progress: Progress { done: cells.count()?, total: cells.count()?, note: cells.get()? },
        failure: cells.failure()?,
        request_bytes: cells.count()?,
        response_bytes: cells.count()?,
        redrive_of: cells.maybe()?,
        redriven_as: cells.maybe()?,
        forgotten: false,
    })
}

fn labels(json: Option<&str>) -> Result<BTreeMap<String, String>, Odd> {
    json.map_or(Ok(BTreeMap::new()), |json| serde_json::from_str(json).map_err(|_| Odd))
}

/// A ticket that is due, with the attempt of `gateway` that begins `now`: from [`GRANT`].
pub(super) fn grant(row: &SqliteRow, gateway: GatewayId, now: i64) -> Result<Due, Odd> {
    let mut cells = Cells::of(row);
    let seq = cells.get()?;
    let id = cells.parsed()?;
    let state = cells.state()?;
    let mut due = Due {
        state,
        granted: Granted {
            claimed: Claimed {
                attempt: Attempt { ticket: id, gateway, number: 0 },
                method: cells.get()?,
                request: Bytes::new(),
                tenant: cells.get()?,
                metadata: cells.bytes()?.unwrap_or_default(),
                timeout: cells.get::<Option<i64>>()?.map(|ms| Duration::from_millis(ms.unsigned_abs())),
                retries: 0,
                failures: 0,
                cancel_requested: false,
            },
            request: Stored { length: 0, seal: Vec::new(), inline: None, beside: None },
        },
        held: Held {
            seq,
            gateway,
            number: 0,
            began_at: now,
            failures: 0,
            keep_ms: cells.get()?,
            cancel_requested: false,
            delete_requested: false,
        },
        lost: None,
    };
    let claimed = &mut due.granted.claimed;
    claimed.retries = cells.count()?;
    claimed.failures = cells.count()?;
    let attempts: u32 = cells.count()?;
    claimed.attempt.number = attempts.checked_add(1).ok_or(Odd)?;
    claimed.cancel_requested = cells.get::<i64>()? != 0;
    due.held.delete_requested = cells.get::<i64>()? != 0;
    due.held.cancel_requested = claimed.cancel_requested;
    due.held.failures = claimed.failures;
    due.held.number = claimed.attempt.number;
    let lost_by: Option<&str> = cells.get()?;
    let began_at: Option<i64> = cells.get()?;
    due.lost = lost_by.and(began_at).map(|began_at| (attempts, began_at));
    due.granted.request =
        Stored { length: cells.count()?, seal: cells.get()?, beside: cells.maybe()?, inline: cells.bytes()? };
    Ok(due)
}

/// A ticket that is due.
pub(super) struct Due {
    pub(super) state: State,
    pub(super) granted: Granted,
    pub(super) held: Held,
    /// The attempt before, if it ended with its gateway: its number, and when it began.
    pub(super) lost: Option<(u32, i64)>,
}

/// An attempt that failed: number, began_at, ended_at, code, message, details.
pub(super) fn record(ticket: TicketId, row: &SqliteRow) -> Result<AttemptRecord, Error> {
    let mut cells = Cells::of(row);
    let read = |cells: &mut Cells<'_>| {
        Ok(AttemptRecord {
            number: cells.count()?,
            began_at: Timestamp(cells.get()?),
            ended_at: Timestamp(cells.get()?),
            failure: cells.failure()?.ok_or(Odd)?,
        })
    };
    read(&mut cells).map_err(|Odd| Error::Damaged(ticket))
}
