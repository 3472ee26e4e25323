//! The changes that a ticket goes through on its way, each as rows that wait for their statement: nothing is read for them
//! but what memory holds, so that a thousand of them cost a few statements.

use std::time::Duration;

use super::batch::{Batch, Begin, Key, KnownKey, Leave, Record, Submit, Values, millis};
use super::book::Book;
use super::memory::Held;
use super::rows::{self, Due, GRANT, Odd, TICKET};
use crate::body::{Body, Granted, PIECE};
use crate::change::{Answer, Answered, Change, Ending, Submission};
use crate::error::Error;
use crate::failures::{DAMAGED, LOST};
use crate::state::{Event, State};
use crate::store::Submitted;
use crate::ticket::{Attempt, Failure, GatewayId, Ticket, TicketId, Timestamp};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use uuid::Uuid;

impl Book {
    /// Makes one change. A refusal has changed nothing; any other error is the transaction's end.
    pub(super) async fn change<'a>(&mut self, change: &'a Change, batch: &mut Batch<'a>) -> Answered {
        match change {
            Change::Submit(submission) => self.submit(submission, batch).await,
            Change::Claim { gateway, most } => self.claim(*gateway, *most, batch).await,
            Change::Finish { attempt, ending } => self.finish(*attempt, ending, batch).await,
            Change::Retry { attempt, failure, pause } => self.retry(*attempt, failure, *pause, batch).await,
            Change::Release { attempt, pause } => self.release(*attempt, *pause, batch).await,
            Change::Progress(attempt, progress) => {
                self.current(*attempt, batch)?;
                self.memory.note(attempt.ticket, progress.clone());
                Ok(Answer::Nothing)
            }
            Change::Renew { gateway, lease } => {
                let until = batch.instant.checked_add(*lease);
                let until = until.unwrap_or(batch.instant + Duration::from_secs(u64::from(u32::MAX)));
                self.memory.renew(*gateway, batch.instant, until);
                Ok(Answer::Nothing)
            }
            Change::Resign(gateway) => {
                self.memory.resign(*gateway);
                Ok(Answer::Nothing)
            }
            Change::NextDue => self.next_due(batch).await,
            rare => self.rare(rare, batch).await,
        }
    }

    async fn submit<'a>(&mut self, submission: &'a Submission, batch: &mut Batch<'a>) -> Answered {
        let ticket = &submission.ticket;
        if let Some(known) = self.key(submission, batch)? {
            return self.known(known, batch).await;
        }
        let due = ticket.not_before.is_none_or(|time| time.0 <= batch.now);
        let gateway = ticket.begin_at.filter(|gateway| due && self.memory.is_alive(*gateway, batch.instant));
        let seq = self.next_seq;
        self.next_seq += 1;
        self.body(&submission.request, batch).await?;
        batch.rows.submits.push(Submit { seq, submission, gateway, now: batch.now });
        let state = if gateway.is_some() { State::Running } else { State::Waiting };
        batch.count(None, Some(state));
        let attempt = gateway.map(|gateway| Attempt { ticket: ticket.id, gateway, number: 1 });
        if let Some(attempt) = attempt {
            batch.overlay.insert(ticket.id, Some(first(seq, attempt, submission, batch.now)));
        }
        Ok(Answer::Submitted(Submitted::Stored { at: Timestamp(batch.now), attempt }))
    }

    /// What is known of a submit's key; if nothing, it is known from now on.
    fn key<'a>(&self, submission: &'a Submission, batch: &mut Batch<'a>) -> Result<Option<KnownKey>, Error> {
        let ticket = &submission.ticket;
        let Some(key) = &ticket.key else { return Ok(None) };
        let at = (ticket.tenant.as_str(), key.key.as_str());
        if let Some(known) = batch.keys.get(&at)
            && known.remembered_until.is_none_or(|until| until > batch.now)
        {
            if known.demand == submission.demand.0 {
                return Ok(Some(known.clone()));
            }
            return Err(Error::KeyTaken { key: key.key.clone(), ticket: known.ticket });
        }
        let remembered_until = key.remembered_for.map(|time| batch.now.saturating_add(millis(time)));
        batch.rows.keys.push(Key { submission, key: &key.key, remembered_until, now: batch.now });
        batch.keys.insert(
            at,
            KnownKey {
                ticket: ticket.id,
                demand: submission.demand.0.to_vec(),
                remembered_until,
                method: ticket.method.clone(),
                state: None,
                submitted_at: batch.now,
                ended_at: None,
            },
        );
        Ok(None)
    }

    /// The ticket of a known key, or what is left of it.
    async fn known(&mut self, known: KnownKey, batch: &mut Batch<'_>) -> Answered {
        let ticket = match self.ticket(known.ticket, batch).await {
            Err(Error::NotFound(_)) => forgotten(known),
            ticket => ticket?,
        };
        Ok(Answer::Submitted(Submitted::Known(Box::new(ticket))))
    }

    /// A ticket, as the transaction sees it.
    pub(super) async fn ticket(&mut self, id: TicketId, batch: &mut Batch<'_>) -> Result<Ticket, Error> {
        self.flush(batch).await?;
        let mut values = Values::default();
        values.put(id.to_string()).put(batch.now);
        let sql =
            format!("SELECT {TICKET} FROM ticket WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)");
        let found = self.rows(batch, AssertSqlSafe(sql).into_sql_str(), values).await?;
        let mut ticket = rows::ticket(Some(id), found.first().ok_or(Error::NotFound(id))?)?;
        if let Some(progress) = self.memory.noted(id) {
            ticket.progress = progress;
        }
        Ok(ticket)
    }

    async fn claim(&mut self, gateway: GatewayId, most: usize, batch: &mut Batch<'_>) -> Answered {
        if most == 0 || !self.memory.is_alive(gateway, batch.instant) {
            return Ok(Answer::Claimed(Vec::new()));
        }
        self.flush(batch).await?;
        let mut granted = Vec::new();
        for row in self.due(most, batch).await? {
            match rows::grant(&row, gateway, batch.now) {
                Ok(due) => granted.push(self.grant(due, batch)),
                Err(Odd) => self.condemn(&row, batch)?,
            }
        }
        Ok(Answer::Claimed(granted))
    }

    /// The rows of what is due: first what a dead gateway held, then the longest due.
    async fn due(
        &mut self,
        most: usize,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>, Error> {
        let mut found = Vec::new();
        for held in self.memory.lapsed(&batch.overlay, batch.instant, most) {
            let mut values = Values::default();
            values.put(held.seq);
            let sql = format!("SELECT {GRANT} FROM ticket WHERE seq = ?");
            found.extend(self.rows(batch, AssertSqlSafe(sql).into_sql_str(), values).await?);
        }
        let mut values = Values::default();
        values.put(batch.now).put((most - found.len()) as i64);
        let sql = format!(
            "SELECT {GRANT} FROM ticket WHERE ended_at IS NULL AND due_at <= ? ORDER BY due_at LIMIT ?"
        );
        found.extend(self.rows(batch, AssertSqlSafe(sql).into_sql_str(), values).await?);
        Ok(found)
    }

    fn grant(&self, due: Due, batch: &mut Batch<'_>) -> Granted {
        let attempt = due.granted.claimed.attempt;
        if let Some((number, began_at)) = due.lost {
            let (seq, ended_at) = (due.held.seq, batch.now);
            batch.rows.records.push(Record { seq, number, began_at, ended_at, failure: &LOST });
        }
        batch.rows.begins.push(Begin { seq: due.held.seq, attempt, now: batch.now });
        batch.count(Some(due.state), due.state.after(Event::Begin));
        batch.overlay.insert(attempt.ticket, Some(due.held));
        due.granted
    }

    /// A row that cannot be read is nobody's to run.
    fn condemn(&self, row: &sqlx::sqlite::SqliteRow, batch: &mut Batch<'_>) -> Result<(), Error> {
        let mut cells = rows::Cells::of(row);
        let damaged = || Error::Unusable("the database is damaged: a ticket without a number is due".into());
        let seq = cells.get().map_err(|Odd| damaged())?;
        let id: Result<TicketId, Odd> = cells.parsed();
        if let Ok(state) = cells.state() {
            batch.count(Some(state), Some(State::Dead));
        }
        if let Ok(id) = id {
            batch.overlay.insert(id, None);
        }
        tracing::error!(seq, "a ticket's row is damaged: it is dead");
        batch.rows.leaves.push(Leave {
            seq,
            state: State::Dead,
            due_at: None,
            ended_at: Some(batch.now),
            expires_at: None,
            failures: 0,
            failure: Some(&DAMAGED),
            response: None,
            progress: None,
        });
        Ok(())
    }

    /// The attempt, if it is its ticket's current one.
    fn current(&self, attempt: Attempt, batch: &Batch<'_>) -> Result<Held, Error> {
        self.memory.current(&batch.overlay, attempt).ok_or(Error::Superseded(attempt.ticket))
    }

    async fn finish<'a>(&mut self, attempt: Attempt, ending: &'a Ending, batch: &mut Batch<'a>) -> Answered {
        let held = self.current(attempt, batch)?;
        if held.delete_requested {
            return self.forget(attempt.ticket, batch).await;
        }
        if let Some((body, _)) = &ending.response {
            self.body(body, batch).await?;
        }
        let mut leave = self.leave(&held, attempt.ticket, ending.state, batch);
        leave.response = ending.response.as_ref().map(|(body, seal)| (body, *seal));
        self.fail(&held, ending.failure.as_ref(), &mut leave, batch);
        batch.rows.leaves.push(leave);
        Ok(Answer::Nothing)
    }

    async fn retry<'a>(
        &mut self,
        attempt: Attempt,
        failure: &'a Failure,
        pause: Duration,
        batch: &mut Batch<'a>,
    ) -> Answered {
        let held = self.current(attempt, batch)?;
        let state = if held.cancel_requested { State::Cancelled } else { State::Running };
        if state.is_final() && held.delete_requested {
            self.forget(attempt.ticket, batch).await?;
            return Ok(Answer::State(state));
        }
        let mut leave = self.leave(&held, attempt.ticket, state, batch);
        leave.due_at = (!state.is_final()).then(|| batch.now.saturating_add(millis(pause)));
        self.fail(&held, Some(failure), &mut leave, batch);
        batch.rows.leaves.push(leave);
        Ok(Answer::State(state))
    }

    async fn release(&mut self, attempt: Attempt, pause: Duration, batch: &mut Batch<'_>) -> Answered {
        let held = self.current(attempt, batch)?;
        let state = if held.cancel_requested { State::Cancelled } else { State::Running };
        if state.is_final() && held.delete_requested {
            return self.forget(attempt.ticket, batch).await;
        }
        let mut leave = self.leave(&held, attempt.ticket, state, batch);
        leave.due_at = (!state.is_final()).then(|| batch.now.saturating_add(millis(pause)));
        batch.rows.leaves.push(leave);
        Ok(Answer::Nothing)
    }

    /// The attempt is over, and the ticket in `state`.
    fn leave<'a>(&self, held: &Held, ticket: TicketId, state: State, batch: &mut Batch<'a>) -> Leave<'a> {
        batch.count(Some(State::Running), Some(state));
        batch.overlay.insert(ticket, None);
        Leave {
            seq: held.seq,
            state,
            due_at: None,
            ended_at: state.is_final().then_some(batch.now),
            expires_at: state.is_final().then(|| batch.now.saturating_add(held.keep_ms)),
            failures: held.failures,
            failure: None,
            response: None,
            progress: self.memory.noted(ticket),
        }
    }

    fn fail<'a>(
        &self,
        held: &Held,
        failure: Option<&'a Failure>,
        leave: &mut Leave<'a>,
        batch: &mut Batch<'a>,
    ) {
        let Some(failure) = failure else { return };
        leave.failures = held.failures.saturating_add(1);
        leave.failure = Some(failure);
        let Held { seq, number, began_at, .. } = *held;
        batch.rows.records.push(Record { seq, number, began_at, ended_at: batch.now, failure });
    }

    /// Writes a body's pieces, if it has any that are not there.
    pub(super) async fn body(&mut self, body: &Body, batch: &mut Batch<'_>) -> Result<(), Error> {
        match body {
            Body::Inline(_) => Ok(()),
            Body::Beside(name, bytes) => {
                for (number, data) in (0..).zip(bytes.chunks(PIECE)) {
                    self.piece(*name, number, data, batch).await?;
                }
                Ok(())
            }
            Body::Ahead(name, _) => {
                let mut values = Values::default();
                values.put(name.to_string());
                let sql = "DELETE FROM unfinished_body WHERE body = ?".into_sql_str();
                self.write(batch, sql, values).await.map(|_| ())
            }
        }
    }

    pub(super) async fn piece(
        &mut self,
        body: Uuid,
        number: u32,
        data: &[u8],
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let mut values = Values::default();
        values.put(body.to_string()).put(i64::from(number)).put(data);
        let sql = "INSERT INTO piece (body, number, data) VALUES (?, ?, ?)".into_sql_str();
        self.write(batch, sql, values).await.map(|_| ())
    }

    async fn next_due(&mut self, batch: &mut Batch<'_>) -> Answered {
        if !self.memory.lapsed(&batch.overlay, batch.instant, 1).is_empty() {
            return Ok(Answer::Due(Some(Duration::ZERO)));
        }
        self.flush(batch).await?;
        let sql =
            "SELECT due_at FROM ticket WHERE ended_at IS NULL AND due_at IS NOT NULL ORDER BY due_at LIMIT 1";
        let found = self.rows(batch, sql.into_sql_str(), Values::default()).await?;
        let due = found.first().and_then(|row| rows::Cells::of(row).get::<i64>().ok());
        let until = |due: i64| Duration::from_millis(due.saturating_sub(batch.now).max(0).unsigned_abs());
        Ok(Answer::Due(due.map(until)))
    }
}

fn first(seq: i64, attempt: Attempt, submission: &Submission, now: i64) -> Held {
    Held {
        seq,
        gateway: attempt.gateway,
        number: attempt.number,
        began_at: now,
        failures: 0,
        keep_ms: millis(submission.ticket.keep_result_for),
        cancel_requested: false,
        delete_requested: false,
    }
}

/// What is left when a ticket is gone and its key is not.
fn forgotten(known: KnownKey) -> Ticket {
    Ticket {
        id: known.ticket,
        method: known.method,
        tenant: String::new(),
        state: known.state.unwrap_or(State::Done),
        labels: std::collections::BTreeMap::new(),
        key: None,
        attempts: 0,
        failures: 0,
        retries: 0,
        cancel_requested: false,
        submitted_at: Timestamp(known.submitted_at),
        not_before: None,
        began_at: None,
        ended_at: known.ended_at.map(Timestamp),
        expires_at: known.ended_at.map(Timestamp),
        gateway: None,
        progress: crate::ticket::Progress::default(),
        failure: None,
        request_bytes: 0,
        response_bytes: 0,
        redrive_of: None,
        redriven_as: None,
        forgotten: true,
    }
}
