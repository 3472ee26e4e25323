//! What a transaction wants of PostgreSQL, which other gateways use at the same time: the tickets that the changes are about
//! are locked first, in one order for everybody; what is due is taken past what others have locked.

use std::time::Duration;

use bytes::Bytes;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::bulk::{self, Values};
use super::rack::Rack;
use super::rows::{GRANT, STANDING, TICKET};
use crate::batch::{Asked, Batch, Broken, Due, Held, KnownKey, Standing, capped, millis};
use crate::body::Body;
use crate::change::Change;
use crate::error::Error;
use crate::part::{Log, Parcel};
use crate::query::Queue;
use crate::rows::{self, Cells};
use crate::seal::Seal;
use crate::state::State;
use crate::tables::{Tables, Wish};
use crate::ticket::{Attempt, GatewayId, Progress, Ticket, TicketId};

/// What lies beside tickets that have expired, and they themselves.
const EXPIRE: [&str; 5] = [
    "UPDATE turno.idempotency AS i SET state = t.state, ended_at = t.ended_at FROM turno.ticket AS t \
     WHERE t.id = ANY($1) AND i.tenant = t.tenant AND i.key = t.key AND i.ticket = t.id",
    "DELETE FROM turno.piece WHERE body IN (SELECT unnest(ARRAY[request_body, response_body]) FROM turno.ticket \
     WHERE id = ANY($1))",
    "INSERT INTO turno.unfinished_body (body, began_at) SELECT id, 0 FROM turno.ticket WHERE id = ANY($1) \
     AND parts IS NOT NULL ON CONFLICT (body) DO UPDATE SET began_at = 0",
    "DELETE FROM turno.attempt WHERE ticket = ANY($1)",
    "DELETE FROM turno.ticket WHERE id = ANY($1)",
];

/// What nobody came back for, or needs any more, taken out bit by bit. A submit that is just taking its inputs is passed.
const SWEEP: [&str; 3] = [
    "WITH gone AS (DELETE FROM turno.part WHERE (ticket, log, number) IN (SELECT p.ticket, p.log, p.number \
     FROM turno.unfinished_body AS u JOIN turno.part AS p ON p.ticket = u.body WHERE u.began_at < $1 LIMIT 256 \
     FOR UPDATE OF u SKIP LOCKED) RETURNING body) \
     DELETE FROM turno.piece WHERE body IN (SELECT body FROM gone WHERE body IS NOT NULL)",
    "DELETE FROM turno.piece WHERE (body, number) IN (SELECT p.body, p.number FROM turno.unfinished_body AS u \
     JOIN turno.piece AS p ON p.body = u.body WHERE u.began_at < $1 LIMIT 256)",
    "DELETE FROM turno.unfinished_body AS u WHERE began_at < $1 \
     AND NOT EXISTS (SELECT 1 FROM turno.part WHERE part.ticket = u.body) \
     AND NOT EXISTS (SELECT 1 FROM turno.piece WHERE piece.body = u.body)",
];

impl Tables for Rack {
    async fn begin<'a>(&mut self, changes: &'a [Change]) -> Result<Batch<'a>, Error> {
        self.session.begin().await?;
        let mut batch = Batch::new(self.clock().await?);
        self.look_up_keys(changes, &mut batch).await?;
        self.lock(changes).await?;
        Ok(batch)
    }

    async fn known(&mut self, tenant: &str, key: &str, _: &mut Batch<'_>) -> Result<Option<KnownKey>, Error> {
        let found = self.keys(&[(tenant, key)]).await?;
        Ok(found.first().and_then(|row| rows::known(row)).map(|(_, _, known)| known))
    }

    async fn commit(&mut self, batch: Batch<'_>) -> Result<(), Error> {
        self.count(&batch).await?;
        self.notify().await?;
        self.session.commit().await
    }

    async fn roll_back(&mut self, _: &Error) {
        self.session.roll_back().await;
    }

    async fn flush(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let rows = std::mem::take(&mut batch.rows);
        if let Some(first) = rows.submits.first() {
            let first = first.submission.ticket.id;
            let written = self.session.write(bulk::SUBMIT, bulk::submits(&rows.submits).0).await;
            written.map_err(
                |error| if matches!(error, Error::Exists(_)) { Error::Exists(first) } else { error },
            )?;
            self.changed.extend(rows.submits.iter().map(|row| row.submission.ticket.id));
            self.has_due |= rows.submits.iter().any(|row| row.gateway.is_none());
        }
        if !rows.keys.is_empty() {
            let written = self.session.write(bulk::KEY, bulk::keys(&rows.keys).0).await?;
            if written < rows.keys.len() as u64 {
                return Err(Error::Contended);
            }
        }
        if !rows.begins.is_empty() {
            self.session.write(bulk::BEGIN, bulk::begins(&rows.begins).0).await?;
            self.changed.extend(rows.begins.iter().map(|row| row.attempt.ticket));
        }
        if !rows.leaves.is_empty() {
            self.session.write(bulk::LEAVE, bulk::leaves(&rows.leaves).0).await?;
            self.changed.extend(rows.leaves.iter().map(|row| row.ticket));
            self.has_due |= rows.leaves.iter().any(|row| row.due_at.is_some());
        }
        if !rows.records.is_empty() {
            self.session.write(bulk::RECORD, bulk::records(&rows.records).0).await?;
        }
        Ok(())
    }

    async fn keep_method(&mut self, method: &str, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "INSERT INTO turno.method (name) VALUES ($1) ON CONFLICT DO NOTHING";
        self.session.write(sql, Values::default().put(method).0).await.map(|_| ())
    }

    /// A ticket's id is its number here.
    fn reserve(&mut self) -> i64 {
        0
    }

    fn held(&self, batch: &Batch<'_>, ticket: TicketId) -> Option<Held> {
        match batch.overlay.get(&ticket) {
            Some(changed) => changed.clone(),
            None => self.held.get(&ticket).cloned(),
        }
    }

    fn is_alive(&self, _: &Batch<'_>, gateway: GatewayId) -> bool {
        self.alive.contains(&gateway)
    }

    async fn renew(
        &mut self,
        gateway: GatewayId,
        lease: Duration,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let until = batch.now.saturating_add(millis(lease));
        let sql =
            "INSERT INTO turno.gateway (id, until) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET until = $2";
        self.session.write(sql, Values::default().put(gateway.0).put(until).0).await?;
        self.alive.insert(gateway);
        let long_gone = batch.now - 24 * 60 * 60 * 1000;
        let sql = "DELETE FROM turno.gateway WHERE until < $1";
        self.session.write(sql, Values::default().put(long_gone).0).await.map(|_| ())
    }

    async fn resign(&mut self, gateway: GatewayId, _: &mut Batch<'_>) -> Result<(), Error> {
        self.alive.remove(&gateway);
        let sql = "DELETE FROM turno.gateway WHERE id = $1";
        self.session.write(sql, Values::default().put(gateway.0).0).await.map(|_| ())
    }

    async fn disown(
        &mut self,
        gateway: GatewayId,
        known: &[TicketId],
        after: Duration,
        batch: &mut Batch<'_>,
    ) -> Result<u64, Error> {
        let sql = "UPDATE turno.ticket SET gateway = $1 WHERE ended_at IS NULL AND due_at IS NULL AND gateway = $2 \
                   AND began_at < $3 AND id <> ALL($4::uuid[])";
        let known: Vec<Uuid> = known.iter().map(|ticket| ticket.0).collect();
        let values = Values::default().put(GatewayId::NOBODY.0).put(gateway.0).put(batch.now - millis(after));
        self.session.write(sql, values.put(known).0).await
    }

    async fn note(&mut self, attempt: Attempt, progress: &Progress, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "UPDATE turno.ticket SET progress_done = $1, progress_total = $2, progress_note = $3 WHERE id = $4";
        let values = Values::default().put(capped(progress.done)).put(capped(progress.total));
        self.session.write(sql, values.put(progress.note.as_str()).put(attempt.ticket.0).0).await?;
        self.changed.push(attempt.ticket);
        Ok(())
    }

    /// It is on disk.
    fn noted(&self, _: TicketId) -> Option<Progress> {
        None
    }

    async fn lapsed(
        &mut self,
        gateway: GatewayId,
        most: usize,
        full: &[Queue],
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Result<Due, Broken>>, Error> {
        let (tenants, methods) = columns(full);
        let alive: Vec<Uuid> = self.alive.iter().map(|gateway| gateway.0).collect();
        let sql = format!(
            "SELECT {GRANT} FROM turno.ticket WHERE ended_at IS NULL AND due_at IS NULL AND gateway <> ALL($1::uuid[]) \
             AND NOT EXISTS (SELECT FROM unnest($3::text[], $4::text[]) AS queue (tenant, method) \
             WHERE queue.tenant = ticket.tenant AND queue.method = ticket.method) \
             ORDER BY began_at LIMIT $2 FOR UPDATE SKIP LOCKED"
        );
        let values = Values::default().put(alive).put(most as i64).put(tenants).put(methods);
        let found = self.session.rows(AssertSqlSafe(sql), values.0).await?;
        Ok(rows::all_due(&found, gateway, batch.now))
    }

    async fn due(
        &mut self,
        gateway: GatewayId,
        most: usize,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Result<Due, Broken>>, Error> {
        let sql = format!(
            "SELECT {GRANT} FROM turno.ticket WHERE ended_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2 \
             FOR UPDATE SKIP LOCKED"
        );
        let values = Values::default().put(batch.now).put(most as i64);
        let found = self.session.rows(AssertSqlSafe(sql), values.0).await?;
        Ok(rows::all_due(&found, gateway, batch.now))
    }

    async fn due_of(
        &mut self,
        queues: &[Queue],
        gateway: GatewayId,
        each: usize,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Result<Due, Broken>>, Error> {
        let sql = format!(
            "SELECT due.* FROM unnest($1::text[], $2::text[]) AS queue (tenant, method), LATERAL ( \
             SELECT {GRANT} FROM turno.ticket WHERE ticket.tenant = queue.tenant AND ticket.method = queue.method \
             AND due_at <= $3 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED) AS due"
        );
        let (tenants, methods) = columns(queues);
        let values = Values::default().put(tenants).put(methods).put(batch.now).put(each as i64);
        let found = self.session.rows(AssertSqlSafe(sql), values.0).await?;
        Ok(rows::all_due(&found, gateway, batch.now))
    }

    /// A step of the index each.
    async fn queues(
        &mut self,
        after: Option<&Queue>,
        most: usize,
        _: &mut Batch<'_>,
    ) -> Result<Vec<(Queue, i64)>, Error> {
        const STEP: &str = "SELECT tenant, method, due_at FROM turno.ticket WHERE due_at IS NOT NULL";
        const FIRST: &str = "ORDER BY tenant, method, due_at LIMIT 1";
        let sql = format!(
            "WITH RECURSIVE queue AS ( \
             ({STEP} AND (tenant, method) > ($1, $2) {FIRST}) UNION ALL \
             SELECT next.* FROM queue, LATERAL ( \
             {STEP} AND (ticket.tenant, ticket.method) > (queue.tenant, queue.method) {FIRST}) AS next) \
             SELECT tenant, method, due_at FROM queue LIMIT $3"
        );
        let Queue { tenant, method } = after.cloned().unwrap_or_else(Queue::before_all);
        let values = Values::default().put(tenant).put(method).put(most as i64);
        let found = self.session.rows(AssertSqlSafe(sql), values.0).await?;
        Ok(found.iter().map_while(rows::queue).collect())
    }

    async fn next_due(&mut self, batch: &mut Batch<'_>) -> Result<Option<Duration>, Error> {
        let alive: Vec<Uuid> = self.alive.iter().map(|gateway| gateway.0).collect();
        let sql = "SELECT CASE WHEN EXISTS (SELECT 1 FROM turno.ticket WHERE ended_at IS NULL AND due_at IS NULL \
                   AND gateway <> ALL($1::uuid[])) THEN 0 \
                   ELSE (SELECT min(due_at) FROM turno.ticket WHERE ended_at IS NULL) END";
        let found = self.session.rows(sql, Values::default().put(alive).0).await?;
        let due = found.first().and_then(|row| Cells::of(row).number().ok());
        let until = |due: i64| Duration::from_millis(due.saturating_sub(batch.now).max(0).unsigned_abs());
        Ok(due.map(until))
    }

    async fn ticket(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Result<Ticket, Error> {
        let sql = format!(
            "SELECT {TICKET} FROM turno.ticket WHERE id = $1 AND (expires_at IS NULL OR expires_at > $2)"
        );
        let values = Values::default().put(ticket.0).put(batch.now);
        let found = self.session.rows(AssertSqlSafe(sql), values.0).await?;
        rows::ticket(Some(ticket), found.first().ok_or(Error::NotFound(ticket))?)
    }

    async fn standing(
        &mut self,
        ticket: TicketId,
        expired: bool,
        batch: &mut Batch<'_>,
    ) -> Result<Standing, Error> {
        let sql = format!(
            "SELECT {STANDING} FROM turno.ticket WHERE id = $1 AND (expires_at IS NULL OR expires_at > $2) FOR UPDATE"
        );
        let values = Values::default().put(ticket.0).put(if expired { i64::MIN } else { batch.now });
        let found = self.session.rows(AssertSqlSafe(sql), values.0).await?;
        rows::standing(ticket, found.first().ok_or(Error::NotFound(ticket))?)
    }

    async fn asked(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<Asked, Error> {
        let sql = "SELECT method, tenant, metadata, request_bytes, request_seal, request_body::text, request \
                   FROM turno.ticket WHERE id = $1";
        let found = self.session.rows(sql, Values::default().put(ticket.0).0).await?;
        rows::asked(ticket, found.first().ok_or(Error::NotFound(ticket))?)
    }

    async fn pieces(&mut self, body: Uuid, _: &mut Batch<'_>) -> Result<Vec<Bytes>, Error> {
        let sql = "SELECT data FROM turno.piece WHERE body = $1 ORDER BY number";
        let found = self.session.rows(sql, Values::default().put(body).0).await?;
        let pieces = found.iter().map(|row| Cells::of(row).bytes().map(Option::unwrap_or_default));
        Ok(pieces.filter_map(Result::ok).collect())
    }

    async fn wish(&mut self, standing: &Standing, wish: Wish, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = match wish {
            Wish::Cancel => "UPDATE turno.ticket SET cancel_requested = true WHERE id = $1",
            Wish::Delete => "UPDATE turno.ticket SET delete_requested = true WHERE id = $1",
        };
        self.changed.push(standing.ticket);
        self.session.write(sql, Values::default().put(standing.ticket.0).0).await.map(|_| ())
    }

    /// One that is not to be deleted is not locked.
    async fn undelete(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<bool, Error> {
        let sql = "UPDATE turno.ticket SET delete_requested = false WHERE id = $1 AND delete_requested";
        self.session.write(sql, Values::default().put(ticket.0).0).await.map(|written| written > 0)
    }

    async fn remove(
        &mut self,
        standing: &Standing,
        ended: State,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let sql = "UPDATE turno.idempotency AS i SET state = $1, ended_at = coalesce(t.ended_at, $2) \
                   FROM turno.ticket AS t WHERE t.id = $3 AND i.tenant = t.tenant AND i.key = t.key AND i.ticket = t.id";
        let values = Values::default().put(ended.name()).put(batch.now).put(standing.ticket.0);
        self.session.write(sql, values.0).await?;
        for sql in [
            "DELETE FROM turno.piece WHERE body IN (SELECT unnest(ARRAY[request_body, response_body]) \
             FROM turno.ticket WHERE id = $1)",
            "DELETE FROM turno.attempt WHERE ticket = $1",
            "DELETE FROM turno.ticket WHERE id = $1",
        ] {
            self.session.write(sql, Values::default().put(standing.ticket.0).0).await?;
        }
        self.changed.push(standing.ticket);
        Ok(())
    }

    async fn allow(&mut self, standing: &Standing, retries: u32, _: &mut Batch<'_>) -> Result<(), Error> {
        let values = Values::default().put(i64::from(retries)).put(standing.ticket.0);
        self.session.write("UPDATE turno.ticket SET retries = $1 WHERE id = $2", values.0).await.map(|_| ())
    }

    async fn replace(
        &mut self,
        ticket: TicketId,
        request: &Body,
        seal: Seal,
        _: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let values = Values::default()
            .put(capped(request.length()))
            .put(&seal.0[..])
            .put(request.name())
            .put(request.inline().map(|bytes| &bytes[..]))
            .put(ticket.0);
        let sql = "UPDATE turno.ticket SET request_bytes = $1, request_seal = $2, request_body = $3, request = $4 \
                   WHERE id = $5";
        self.session.write(sql, values.0).await.map(|_| ())
    }

    async fn repeat(&mut self, dead: &Standing, new: TicketId, batch: &mut Batch<'_>) -> Result<(), Error> {
        let values = Values::default().put(new.0).put(dead.ticket.0);
        self.session.write("UPDATE turno.ticket SET redriven_as = $1 WHERE id = $2", values.0).await?;
        let sql = "INSERT INTO turno.ticket (id, state, method, tenant, labels, attempts, retries, submitted_at, due_at, \
                   timeout_ms, keep_ms, redrive_of, request_bytes, request_seal, metadata) \
                   SELECT $1, 'waiting', method, tenant, labels, 0, retries, $2, $2, timeout_ms, keep_ms, id, 0, \
                   ''::bytea, metadata FROM turno.ticket WHERE id = $3";
        let values = Values::default().put(new.0).put(batch.now).put(dead.ticket.0);
        self.changed.extend([new, dead.ticket]);
        self.has_due = true;
        self.session.write(sql, values.0).await.map(|_| ())
    }

    async fn expire(&mut self, most: u32, batch: &mut Batch<'_>) -> Result<Vec<State>, Error> {
        let sql = "SELECT id::text, state FROM turno.ticket WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 \
                   FOR UPDATE SKIP LOCKED";
        let values = Values::default().put(batch.now).put(i64::from(most));
        let (mut tickets, mut states) = (Vec::<Uuid>::new(), Vec::new());
        for row in &self.session.rows(sql, values.0).await? {
            let mut cells = Cells::of(row);
            tickets.extend(cells.parsed::<Uuid>().ok());
            states.extend(cells.state().ok());
        }
        if tickets.is_empty() {
            return Ok(states);
        }
        for sql in EXPIRE {
            self.session.write(sql, Values::default().put(&tickets[..]).0).await?;
        }
        Ok(states)
    }

    async fn sweep(&mut self, most: u32, since: i64, batch: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "DELETE FROM turno.idempotency WHERE (tenant, key) IN (SELECT tenant, key FROM turno.idempotency \
                   WHERE remembered_until <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
        let values = Values::default().put(batch.now).put(i64::from(most));
        self.session.write(sql, values.0).await?;
        for sql in SWEEP {
            self.session.write(sql, Values::default().put(since).0).await?;
        }
        Ok(())
    }

    async fn begin_body(&mut self, body: Uuid, batch: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "INSERT INTO turno.unfinished_body (body, began_at) VALUES ($1, $2)";
        self.session.write(sql, Values::default().put(body).put(batch.now).0).await.map(|_| ())
    }

    async fn end_body(&mut self, body: Uuid, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "DELETE FROM turno.unfinished_body WHERE body = $1";
        self.session.write(sql, Values::default().put(body).0).await.map(|_| ())
    }

    async fn piece(&mut self, body: Uuid, number: u32, data: &[u8], _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "INSERT INTO turno.piece (body, number, data) VALUES ($1, $2, $3)";
        let values = Values::default().put(body).put(i64::from(number)).put(data);
        self.session.write(sql, values.0).await.map(|_| ())
    }

    async fn inputs(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<u32, Error> {
        let sql = "SELECT 1::bigint FROM turno.unfinished_body WHERE body = $1 FOR UPDATE";
        if self.session.rows(sql, Values::default().put(ticket.0).0).await?.is_empty() {
            return Ok(0);
        }
        let sql = "SELECT count(*) FROM turno.part WHERE ticket = $1 AND log = 'input'";
        let found = self.session.rows(sql, Values::default().put(ticket.0).0).await?;
        Ok(found.first().and_then(|row| Cells::of(row).count().ok()).unwrap_or(0))
    }

    async fn part(
        &mut self,
        ticket: TicketId,
        log: Log,
        number: u32,
        parcel: &Parcel,
        _: &mut Batch<'_>,
    ) -> Result<bool, Error> {
        let values = Values::default()
            .put(ticket.0)
            .put(log.name())
            .put(i64::from(number))
            .put(bulk::filled(&parcel.head))
            .put(capped(parcel.body.length()))
            .put(&parcel.seal[..])
            .put(parcel.body.name())
            .put(parcel.body.inline().and_then(bulk::filled));
        let sql = "INSERT INTO turno.part (ticket, log, number, head, bytes, seal, body, data) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        self.session.write(sql, values.0).await.map(|written| written > 0)
    }

    async fn done(&mut self, ticket: TicketId, done: u64, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql =
            "UPDATE turno.ticket SET progress_done = $1, progress_total = coalesce(items, 0) WHERE id = $2";
        self.changed.push(ticket);
        self.session.write(sql, Values::default().put(capped(done)).put(ticket.0).0).await.map(|_| ())
    }

    async fn begin_inputs(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "INSERT INTO turno.unfinished_body (body, began_at) SELECT $1, $2 \
                   WHERE NOT EXISTS (SELECT 1 FROM turno.ticket WHERE id = $1) \
                   ON CONFLICT (body) DO UPDATE SET began_at = excluded.began_at";
        self.session.write(sql, Values::default().put(ticket.0).put(batch.now).0).await.map(|_| ())
    }

    async fn give_up(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "UPDATE turno.unfinished_body SET began_at = 0 WHERE body = $1";
        self.session.write(sql, Values::default().put(ticket.0).0).await.map(|_| ())
    }

    async fn leave_logs(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "INSERT INTO turno.unfinished_body (body, began_at) VALUES ($1, 0)";
        self.session.write(sql, Values::default().put(ticket.0).0).await.map(|_| ())
    }

    async fn discard(&mut self, body: Uuid, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "DELETE FROM turno.piece WHERE body = $1";
        self.session.write(sql, Values::default().put(body).0).await.map(|_| ())
    }
}

/// Queues as columns.
fn columns(queues: &[Queue]) -> (Vec<String>, Vec<String>) {
    queues.iter().map(|queue| (queue.tenant.clone(), queue.method.clone())).unzip()
}
