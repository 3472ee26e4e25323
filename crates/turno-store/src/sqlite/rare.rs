//! The changes that people ask for, and the sweep. Each reads what it needs, for itself.

use sqlx::{AssertSqlSafe, SqlSafeStr};
use uuid::Uuid;

use super::batch::{Batch, Leave, Values};
use super::book::Book;
use super::rows::{Cells, Odd};
use crate::body::{Body, Gathered, Stored, unsealed};
use crate::change::{Answer, Answered, Change};
use crate::error::Error;
use crate::seal::Seal;
use crate::state::{Event, State};
use crate::store::Cancelled;
use crate::ticket::TicketId;

/// A body whose writer has not come back for so long is nobody's.
const UNFINISHED_MS: i64 = 60 * 60 * 1000;

/// What a ticket is known by while something rare happens to it.
struct Standing {
    seq: i64,
    state: State,
    failures: u32,
    keep_ms: i64,
    delete_requested: bool,
    redriven_as: Option<TicketId>,
}

/// What a request was submitted with.
struct Asked {
    method: String,
    tenant: String,
    metadata: bytes::Bytes,
    request: Stored,
}

impl Book {
    /// Makes a change that is not on a ticket's usual way.
    pub(super) async fn rare<'a>(&mut self, change: &'a Change, batch: &mut Batch<'a>) -> Answered {
        self.flush(batch).await?;
        match change {
            Change::Cancel(ticket) => self.cancel(*ticket, batch).await,
            Change::Delete(ticket) => self.delete(*ticket, batch).await,
            Change::Edit { ticket, request, retries } => {
                self.edit(*ticket, request.as_ref(), *retries, batch).await
            }
            Change::Redrive { dead, new } => self.redrive(*dead, *new, batch).await,
            Change::Expire(most) => self.expire(*most, batch).await,
            Change::Piece { body, number, data } => self.ahead(*body, *number, data, batch).await,
            Change::Discard(body) => self.discard(*body, batch).await,
            _ => Ok(Answer::Nothing),
        }
    }

    async fn cancel(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Answered {
        let standing = self.standing(ticket, batch).await?;
        let Some(state) = standing.state.after(Event::Cancel) else {
            return Ok(Answer::Cancelled(Cancelled::Ended(standing.state)));
        };
        let held = self.memory.held(&batch.overlay, ticket).cloned();
        if let Some(mut held) = held
            && self.memory.is_alive(held.gateway, batch.instant)
        {
            let gateway = held.gateway;
            held.cancel_requested = true;
            batch.overlay.insert(ticket, Some(held));
            self.set("cancel_requested = 1", standing.seq, batch).await?;
            return Ok(Answer::Cancelled(Cancelled::Asked(gateway)));
        }
        batch.overlay.insert(ticket, None);
        if standing.delete_requested {
            self.forget(ticket, batch).await?;
            return Ok(Answer::Cancelled(Cancelled::Now));
        }
        batch.count(Some(standing.state), Some(state));
        batch.rows.leaves.push(Leave {
            seq: standing.seq,
            state,
            due_at: None,
            ended_at: Some(batch.now),
            expires_at: Some(batch.now.saturating_add(standing.keep_ms)),
            failures: standing.failures,
            failure: None,
            response: None,
            progress: self.memory.noted(ticket),
        });
        self.flush(batch).await?;
        self.set("cancel_requested = 1", standing.seq, batch).await?;
        Ok(Answer::Cancelled(Cancelled::Now))
    }

    async fn delete(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Answered {
        let standing = self.standing(ticket, batch).await?;
        if standing.state.is_final() {
            return self.forget(ticket, batch).await;
        }
        if let Some(mut held) = self.memory.held(&batch.overlay, ticket).cloned() {
            held.delete_requested = true;
            batch.overlay.insert(ticket, Some(held));
        }
        self.set("delete_requested = 1", standing.seq, batch).await?;
        Ok(Answer::Nothing)
    }

    /// Takes a ticket out of the database, in whatever state it is, with all that lies beside it. Its key stays.
    pub(super) async fn forget(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Answered {
        self.flush(batch).await?;
        let standing = self.standing_at_all(ticket, batch).await?;
        batch.count(Some(standing.state), None);
        batch.overlay.insert(ticket, None);
        let ended = if standing.state.is_final() { standing.state } else { State::Cancelled };
        let mut values = Values::default();
        values.put(ended.name()).put(batch.now).put(standing.seq);
        self.write(
            batch,
            "UPDATE idempotency SET state = ?, ended_at = coalesce(t.ended_at, ?) FROM ticket AS t \
             WHERE t.seq = ? AND idempotency.tenant = t.tenant AND idempotency.key = t.key \
             AND idempotency.ticket = t.id"
                .into_sql_str(),
            values,
        )
        .await?;
        for sql in [
            "DELETE FROM piece WHERE body IN (SELECT request_body FROM ticket WHERE seq = ?1 \
             UNION ALL SELECT response_body FROM ticket WHERE seq = ?1)",
            "DELETE FROM attempt WHERE ticket = ?1",
            "DELETE FROM ticket WHERE seq = ?1",
        ] {
            let mut values = Values::default();
            values.put(standing.seq);
            self.write(batch, sql.into_sql_str(), values).await?;
        }
        Ok(Answer::Nothing)
    }

    async fn edit(
        &mut self,
        ticket: TicketId,
        request: Option<&bytes::Bytes>,
        retries: Option<u32>,
        batch: &mut Batch<'_>,
    ) -> Answered {
        let standing = self.standing(ticket, batch).await?;
        is_dead(ticket, &standing)?;
        if standing.redriven_as.is_some() {
            let hint = "it has been redriven: the new ticket is what counts";
            return Err(Error::WrongState { ticket, state: standing.state.name(), hint });
        }
        if let Some(retries) = retries {
            let mut values = Values::default();
            values.put(i64::from(retries)).put(standing.seq);
            self.write(batch, "UPDATE ticket SET retries = ? WHERE seq = ?".into_sql_str(), values).await?;
        }
        if let Some(request) = request {
            let asked = self.asked(ticket, batch).await?;
            if let Some(body) = asked.request.beside {
                self.discard(body, batch).await?;
            }
            let seal = Seal::of_request(ticket, &asked.method, &asked.tenant, &asked.metadata, request);
            self.replace(standing.seq, &Body::of(request.clone()), seal, batch).await?;
        }
        self.ticket(ticket, batch).await.map(|ticket| Answer::Ticket(Box::new(ticket)))
    }

    async fn replace(
        &mut self,
        seq: i64,
        request: &Body,
        seal: Seal,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        self.body(request, batch).await?;
        let mut values = Values::default();
        values
            .put(request.length() as i64)
            .put(&seal.0[..])
            .put(request.name().map(|name| name.to_string()))
            .put(request.inline().map(|bytes| &bytes[..]))
            .put(seq);
        let sql = "UPDATE ticket SET request_bytes = ?, request_seal = ?, request_body = ?, request = ? WHERE seq = ?";
        self.write(batch, sql.into_sql_str(), values).await.map(|_| ())
    }

    async fn redrive(&mut self, dead: TicketId, new: TicketId, batch: &mut Batch<'_>) -> Answered {
        let standing = self.standing(dead, batch).await?;
        is_dead(dead, &standing)?;
        if let Some(known) = standing.redriven_as {
            return self.ticket(known, batch).await.map(|ticket| Answer::Ticket(Box::new(ticket)));
        }
        let asked = self.asked(dead, batch).await?;
        let request = self.gather(dead, &asked, batch).await?;
        let seal = Seal::of_request(new, &asked.method, &asked.tenant, &asked.metadata, &request);
        self.link(dead, standing.seq, new, batch).await?;
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut values = Values::default();
        values.put(seq).put(new.to_string()).put(batch.now).put(dead.to_string()).put(standing.seq);
        let sql = "INSERT INTO ticket (seq, id, state, method, tenant, labels, attempts, retries, submitted_at, due_at, \
                   timeout_ms, keep_ms, redrive_of, request_bytes, request_seal, metadata) \
                   SELECT ?1, ?2, 'waiting', method, tenant, labels, 0, retries, ?3, ?3, timeout_ms, keep_ms, ?4, 0, x'', \
                   metadata FROM ticket WHERE seq = ?5";
        self.write(batch, sql.into_sql_str(), values).await?;
        self.replace(seq, &Body::of(request), seal, batch).await?;
        batch.count(None, Some(State::Waiting));
        self.ticket(new, batch).await.map(|ticket| Answer::Ticket(Box::new(ticket)))
    }

    async fn link(
        &mut self,
        dead: TicketId,
        seq: i64,
        new: TicketId,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let mut values = Values::default();
        values.put(new.to_string()).put(seq).put(dead.to_string());
        let sql = "UPDATE ticket SET redriven_as = ? WHERE seq = ? AND id = ?";
        self.write(batch, sql.into_sql_str(), values).await.map(|_| ())
    }

    async fn expire(&mut self, most: u32, batch: &mut Batch<'_>) -> Answered {
        let mut values = Values::default();
        values.put(batch.now).put(i64::from(most));
        let sql = "SELECT id FROM ticket WHERE expires_at <= ? ORDER BY expires_at LIMIT ?";
        let expired = self.rows(batch, sql.into_sql_str(), values).await?;
        let mut forgotten = 0;
        for row in &expired {
            let ticket = Cells::of(row).parsed().map_err(|Odd| {
                Error::Unusable("the database is damaged: a ticket without a name has expired".into())
            })?;
            self.forget(ticket, batch).await?;
            forgotten += 1;
        }
        let mut values = Values::default();
        values.put(batch.now).put(i64::from(most));
        let sql = "DELETE FROM idempotency WHERE (tenant, key) IN \
                   (SELECT tenant, key FROM idempotency WHERE remembered_until <= ? LIMIT ?)";
        self.write(batch, sql.into_sql_str(), values).await?;
        let mut values = Values::default();
        values.put(batch.now - UNFINISHED_MS);
        let sql = "SELECT body FROM unfinished_body WHERE began_at < ?";
        for row in self.rows(batch, sql.into_sql_str(), values).await? {
            if let Ok(body) = Cells::of(&row).parsed() {
                self.discard(body, batch).await?;
            }
        }
        Ok(Answer::Count(forgotten))
    }

    /// A piece of a body whose change is still to come: until then it is on the list of what nobody may ever ask for.
    async fn ahead(&mut self, body: Uuid, number: u32, data: &[u8], batch: &mut Batch<'_>) -> Answered {
        if number == 0 {
            let mut values = Values::default();
            values.put(body.to_string()).put(batch.now);
            let sql = "INSERT INTO unfinished_body (body, began_at) VALUES (?, ?)".into_sql_str();
            self.write(batch, sql, values).await?;
        }
        self.piece(body, number, data, batch).await?;
        Ok(Answer::Nothing)
    }

    async fn discard(&mut self, body: Uuid, batch: &mut Batch<'_>) -> Answered {
        for sql in ["DELETE FROM piece WHERE body = ?", "DELETE FROM unfinished_body WHERE body = ?"] {
            let mut values = Values::default();
            values.put(body.to_string());
            self.write(batch, sql.into_sql_str(), values).await?;
        }
        Ok(Answer::Nothing)
    }

    async fn set(&mut self, what: &str, seq: i64, batch: &mut Batch<'_>) -> Result<(), Error> {
        let mut values = Values::default();
        values.put(seq);
        let sql = AssertSqlSafe(format!("UPDATE ticket SET {what} WHERE seq = ?")).into_sql_str();
        self.write(batch, sql, values).await.map(|_| ())
    }

    async fn standing(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Result<Standing, Error> {
        let now = batch.now;
        self.standing_until(ticket, now, batch).await
    }

    /// The same of one that has expired, too.
    async fn standing_at_all(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Result<Standing, Error> {
        self.standing_until(ticket, i64::MIN, batch).await
    }

    async fn standing_until(
        &mut self,
        ticket: TicketId,
        now: i64,
        batch: &mut Batch<'_>,
    ) -> Result<Standing, Error> {
        let mut values = Values::default();
        values.put(ticket.to_string()).put(now);
        let sql = "SELECT seq, state, failures, keep_ms, delete_requested, redriven_as FROM ticket \
                   WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)";
        let found = self.rows(batch, sql.into_sql_str(), values).await?;
        let mut cells = Cells::of(found.first().ok_or(Error::NotFound(ticket))?);
        let mut read = || {
            Ok(Standing {
                seq: cells.get()?,
                state: cells.state()?,
                failures: cells.count()?,
                keep_ms: cells.get()?,
                delete_requested: cells.get::<i64>()? != 0,
                redriven_as: cells.maybe()?,
            })
        };
        read().map_err(|Odd| Error::Damaged(ticket))
    }

    async fn asked(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Result<Asked, Error> {
        let mut values = Values::default();
        values.put(ticket.to_string());
        let sql = "SELECT method, tenant, metadata, request_bytes, request_seal, request_body, request FROM ticket \
                   WHERE id = ?";
        let found = self.rows(batch, sql.into_sql_str(), values).await?;
        let mut cells = Cells::of(found.first().ok_or(Error::NotFound(ticket))?);
        let mut read = || {
            Ok(Asked {
                method: cells.get()?,
                tenant: cells.get()?,
                metadata: cells.bytes()?.unwrap_or_default(),
                request: Stored {
                    length: cells.count()?,
                    seal: cells.get()?,
                    beside: cells.maybe()?,
                    inline: cells.bytes()?,
                },
            })
        };
        read().map_err(|Odd| Error::Damaged(ticket))
    }

    /// The request, looked at.
    async fn gather(
        &mut self,
        ticket: TicketId,
        asked: &Asked,
        batch: &mut Batch<'_>,
    ) -> Result<bytes::Bytes, Error> {
        let bytes = match asked.request.beside {
            None => asked.request.inline.clone().unwrap_or_default(),
            Some(body) => {
                let mut values = Values::default();
                values.put(body.to_string());
                let sql = "SELECT data FROM piece WHERE body = ? ORDER BY number".into_sql_str();
                let mut gathered = Gathered::new(ticket, asked.request.length);
                for row in self.rows(batch, sql, values).await? {
                    gathered.push(Cells::of(&row).get().map_err(|Odd| Error::Damaged(ticket))?)?;
                }
                gathered.whole()?
            }
        };
        let seal = Seal::of_request(ticket, &asked.method, &asked.tenant, &asked.metadata, &bytes);
        unsealed(ticket, bytes, &asked.request.seal, seal)
    }
}

fn is_dead(ticket: TicketId, standing: &Standing) -> Result<(), Error> {
    if standing.state == State::Dead {
        return Ok(());
    }
    let hint = "only what is dead is edited or redriven";
    Err(Error::WrongState { ticket, state: standing.state.name(), hint })
}
