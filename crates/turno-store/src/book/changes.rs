//! The changes that a ticket goes through on its way, each as rows that wait for their statement: those of a kind go to the
//! database together.

use std::time::Duration;

use bytes::Bytes;

use super::Book;
use super::turns::PassedOver;
use crate::batch::{Batch, Begin, Broken, Due, Held, Key, KnownKey, Leave, Record, Submit, millis};
use crate::body::{Body, Granted, PIECE};
use crate::change::{Answer, Answered, Change, Ending, Submission};
use crate::error::Error;
use crate::failures::{DAMAGED, LOST};
use crate::part::{Inputs, Log, Parcel};
use crate::query::Room;
use crate::space::Adds;
use crate::state::{Event, State};
use crate::store::Submitted;
use crate::tables::Tables;
use crate::ticket::{Attempt, Failure, GatewayId, Progress, Ticket, TicketId, Timestamp};

impl<T: Tables> Book<T> {
    /// Makes one change. A refusal has changed nothing; any other error is the transaction's end.
    pub(super) async fn change<'a>(&mut self, change: &'a Change, batch: &mut Batch<'a>) -> Answered {
        match change {
            Change::Submit(submission) => self.submit(submission, batch).await,
            Change::Claim { gateway, room } => self.claim(*gateway, room, batch).await,
            Change::Finish { attempt, ending } => self.finish(*attempt, ending, batch).await,
            Change::Retry { attempt, failure, pause } => self.retry(*attempt, failure, *pause, batch).await,
            Change::Release { attempt, pause } => self.release(*attempt, *pause, batch).await,
            Change::Results { attempt, number, parcel, done } => {
                self.results(*attempt, *number, parcel, *done, batch).await
            }
            Change::Progress(attempt, progress) => {
                self.current(*attempt, batch)?;
                self.tables.note(*attempt, progress, batch).await.map(|()| Answer::Nothing)
            }
            rare => self.rare(rare, batch).await,
        }
    }

    /// Whether there is space for what the change adds. A submit that is known by its key adds nothing, nor does the end of an
    /// attempt that is not wanted, or whose ticket is deleted with it.
    pub(super) fn finds_space(&self, change: &Change, batch: &mut Batch<'_>) -> bool {
        batch.space.take(Adds::of(change))
            || match change {
                Change::Submit(submission) => !matches!(known_key(submission, batch), Ok(None)),
                Change::Finish { attempt, .. } | Change::Retry { attempt, .. } => {
                    self.tables.held(batch, attempt.ticket).is_none_or(|held| held.delete_requested)
                }
                _ => false,
            }
    }

    async fn submit<'a>(&mut self, submission: &'a Submission, batch: &mut Batch<'a>) -> Answered {
        let ticket = &submission.ticket;
        if let Some(known) = known_key(submission, batch)? {
            return self.known(submission, known, batch).await;
        }
        if let Some(inputs) = ticket.inputs {
            self.claim_inputs(ticket.id, inputs, batch).await?;
        }
        self.keep_method(&ticket.method, batch).await?;
        remember_key(submission, batch);
        let due = ticket.not_before.is_none_or(|time| time.0 <= batch.now);
        let gateway = ticket.begin_at.filter(|gateway| due && self.tables.is_alive(batch, *gateway));
        let seq = self.tables.reserve();
        self.body(&submission.request, batch).await?;
        batch.rows.submits.push(Submit { seq, submission, gateway, now: batch.now });
        batch.count(None, Some(if gateway.is_some() { State::Running } else { State::Waiting }));
        let attempt = gateway.map(|gateway| Attempt { ticket: ticket.id, gateway, number: 1 });
        if let Some(attempt) = attempt {
            batch.overlay.insert(ticket.id, Some(first(seq, attempt, submission, batch.now)));
        }
        Ok(Answer::Submitted(Submitted::Stored { at: Timestamp(batch.now), attempt }))
    }

    /// The method is known from now on, whatever becomes of its tickets.
    async fn keep_method<'a>(&mut self, method: &'a str, batch: &mut Batch<'a>) -> Result<(), Error> {
        if self.methods.contains(method) || !batch.methods.insert(method) {
            return Ok(());
        }
        self.tables.keep_method(method, batch).await
    }

    /// They are the ticket's from now on, and nobody sweeps them.
    async fn claim_inputs(
        &mut self,
        ticket: TicketId,
        inputs: Inputs,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        if self.tables.inputs(ticket, batch).await? < inputs.parts {
            return Err(Error::Incomplete(ticket));
        }
        self.tables.end_body(ticket.0, batch).await
    }

    async fn results(
        &mut self,
        attempt: Attempt,
        number: u32,
        parcel: &Parcel,
        done: u64,
        batch: &mut Batch<'_>,
    ) -> Answered {
        self.current(attempt, batch)?;
        // The row that is told how far it is may still be on its way.
        self.tables.flush(batch).await?;
        self.part(attempt.ticket, Log::Results, number, parcel, batch).await?;
        self.tables.done(attempt.ticket, done, batch).await.map(|()| Answer::Nothing)
    }

    /// Writes a part. One that is there already needs no pieces: these stay for the sweep.
    pub(super) async fn part(
        &mut self,
        ticket: TicketId,
        log: Log,
        number: u32,
        parcel: &Parcel,
        batch: &mut Batch<'_>,
    ) -> Answered {
        if self.tables.part(ticket, log, number, parcel, batch).await? {
            self.body(&parcel.body, batch).await?;
        }
        Ok(Answer::Nothing)
    }

    /// The ticket of a known key, or what is left of it.
    async fn known(&mut self, submission: &Submission, known: KnownKey, batch: &mut Batch<'_>) -> Answered {
        self.tables.flush(batch).await?;
        // One that had ended has no delete to be taken back, and costs no statement more.
        let found = match known.state {
            Some(_) => self.tables.ticket(known.ticket, batch).await,
            None => self.wanted(known.ticket, batch).await,
        };
        let ticket = match found {
            Err(Error::NotFound(_)) => forgotten(self.as_of_now(submission, known, batch).await?),
            ticket => ticket?,
        };
        Ok(Answer::Submitted(Submitted::Known(Box::new(ticket))))
    }

    /// The key of a ticket that is gone: how it has ended may have been written since this transaction began, by another
    /// change of it, or another gateway.
    async fn as_of_now(
        &mut self,
        submission: &Submission,
        known: KnownKey,
        batch: &mut Batch<'_>,
    ) -> Result<KnownKey, Error> {
        let Some(key) = &submission.ticket.key else { return Ok(known) };
        let now = self.tables.known(&submission.ticket.tenant, &key.key, batch).await?;
        Ok(now.filter(|now| now.ticket == known.ticket).unwrap_or(known))
    }

    async fn claim(&mut self, gateway: GatewayId, room: &Room, batch: &mut Batch<'_>) -> Answered {
        if room.tickets == 0 || !self.tables.is_alive(batch, gateway) {
            return Ok(Answer::Claimed(Vec::new()));
        }
        self.tables.flush(batch).await?;
        let mut found = self.tables.lapsed(gateway, room.tickets, &room.full, batch).await?;
        if room.tickets > found.len() {
            let passed_over = PassedOver::of(&room.full, &room.unserved);
            found.extend(self.due(gateway, room.tickets - found.len(), &passed_over, batch).await?);
        }
        let (mut granted, mut bytes) = (Vec::new(), room.bytes);
        for due in found {
            match due {
                Ok(due) if due.granted.request.length > bytes && !granted.is_empty() => break,
                Ok(due) => {
                    bytes = bytes.saturating_sub(due.granted.request.length);
                    granted.push(grant(due, batch));
                }
                Err(broken) => condemn(broken, batch),
            }
        }
        self.turns.after(granted.last());
        Ok(Answer::Claimed(granted))
    }

    /// The attempt, if it is its ticket's current one.
    fn current(&self, attempt: Attempt, batch: &Batch<'_>) -> Result<Held, Error> {
        let held = self.tables.held(batch, attempt.ticket).filter(|held| held.attempt == attempt);
        held.ok_or(Error::Superseded(attempt.ticket))
    }

    async fn finish<'a>(&mut self, attempt: Attempt, ending: &'a Ending, batch: &mut Batch<'a>) -> Answered {
        let held = self.current(attempt, batch)?;
        if held.delete_requested {
            return self.forget(attempt.ticket, ending.state, batch).await;
        }
        if let Some((body, _)) = &ending.response {
            self.body(body, batch).await?;
        }
        let mut leave = leave(&held, ending.state, self.tables.noted(attempt.ticket), batch);
        leave.response = ending.response.as_ref().map(|(body, seal)| (body, *seal));
        fail(&held, ending.failure.as_ref(), &mut leave, batch);
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
        let state = between(&held);
        if state.is_final() && held.delete_requested {
            self.forget(attempt.ticket, state, batch).await?;
            return Ok(Answer::State(state));
        }
        let mut leave = leave(&held, state, self.tables.noted(attempt.ticket), batch);
        leave.due_at = (!state.is_final()).then(|| batch.now.saturating_add(millis(pause)));
        fail(&held, Some(failure), &mut leave, batch);
        batch.rows.leaves.push(leave);
        Ok(Answer::State(state))
    }

    async fn release(&mut self, attempt: Attempt, pause: Duration, batch: &mut Batch<'_>) -> Answered {
        let held = self.current(attempt, batch)?;
        let state = between(&held);
        if state.is_final() && held.delete_requested {
            return self.forget(attempt.ticket, state, batch).await;
        }
        let mut leave = leave(&held, state, self.tables.noted(attempt.ticket), batch);
        leave.due_at = (!state.is_final()).then(|| batch.now.saturating_add(millis(pause)));
        batch.rows.leaves.push(leave);
        Ok(Answer::Nothing)
    }

    /// Writes a body's pieces, if it has any that are not there.
    pub(super) async fn body(&mut self, body: &Body, batch: &mut Batch<'_>) -> Result<(), Error> {
        match body {
            Body::Inline(_) => Ok(()),
            Body::Beside(name, bytes) => {
                for (number, data) in (0..).zip(bytes.chunks(PIECE)) {
                    self.tables.piece(*name, number, data, batch).await?;
                }
                Ok(())
            }
            Body::Ahead(name, _) => self.tables.end_body(*name, batch).await,
        }
    }
}

/// What is known of a submit's key.
fn known_key(submission: &Submission, batch: &Batch<'_>) -> Result<Option<KnownKey>, Error> {
    let ticket = &submission.ticket;
    let Some(key) = &ticket.key else { return Ok(None) };
    let at = (ticket.tenant.as_str(), key.key.as_str());
    if let Some(known) = batch.keys.get(&at)
        && known.remembered_until.is_none_or(|until| until > batch.now)
    {
        if known.demand[..] == submission.demand.0[..] {
            return Ok(Some(known.clone()));
        }
        return Err(Error::KeyTaken { key: key.key.clone(), ticket: known.ticket });
    }
    Ok(None)
}

/// It is known from now on.
fn remember_key<'a>(submission: &'a Submission, batch: &mut Batch<'a>) {
    let ticket = &submission.ticket;
    let Some(key) = &ticket.key else { return };
    let at = (ticket.tenant.as_str(), key.key.as_str());
    // One that was stored in this transaction, and forgotten at once.
    batch.rows.keys.retain(|row| (row.submission.ticket.tenant.as_str(), row.key) != at);
    let remembered_until = key.remembered_for.map(|time| batch.now.saturating_add(millis(time)));
    batch.rows.keys.push(Key { submission, key: &key.key, remembered_until, now: batch.now });
    batch.keys.insert(
        at,
        KnownKey {
            ticket: ticket.id,
            demand: Bytes::copy_from_slice(&submission.demand.0),
            remembered_until,
            method: ticket.method.clone(),
            state: None,
            submitted_at: batch.now,
            ended_at: None,
        },
    );
}

fn grant(due: Due, batch: &mut Batch<'_>) -> Granted {
    let Held { seq, attempt, .. } = due.held;
    if let Some((number, began_at)) = due.lost {
        let (ticket, ended_at) = (attempt.ticket, batch.now);
        batch.rows.records.push(Record { seq, ticket, number, began_at, ended_at, failure: &LOST });
    }
    batch.rows.begins.push(Begin { seq, attempt, now: batch.now });
    batch.count(Some(due.state), due.state.after(Event::Begin));
    batch.overlay.insert(attempt.ticket, Some(due.held));
    due.granted
}

/// A row that cannot be read is nobody's to run.
fn condemn(broken: Broken, batch: &mut Batch<'_>) {
    tracing::error!(seq = broken.seq, ticket = ?broken.ticket, "a ticket's row is damaged: it is dead");
    if let Some(state) = broken.state {
        batch.count(Some(state), Some(State::Dead));
    }
    if let Some(ticket) = broken.ticket {
        batch.overlay.insert(ticket, None);
    }
    batch.rows.leaves.push(Leave {
        seq: broken.seq,
        ticket: broken.ticket.unwrap_or(TicketId(uuid::Uuid::nil())),
        state: State::Dead,
        due_at: None,
        ended_at: Some(batch.now),
        expires_at: None,
        failures: 0,
        failure: Some(&DAMAGED),
        response: None,
        progress: None,
    });
}

/// Where an attempt that has come to nothing leaves its ticket.
fn between(held: &Held) -> State {
    let event = if held.cancel_requested { Event::Cancel } else { Event::Retry };
    State::Running.after(event).expect("what runs can be retried and cancelled")
}

/// The attempt is over, and the ticket in `state`.
fn leave<'a>(held: &Held, state: State, progress: Option<Progress>, batch: &mut Batch<'a>) -> Leave<'a> {
    batch.count(Some(State::Running), Some(state));
    batch.overlay.insert(held.attempt.ticket, None);
    Leave {
        seq: held.seq,
        ticket: held.attempt.ticket,
        state,
        due_at: None,
        ended_at: state.is_final().then_some(batch.now),
        expires_at: state.is_final().then(|| batch.now.saturating_add(held.keep_ms)),
        failures: held.failures,
        failure: None,
        response: None,
        progress,
    }
}

fn fail<'a>(held: &Held, failure: Option<&'a Failure>, leave: &mut Leave<'a>, batch: &mut Batch<'a>) {
    let Some(failure) = failure else { return };
    leave.failures = held.failures.saturating_add(1);
    leave.failure = Some(failure);
    let Held { seq, attempt: Attempt { ticket, number, .. }, began_at, .. } = *held;
    batch.rows.records.push(Record { seq, ticket, number, began_at, ended_at: batch.now, failure });
}

fn first(seq: i64, attempt: Attempt, submission: &Submission, now: i64) -> Held {
    Held {
        seq,
        attempt,
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
        delete_requested: false,
        submitted_at: Timestamp(known.submitted_at),
        not_before: None,
        began_at: None,
        ended_at: known.ended_at.map(Timestamp),
        expires_at: known.ended_at.map(Timestamp),
        gateway: None,
        progress: Progress::default(),
        failure: None,
        request_bytes: 0,
        response_bytes: 0,
        redrive_of: None,
        redriven_as: None,
        inputs: None,
        forgotten: true,
    }
}
