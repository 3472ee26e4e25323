//! Rows as tickets, whatever database they come from: each says in what order it is read. What does not read as it was
//! written is damaged, and said to be.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::batch::{Asked, Broken, Due, Held, KnownKey, Standing};
use crate::body::{Granted, Stored};
use crate::error::Error;
use crate::failures::UNREADABLE;
use crate::part::{self, Inputs, Log, StoredPart};
use crate::query::Queue;
use crate::seal::Seal;
use crate::state::State;
use crate::store::{Claimed, Counts};
use crate::ticket::{Attempt, AttemptRecord, Failure, GatewayId, Progress, Ticket, TicketId, Timestamp};

/// A row of whatever database. Numbers, text and bytes are all that we keep.
pub(crate) trait Row: Sync {
    fn number(&self, at: usize) -> Result<Option<i64>, Odd>;
    fn text(&self, at: usize) -> Result<Option<&str>, Odd>;
    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, Odd>;
}

/// A value that is not what it should be.
#[derive(Debug)]
pub(crate) struct Odd;

/// A row, read from left to right.
pub(crate) struct Cells<'r> {
    row: &'r dyn Row,
    next: usize,
}

impl<'r> Cells<'r> {
    pub(crate) fn of(row: &'r dyn Row) -> Self {
        Self { row, next: 0 }
    }

    fn at(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn maybe_number(&mut self) -> Result<Option<i64>, Odd> {
        let at = self.at();
        self.row.number(at)
    }

    pub(crate) fn number(&mut self) -> Result<i64, Odd> {
        self.maybe_number()?.ok_or(Odd)
    }

    /// A number of a narrower kind.
    pub(crate) fn count<T: TryFrom<i64>>(&mut self) -> Result<T, Odd> {
        self.number()?.try_into().map_err(|_| Odd)
    }

    fn flag(&mut self) -> Result<bool, Odd> {
        Ok(self.number()? != 0)
    }

    fn maybe_text(&mut self) -> Result<Option<&'r str>, Odd> {
        let at = self.at();
        self.row.text(at)
    }

    fn text(&mut self) -> Result<&'r str, Odd> {
        self.maybe_text()?.ok_or(Odd)
    }

    pub(crate) fn parsed<T: FromStr>(&mut self) -> Result<T, Odd> {
        self.text()?.parse().map_err(|_| Odd)
    }

    pub(crate) fn maybe<T: FromStr>(&mut self) -> Result<Option<T>, Odd> {
        self.maybe_text()?.map(|text| text.parse().map_err(|_| Odd)).transpose()
    }

    pub(crate) fn state(&mut self) -> Result<State, Odd> {
        State::named(self.text()?).ok_or(Odd)
    }

    /// Without a copy that outlives the row there is none: the row's memory is the database's.
    pub(crate) fn bytes(&mut self) -> Result<Option<Bytes>, Odd> {
        let at = self.at();
        Ok(self.row.bytes(at)?.map(Bytes::copy_from_slice))
    }

    fn time(&mut self) -> Result<Option<Timestamp>, Odd> {
        Ok(self.maybe_number()?.map(Timestamp))
    }

    fn failure(&mut self) -> Result<Option<Failure>, Odd> {
        let code = self.maybe_number()?.map(i32::try_from).transpose().map_err(|_| Odd)?;
        let message = self.maybe_text()?.unwrap_or_default().to_owned();
        let details = self.bytes()?.unwrap_or_default();
        Ok(code.map(|code| Failure { code, message, details }))
    }
}

/// A ticket: id, method, tenant, state, labels, key, attempts, failures, retries, cancel_requested, delete_requested,
/// submitted_at, not_before, began_at, ended_at, expires_at, gateway, progress (done, total, note), failure (code, message,
/// details), request_bytes, response_bytes, redrive_of, redriven_as, parts, items, response_seal.
pub(crate) fn ticket(asked: Option<TicketId>, row: &dyn Row) -> Result<Ticket, Error> {
    let id = Cells::of(row).parsed().ok().or(asked);
    read(asked, &mut Cells::of(row)).map_err(|Odd| match id {
        Some(id) => Error::Damaged(id),
        None => Error::Unusable("a ticket's row is damaged beyond its name".into()),
    })
}

/// A ticket, and its response's body if it is done: what [`ticket`] reads, and a body.
pub(crate) fn whole(id: TicketId, row: &dyn Row) -> Result<(Ticket, Option<Stored>), Error> {
    let mut cells = Cells::of(row);
    let whole = read(Some(id), &mut cells).and_then(|ticket| {
        let response = (ticket.state == State::Done).then(|| stored(&mut cells)).transpose()?;
        Ok((ticket, response))
    });
    whole.map_err(|Odd| Error::Damaged(id))
}

fn read(asked: Option<TicketId>, cells: &mut Cells<'_>) -> Result<Ticket, Odd> {
    let ticket = Ticket {
        id: cells.parsed()?,
        method: cells.parsed()?,
        tenant: cells.parsed()?,
        state: cells.state()?,
        labels: labels(cells.maybe_text()?)?,
        key: cells.maybe()?,
        attempts: cells.count()?,
        failures: cells.count()?,
        retries: cells.count()?,
        cancel_requested: cells.flag()?,
        delete_requested: cells.flag()?,
        submitted_at: Timestamp(cells.number()?),
        not_before: cells.time()?,
        began_at: cells.time()?,
        ended_at: cells.time()?,
        expires_at: cells.time()?,
        gateway: cells.maybe::<Uuid>()?.map(GatewayId),
        progress: Progress { done: cells.count()?, total: cells.count()?, note: cells.parsed()? },
        failure: cells.failure()?,
        request_bytes: cells.count()?,
        response_bytes: cells.count()?,
        redrive_of: cells.maybe()?,
        redriven_as: cells.maybe()?,
        inputs: inputs(cells)?,
        forgotten: false,
    };
    look(asked.unwrap_or(ticket.id), &ticket, cells.bytes()?)?;
    Ok(ticket)
}

/// What a ticket has failed with for good is what was sealed. One that ended before failures were has no seal.
fn look(id: TicketId, ticket: &Ticket, seal: Option<Bytes>) -> Result<(), Odd> {
    let Some(seal) = seal.filter(|_| ticket.state.is_failure()) else { return Ok(()) };
    let failure = ticket.failure.as_ref().ok_or(Odd)?;
    let expected = Seal::of_failure(id, ticket.state, failure);
    if Seal::stored(&seal) == Some(expected) { Ok(()) } else { Err(Odd) }
}

fn inputs(cells: &mut Cells<'_>) -> Result<Option<Inputs>, Odd> {
    let (parts, items) = (cells.maybe_number()?, cells.maybe_number()?);
    let Some((parts, items)) = parts.zip(items) else { return Ok(None) };
    let (parts, items) = (parts.try_into().map_err(|_| Odd)?, items.try_into().map_err(|_| Odd)?);
    Ok(Some(Inputs { parts, items }))
}

fn labels(json: Option<&str>) -> Result<BTreeMap<String, String>, Odd> {
    json.map_or(Ok(BTreeMap::new()), |json| serde_json::from_str(json).map_err(|_| Odd))
}

/// A queue and when its first ticket is due: tenant, method, due_at.
pub(crate) fn queue(row: &impl Row) -> Option<(Queue, i64)> {
    let mut cells = Cells::of(row);
    let mut text = || cells.text().map(str::to_owned);
    let queue = Queue { tenant: text().ok()?, method: text().ok()? };
    Some((queue, cells.number().ok()?))
}

/// A ticket that is due, with the attempt of `gateway` that begins `now`: seq, id, state, method, tenant,
/// metadata, timeout_ms, keep_ms, retries, failures, attempts, cancel_requested, delete_requested, gateway, began_at,
/// due_at, parts, items, and its request's body.
pub(crate) fn due(row: &dyn Row, gateway: GatewayId, now: i64) -> Result<Due, Broken> {
    read_due(row, gateway, now).map_err(|Odd| {
        let mut cells = Cells::of(row);
        Broken {
            seq: cells.number().unwrap_or_default(),
            ticket: cells.parsed().ok(),
            state: cells.state().ok(),
        }
    })
}

/// The same of many.
pub(crate) fn all_due(rows: &[impl Row], gateway: GatewayId, now: i64) -> Vec<Result<Due, Broken>> {
    rows.iter().map(|row| due(row, gateway, now)).collect()
}

fn read_due(row: &dyn Row, gateway: GatewayId, now: i64) -> Result<Due, Odd> {
    let mut cells = Cells::of(row);
    let seq = cells.number()?;
    let ticket = cells.parsed()?;
    let state = cells.state()?;
    let (method, tenant, metadata) = (cells.parsed()?, cells.parsed()?, cells.bytes()?.unwrap_or_default());
    let timeout = cells.maybe_number()?.map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let keep_ms = cells.number()?;
    let (retries, failures, attempts): (_, _, u32) = (cells.count()?, cells.count()?, cells.count()?);
    let (cancel_requested, delete_requested) = (cells.flag()?, cells.flag()?);
    let (lost_by, began_at) = (cells.maybe_text()?, cells.maybe_number()?);
    let due_at = cells.maybe_number()?.or(began_at).unwrap_or(now);
    let waited = Duration::from_millis(now.saturating_sub(due_at).max(0).unsigned_abs());
    let attempt = Attempt { ticket, gateway, number: attempts.checked_add(1).ok_or(Odd)? };
    let (request, inputs) = (Bytes::new(), inputs(&mut cells)?);
    let loser = lost_by.and_then(|id| id.parse::<Uuid>().ok()).map(GatewayId);
    let claimed = Claimed {
        attempt,
        method,
        request,
        inputs,
        tenant,
        metadata,
        timeout,
        retries,
        failures,
        cancel_requested,
        waited,
        lost_by: loser.filter(|gateway| *gateway != GatewayId::NOBODY),
    };
    Ok(Due {
        state,
        granted: Granted { claimed, request: stored(&mut cells)? },
        held: Held { seq, attempt, began_at: now, failures, keep_ms, cancel_requested, delete_requested },
        lost: lost_by.and(began_at).map(|began_at| (attempts, began_at)),
    })
}

/// A body: its length, seal, pieces' name, and what of it is in the row.
pub(crate) fn stored(cells: &mut Cells<'_>) -> Result<Stored, Odd> {
    Ok(Stored {
        length: cells.count()?,
        seal: cells.bytes()?.ok_or(Odd)?,
        beside: cells.maybe::<Uuid>()?,
        inline: cells.bytes()?,
    })
}

/// A ticket in short: seq, state, failures, keep_ms, delete_requested, redriven_as, parts.
pub(crate) fn standing(ticket: TicketId, row: &dyn Row) -> Result<Standing, Error> {
    let mut cells = Cells::of(row);
    let mut read = || {
        Ok(Standing {
            seq: cells.number()?,
            ticket,
            state: cells.state()?,
            failures: cells.count()?,
            keep_ms: cells.number()?,
            delete_requested: cells.flag()?,
            redriven_as: cells.maybe()?,
            is_map: cells.maybe_number()?.is_some(),
        })
    };
    read().map_err(|Odd| Error::Damaged(ticket))
}

/// Who holds a ticket: a standing, and behind it the gateway, the number and the beginning of the attempt, whether it is to be
/// cancelled, and the ticket's id.
pub(crate) fn held(row: &dyn Row) -> Option<Held> {
    let mut cells = Cells::of(row);
    let (seq, _state, failures, keep_ms) =
        (cells.number().ok()?, cells.state().ok()?, cells.count().ok()?, cells.number().ok()?);
    let (delete_requested, _redriven_as) = (cells.flag().ok()?, cells.maybe::<TicketId>().ok()?);
    let _parts = cells.maybe_number().ok()?;
    let gateway = GatewayId(cells.maybe().ok()??);
    let (number, began_at) = (cells.count().ok()?, cells.number().ok()?);
    let cancel_requested = cells.flag().ok()?;
    let attempt = Attempt { ticket: cells.parsed().ok()?, gateway, number };
    Some(Held { seq, attempt, began_at, failures, keep_ms, cancel_requested, delete_requested })
}

/// What a ticket was submitted with: method, tenant, metadata, and its request's body.
pub(crate) fn asked(ticket: TicketId, row: &dyn Row) -> Result<Asked, Error> {
    let mut cells = Cells::of(row);
    let mut read = || {
        Ok(Asked {
            method: cells.parsed()?,
            tenant: cells.parsed()?,
            metadata: cells.bytes()?.unwrap_or_default(),
            request: stored(&mut cells)?,
        })
    };
    read().map_err(|Odd| Error::Damaged(ticket))
}

/// A key: tenant, key, ticket, demand, remembered_until, method, state, submitted_at, ended_at. One that is damaged is as good as none.
pub(crate) fn known(row: &dyn Row) -> Option<(&str, &str, KnownKey)> {
    let mut cells = Cells::of(row);
    let (tenant, key) = (cells.text().ok()?, cells.text().ok()?);
    let known = KnownKey {
        ticket: cells.parsed().ok()?,
        demand: cells.bytes().ok()??,
        remembered_until: cells.maybe_number().ok()?,
        method: cells.parsed().ok()?,
        state: cells.maybe_text().ok()?.and_then(State::named),
        submitted_at: cells.number().ok()?,
        ended_at: cells.maybe_number().ok()?,
    };
    Some((tenant, key, known))
}

/// An attempt that failed: number, began_at, ended_at, code, message, details, seal. One that is damaged stands in its place
/// and says so; the others are none the worse for it.
pub(crate) fn record(ticket: TicketId, row: &dyn Row) -> AttemptRecord {
    read_record(ticket, &mut Cells::of(row)).unwrap_or_else(|Odd| {
        let mut cells = Cells::of(row);
        let number: u32 = cells.count().unwrap_or_default();
        tracing::error!(%ticket, number, "what is stored of an attempt is damaged");
        let mut time = || Timestamp(cells.number().unwrap_or_default());
        AttemptRecord { number, began_at: time(), ended_at: time(), failure: UNREADABLE.clone() }
    })
}

fn read_record(ticket: TicketId, cells: &mut Cells<'_>) -> Result<AttemptRecord, Odd> {
    let record = AttemptRecord {
        number: cells.count()?,
        began_at: Timestamp(cells.number()?),
        ended_at: Timestamp(cells.number()?),
        failure: cells.failure()?.ok_or(Odd)?,
    };
    let expected = Seal::of_attempt(ticket, record.number, &record.failure);
    match cells.bytes()? {
        Some(seal) if Seal::stored(&seal) != Some(expected) => Err(Odd),
        // One that failed before attempts were sealed has no seal.
        _ => Ok(record),
    }
}

/// How many tickets there are of each state, in the order of [`State::ALL`].
pub(crate) fn counts(row: &dyn Row) -> Result<Counts, Odd> {
    let mut cells = Cells::of(row);
    let mut next = || cells.number().map(|number| number.max(0).unsigned_abs());
    Ok(Counts {
        waiting: next()?,
        running: next()?,
        done: next()?,
        failed: next()?,
        cancelled: next()?,
        dead: next()?,
    })
}

/// A part of a log: its head, and its body.
pub(crate) fn part_of(ticket: TicketId, row: &dyn Row) -> Result<StoredPart, Error> {
    let mut cells = Cells::of(row);
    let mut read = || Ok(StoredPart { head: cells.bytes()?.unwrap_or_default(), body: stored(&mut cells)? });
    read().map_err(|Odd| Error::Damaged(ticket))
}

/// The head of a part: its number, seal and head.
pub(crate) fn head(ticket: TicketId, log: Log, row: &dyn Row) -> Result<Bytes, Error> {
    let mut cells = Cells::of(row);
    let mut read = || Ok((cells.count()?, cells.bytes()?.ok_or(Odd)?, cells.bytes()?.unwrap_or_default()));
    let (number, seal, head) = read().map_err(|Odd| Error::Damaged(ticket))?;
    part::head(ticket, log, number, head, &seal)
}

/// The bytes of a piece.
pub(crate) fn piece(ticket: TicketId, row: &dyn Row) -> Result<&[u8], Error> {
    row.bytes(0).ok().flatten().ok_or(Error::Damaged(ticket))
}
