//! The changes that people ask for, the sweep, and leases. Each reads what it needs, for itself.

use bytes::Bytes;
use uuid::Uuid;

use super::Book;
use super::turns::PassedOver;
use crate::batch::{Asked, Batch, Leave, Standing};
use crate::body::{Body, Gathered, unsealed};
use crate::change::{Answer, Answered, Change};
use crate::error::Error;
use crate::part::{Log, Parcel};
use crate::seal::Seal;
use crate::space::Adds;
use crate::state::{Event, State};
use crate::store::Cancelled;
use crate::tables::{Tables, Wish};
use crate::ticket::{Ticket, TicketId};

/// A body whose writer has not come back for so long is nobody's.
const UNFINISHED_MS: i64 = 60 * 60 * 1000;

impl<T: Tables> Book<T> {
    /// Makes a change that is not on a ticket's usual way.
    pub(super) async fn rare<'a>(&mut self, change: &'a Change, batch: &mut Batch<'a>) -> Answered {
        self.tables.flush(batch).await?;
        match change {
            Change::Cancel(ticket) => self.cancel(*ticket, batch).await,
            Change::Delete(ticket) => self.delete(*ticket, batch).await,
            Change::Edit { ticket, request, retries } => {
                self.edit(*ticket, request.as_ref(), *retries, batch).await
            }
            Change::Redrive { dead, new } => self.redrive(*dead, *new, batch).await,
            Change::Expire(most) => self.expire(*most, batch).await,
            Change::Input { ticket, number, parcel } => self.input(*ticket, *number, parcel, batch).await,
            Change::DropInputs(ticket) => self.tables.give_up(*ticket, batch).await.map(|()| Answer::Nothing),
            Change::Piece { body, number, data, .. } => self.ahead(*body, *number, data, batch).await,
            Change::Discard(body) => {
                self.tables.discard(*body, batch).await?;
                self.tables.end_body(*body, batch).await.map(|()| Answer::Nothing)
            }
            Change::NextDue { full, unserved, round } => {
                self.next_due(&PassedOver::of(full, unserved), round.as_ref(), batch).await
            }
            Change::Renew { gateway, lease } => {
                self.tables.renew(*gateway, *lease, batch).await.map(|()| Answer::Nothing)
            }
            Change::Disown { gateway, known, after } => {
                self.tables.disown(*gateway, known, *after, batch).await.map(Answer::Count)
            }
            Change::LastEnds => {
                self.is_ending = true;
                Ok(Answer::Nothing)
            }
            Change::Resign(gateway) => self.tables.resign(*gateway, batch).await.map(|()| Answer::Nothing),
            _ => Err(Error::Unavailable("a change that nobody makes".into())),
        }
    }

    async fn cancel(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Answered {
        let standing = self.tables.standing(ticket, false, batch).await?;
        let Some(state) = standing.state.after(Event::Cancel) else {
            return Ok(Answer::Cancelled(Cancelled::Ended(standing.state)));
        };
        let held = self.tables.held(batch, ticket);
        if let Some(mut held) = held.filter(|held| self.tables.is_alive(batch, held.attempt.gateway)) {
            let gateway = held.attempt.gateway;
            held.cancel_requested = true;
            batch.overlay.insert(ticket, Some(held));
            self.tables.wish(&standing, Wish::Cancel, batch).await?;
            return Ok(Answer::Cancelled(Cancelled::Asked(gateway)));
        }
        if standing.delete_requested {
            self.forget(ticket, state, batch).await?;
            return Ok(Answer::Cancelled(Cancelled::Now));
        }
        self.tables.wish(&standing, Wish::Cancel, batch).await?;
        batch.count(Some(standing.state), Some(state));
        batch.overlay.insert(ticket, None);
        batch.rows.leaves.push(Leave {
            seq: standing.seq,
            ticket,
            state,
            due_at: None,
            ended_at: Some(batch.now),
            expires_at: Some(batch.now.saturating_add(standing.keep_ms)),
            failures: standing.failures,
            failure: None,
            response: None,
            progress: self.tables.noted(ticket),
        });
        self.tables.flush(batch).await?;
        Ok(Answer::Cancelled(Cancelled::Now))
    }

    async fn delete(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Answered {
        let standing = self.tables.standing(ticket, false, batch).await?;
        if standing.state.is_final() {
            return self.forget(ticket, standing.state, batch).await;
        }
        if let Some(mut held) = self.tables.held(batch, ticket) {
            held.delete_requested = true;
            batch.overlay.insert(ticket, Some(held));
        }
        self.tables.wish(&standing, Wish::Delete, batch).await?;
        Ok(Answer::Nothing)
    }

    /// A ticket that somebody asks for anew. If it was to be forgotten at its end, it is not after all.
    pub(super) async fn wanted(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Result<Ticket, Error> {
        if self.tables.undelete(ticket, batch).await?
            && let Some(mut held) = self.tables.held(batch, ticket)
        {
            held.delete_requested = false;
            batch.overlay.insert(ticket, Some(held));
        }
        self.tables.ticket(ticket, batch).await
    }

    /// Takes a ticket out of the database, with all that lies beside it. Its key stays, and says how it has ended, which its
    /// row may not know yet.
    pub(super) async fn forget(&mut self, ticket: TicketId, ended: State, batch: &mut Batch<'_>) -> Answered {
        self.tables.flush(batch).await?;
        let standing = self.tables.standing(ticket, true, batch).await?;
        batch.count(Some(standing.state), None);
        batch.overlay.insert(ticket, None);
        if standing.is_map {
            self.tables.leave_logs(ticket, batch).await?;
        }
        self.tables.remove(&standing, ended, batch).await?;
        Ok(Answer::Nothing)
    }

    async fn edit(
        &mut self,
        ticket: TicketId,
        request: Option<&Bytes>,
        retries: Option<u32>,
        batch: &mut Batch<'_>,
    ) -> Answered {
        let standing = self.tables.standing(ticket, false, batch).await?;
        is_dead(&standing)?;
        is_no_map(&standing)?;
        if standing.redriven_as.is_some() {
            return Err(wrong(&standing, "it has been redriven: the new ticket is what counts"));
        }
        let asked = self.tables.asked(ticket, batch).await?;
        // One that is damaged is refused before anything of it is changed.
        self.tables.ticket(ticket, batch).await?;
        if let Some(retries) = retries {
            self.tables.allow(&standing, retries, batch).await?;
        }
        if let Some(request) = request {
            if let Some(body) = asked.request.beside {
                self.tables.discard(body, batch).await?;
            }
            self.give(ticket, &asked, request.clone(), batch).await?;
        }
        self.tables.ticket(ticket, batch).await.map(|ticket| Answer::Ticket(Box::new(ticket)))
    }

    /// Gives a ticket a request, sealed with what it was asked with.
    async fn give(
        &mut self,
        ticket: TicketId,
        asked: &Asked,
        request: Bytes,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let seal = Seal::of_request(ticket, &asked.method, &asked.tenant, &asked.metadata, &request);
        let body = Body::of(request);
        self.body(&body, batch).await?;
        self.tables.replace(ticket, &body, seal, batch).await
    }

    async fn redrive(&mut self, dead: TicketId, new: TicketId, batch: &mut Batch<'_>) -> Answered {
        let standing = self.tables.standing(dead, false, batch).await?;
        is_dead(&standing)?;
        is_no_map(&standing)?;
        if let Some(known) = standing.redriven_as {
            return match self.wanted(known, batch).await {
                // Not anew: it may have run, and twice is once.
                Err(Error::NotFound(_)) => Err(wrong(
                    &standing,
                    format!("it was redriven as {known}, which is gone by now: submit it again"),
                )),
                ticket => ticket.map(|ticket| Answer::Ticket(Box::new(ticket))),
            };
        }
        let asked = self.tables.asked(dead, batch).await?;
        if !batch.space.take(Adds::New(asked.request.length)) {
            return Ok(Answer::NoSpace);
        }
        let request = self.gather(dead, &asked, batch).await?;
        self.tables.repeat(&standing, new, batch).await?;
        self.give(new, &asked, request, batch).await?;
        batch.count(None, Some(State::Waiting));
        self.tables.ticket(new, batch).await.map(|ticket| Answer::Ticket(Box::new(ticket)))
    }

    /// The request, looked at.
    async fn gather(
        &mut self,
        ticket: TicketId,
        asked: &Asked,
        batch: &mut Batch<'_>,
    ) -> Result<Bytes, Error> {
        let bytes = match asked.request.beside {
            None => asked.request.inline.clone().unwrap_or_default(),
            Some(body) => {
                let mut gathered = Gathered::new(ticket, asked.request.length);
                for piece in self.tables.pieces(body, batch).await? {
                    gathered.push(&piece)?;
                }
                gathered.whole()?
            }
        };
        let seal = Seal::of_request(ticket, &asked.method, &asked.tenant, &asked.metadata, &bytes);
        unsealed(ticket, bytes, &asked.request.seal, seal)
    }

    async fn expire(&mut self, most: u32, batch: &mut Batch<'_>) -> Answered {
        let expired = self.tables.expire(most, batch).await?;
        for state in &expired {
            batch.count(Some(*state), None);
        }
        self.tables.sweep(most, batch.now - UNFINISHED_MS, batch).await?;
        Ok(Answer::Count(expired.len() as u64))
    }

    /// A part of the inputs of a ticket that is still to come.
    async fn input(
        &mut self,
        ticket: TicketId,
        number: u32,
        parcel: &Parcel,
        batch: &mut Batch<'_>,
    ) -> Answered {
        self.tables.begin_inputs(ticket, batch).await?;
        self.part(ticket, Log::Inputs, number, parcel, batch).await
    }

    /// A piece of a body whose change is still to come: until then it is on the list of what nobody may ever ask for.
    async fn ahead(&mut self, body: Uuid, number: u32, data: &[u8], batch: &mut Batch<'_>) -> Answered {
        if number == 0 {
            self.tables.begin_body(body, batch).await?;
        }
        self.tables.piece(body, number, data, batch).await?;
        Ok(Answer::Nothing)
    }
}

fn is_no_map(standing: &Standing) -> Result<(), Error> {
    if !standing.is_map {
        return Ok(());
    }
    Err(wrong(standing, "a map is neither edited nor redriven: submit it again"))
}

fn is_dead(standing: &Standing) -> Result<(), Error> {
    if standing.state == State::Dead {
        return Ok(());
    }
    Err(wrong(standing, "only what is dead is edited or redriven"))
}

/// The ticket is not in a state for that.
fn wrong(standing: &Standing, hint: impl Into<String>) -> Error {
    Error::WrongState { ticket: standing.ticket, state: standing.state.name(), hint: hint.into() }
}
