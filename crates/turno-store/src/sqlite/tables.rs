//! What a transaction wants of SQLite. Who holds what, and whose leases last, is known by heart (`memory.rs`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::params;
use uuid::Uuid;

use super::bulk::some;
use super::disk::Files;
use super::leftovers::Leftovers;
use super::mark::Mark;
use super::memory::{Memory, Notes};
use super::rows::{GRANT, TICKET};
use super::session::Session;
use crate::batch::{Asked, Batch, Broken, Due, Held, KnownKey, Standing, capped, millis};
use crate::body::Body;
use crate::change::{Change, keys_of};
use crate::error::Error;
use crate::part::{Log, Parcel};
use crate::query::Queue;
use crate::rows::{self, Cells};
use crate::seal::Seal;
use crate::state::State;
use crate::tables::{Tables, Wish};
use crate::ticket::{Attempt, GatewayId, Progress, Ticket, TicketId};

/// The queue behind another one, looked for behind the last time that there is: with (tenant, method) alone SQLite goes to the
/// first row of that one, and walks past all the others.
const NEXT_QUEUE: &str = "SELECT tenant, method, due_at FROM ticket WHERE due_at IS NOT NULL \
    AND (tenant, method, due_at) > (?, ?, 9223372036854775807) ORDER BY tenant, method, due_at LIMIT 1";

/// What is known of a key. How its ticket has ended, that one knows until it is swept.
const KNOWN: &str = "SELECT tenant, key, ticket, demand, remembered_until, method, coalesce((SELECT t.state \
    FROM ticket AS t WHERE t.id = idempotency.ticket AND t.ended_at IS NOT NULL), state), submitted_at, ended_at \
    FROM idempotency WHERE tenant = ? AND key = ?";

/// Which tickets have expired, and then what lies beside them taken out, and they themselves: a few statements for all of
/// them. Each finds the same ones, as long as they are there.
const EXPIRE: [&str; 6] = [
    "SELECT state FROM ticket WHERE expires_at <= ?1 ORDER BY expires_at, seq LIMIT ?2",
    "UPDATE idempotency SET state = t.state, ended_at = t.ended_at FROM \
     (SELECT id, tenant, key, state, ended_at FROM ticket WHERE expires_at <= ?1 ORDER BY expires_at, seq LIMIT ?2) AS t \
     WHERE idempotency.tenant = t.tenant AND idempotency.key = t.key AND idempotency.ticket = t.id",
    "DELETE FROM piece WHERE body IN (SELECT request_body FROM \
     (SELECT request_body FROM ticket WHERE expires_at <= ?1 ORDER BY expires_at, seq LIMIT ?2) \
     UNION ALL SELECT response_body FROM \
     (SELECT response_body FROM ticket WHERE expires_at <= ?1 ORDER BY expires_at, seq LIMIT ?2))",
    "INSERT INTO unfinished_body (body, began_at) SELECT id, 0 FROM \
     (SELECT id, parts FROM ticket WHERE expires_at <= ?1 ORDER BY expires_at, seq LIMIT ?2) \
     WHERE parts IS NOT NULL ON CONFLICT (body) DO UPDATE SET began_at = 0",
    "DELETE FROM attempt WHERE ticket IN \
     (SELECT seq FROM ticket WHERE expires_at <= ?1 ORDER BY expires_at, seq LIMIT ?2)",
    "DELETE FROM ticket WHERE seq IN \
     (SELECT seq FROM ticket WHERE expires_at <= ?1 ORDER BY expires_at, seq LIMIT ?2)",
];

/// What nobody came back for, or needs any more, of which logs are taken out bit by bit: the writer has others to serve. With
/// CROSS JOIN SQLite begins with the list, and in its order: else it walks all the parts that there are, each time.
const SWEEP: [&str; 4] = [
    "DELETE FROM piece WHERE body IN (SELECT p.body FROM unfinished_body AS u CROSS JOIN part AS p ON p.ticket = u.body \
     WHERE u.began_at < ?1 ORDER BY u.body, p.log, p.number LIMIT 256)",
    "DELETE FROM part WHERE rowid IN (SELECT p.rowid FROM unfinished_body AS u CROSS JOIN part AS p ON p.ticket = u.body \
     WHERE u.began_at < ?1 ORDER BY u.body, p.log, p.number LIMIT 256)",
    "DELETE FROM piece WHERE body IN (SELECT body FROM unfinished_body WHERE began_at < ?1)",
    "DELETE FROM unfinished_body WHERE began_at < ?1 \
     AND NOT EXISTS (SELECT 1 FROM part WHERE part.ticket = unfinished_body.body)",
];

/// SQLite's tables, and what is known by heart.
pub(crate) struct Shelves {
    session: Session,
    files: Files,
    memory: Memory,
    next_seq: i64,
    latest: i64,
    /// In the file that is locked: the directory is this writer's until it ends.
    mark: Mark,
    leftovers: Leftovers,
    /// How far these are once the transaction is on disk.
    leftovers_then: Option<Leftovers>,
    /// Its gateway has just ended in order.
    has_resigned: bool,
}

impl Shelves {
    /// `last` is the highest number that a ticket has.
    pub(super) fn new(session: Session, files: Files, mark: Mark, notes: Notes, last: i64) -> Self {
        Self {
            session,
            files,
            memory: Memory::new(notes),
            next_seq: last + 1,
            latest: 0,
            mark,
            leftovers: Leftovers::default(),
            leftovers_then: None,
            has_resigned: false,
        }
    }

    /// This machine's clock, which never goes back here.
    fn now(&mut self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.latest = millis(since).max(self.latest);
        self.latest
    }

    /// Leaves all that there is in one file: the process may end before its connections do, which would take in the log.
    fn tidy(&self) {
        if let Err(error) = self.session.take_in_log() {
            tracing::debug!(%error, "the log is not taken in");
        }
    }

    /// Runs a statement with one text in it.
    fn with(&mut self, sql: &str, text: &str) -> Result<(), Error> {
        self.session.write(sql, params![text])
    }

    /// Runs a statement about one ticket.
    fn about(&mut self, sql: &str, standing: &Standing) -> Result<(), Error> {
        self.session.write(sql, params![standing.seq])
    }
}

impl Tables for Shelves {
    async fn begin<'a>(&mut self, changes: &'a [Change]) -> Result<Batch<'a>, Error> {
        let mut batch = Batch::new(self.now());
        batch.space = self.files.space(&self.session, changes)?;
        for (tenant, key) in keys_of(changes) {
            if let Some(known) = self.known(tenant, key, &mut batch).await? {
                batch.keys.insert((tenant, key), known);
            }
        }
        Ok(batch)
    }

    async fn known(&mut self, tenant: &str, key: &str, _: &mut Batch<'_>) -> Result<Option<KnownKey>, Error> {
        let found = self.session.rows(KNOWN, params![tenant, key])?;
        Ok(found.first().and_then(|row| rows::known(row)).map(|(_, _, known)| known))
    }

    async fn commit(&mut self, batch: Batch<'_>) -> Result<(), Error> {
        let has_written = self.session.has_written();
        if has_written {
            let sql = "UPDATE total SET waiting = waiting + ?, running = running + ?, done = done + ?, \
                       failed = failed + ?, cancelled = cancelled + ?, dead = dead + ?, commits = commits + 1";
            self.session.write(sql, batch.totals)?;
        }
        self.session.commit()?;
        if has_written {
            self.mark.advance(self.latest);
        }
        self.memory.merge(batch.overlay);
        if let Some(leftovers) = self.leftovers_then.take() {
            leftovers.tell();
            self.leftovers = leftovers;
        }
        if std::mem::take(&mut self.has_resigned) {
            self.tidy();
        }
        Ok(())
    }

    async fn roll_back(&mut self, why: &Error) {
        self.session.roll_back();
        self.leftovers_then = None;
        if matches!(why, Error::Full) {
            self.files.ran_out(&self.session);
        }
    }

    async fn flush(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let rows = std::mem::take(&mut batch.rows);
        let named = |error| match (error, rows.submits.first()) {
            (Error::Exists(_), Some(submit)) => Error::Exists(submit.submission.ticket.id),
            (error, _) => error,
        };
        self.session.bulk(&rows.submits).map_err(named)?;
        self.session.bulk(&rows.keys)?;
        self.session.bulk(&rows.begins)?;
        self.session.bulk(&rows.leaves)?;
        self.session.bulk(&rows.records)
    }

    async fn keep_method(&mut self, method: &str, _: &mut Batch<'_>) -> Result<(), Error> {
        self.with("INSERT OR IGNORE INTO method (name) VALUES (?)", method)
    }

    fn reserve(&mut self) -> i64 {
        let seq = self.next_seq;
        // One that is not used after all leaves a gap, and that is all.
        self.next_seq += 1;
        seq
    }

    fn held(&self, batch: &Batch<'_>, ticket: TicketId) -> Option<Held> {
        self.memory.held(&batch.overlay, ticket).cloned()
    }

    fn is_alive(&self, batch: &Batch<'_>, gateway: GatewayId) -> bool {
        self.memory.is_alive(gateway, batch.instant)
    }

    async fn renew(
        &mut self,
        gateway: GatewayId,
        lease: Duration,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let longest = Duration::from_secs(u64::from(u32::MAX));
        self.memory.renew(gateway, batch.instant, batch.instant + lease.min(longest));
        Ok(())
    }

    async fn resign(&mut self, gateway: GatewayId, _: &mut Batch<'_>) -> Result<(), Error> {
        self.memory.resign(gateway);
        self.has_resigned = true;
        Ok(())
    }

    async fn disown(
        &mut self,
        gateway: GatewayId,
        known: &[TicketId],
        after: Duration,
        batch: &mut Batch<'_>,
    ) -> Result<u64, Error> {
        let began_before = batch.now - millis(after);
        let disowned = self.memory.disowned(&batch.overlay, gateway, known, began_before);
        let count = disowned.len() as u64;
        batch.overlay.extend(disowned.into_iter().map(|held| (held.attempt.ticket, Some(held))));
        Ok(count)
    }

    async fn note(&mut self, attempt: Attempt, progress: &Progress, _: &mut Batch<'_>) -> Result<(), Error> {
        self.memory.note(attempt.ticket, progress.clone());
        Ok(())
    }

    fn noted(&self, ticket: TicketId) -> Option<Progress> {
        self.memory.noted(ticket)
    }

    async fn lapsed(
        &mut self,
        gateway: GatewayId,
        most: usize,
        full: &[Queue],
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Result<Due, Broken>>, Error> {
        let sql = format!("SELECT {GRANT} FROM ticket WHERE seq = ?");
        let looked_at = if full.is_empty() { most } else { usize::MAX };
        let mut found = Vec::new();
        for held in self.memory.lapsed(&batch.overlay, batch.instant, looked_at) {
            let due = rows::all_due(&self.session.rows(&sql, params![held.seq])?, gateway, batch.now);
            let is_full = |due: &Due| full.contains(&due.granted.claimed.queue());
            found.extend(due.into_iter().filter(|due| !due.as_ref().is_ok_and(is_full)));
            if found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    async fn due(
        &mut self,
        gateway: GatewayId,
        most: usize,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Result<Due, Broken>>, Error> {
        let sql = format!(
            "SELECT {GRANT} FROM ticket WHERE ended_at IS NULL AND due_at <= ? ORDER BY due_at LIMIT ?"
        );
        let found = self.session.rows(&sql, params![batch.now, most as i64])?;
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
            "SELECT {GRANT} FROM ticket WHERE tenant = ? AND method = ? AND due_at <= ? ORDER BY due_at LIMIT ?"
        );
        let mut found = Vec::new();
        for Queue { tenant, method } in queues {
            found.extend(self.session.rows(&sql, params![tenant, method, batch.now, each as i64])?);
        }
        Ok(rows::all_due(&found, gateway, batch.now))
    }

    /// A step of the index each.
    async fn queues(
        &mut self,
        after: Option<&Queue>,
        most: usize,
        _: &mut Batch<'_>,
    ) -> Result<Vec<(Queue, i64)>, Error> {
        let mut last = after.cloned().unwrap_or_else(Queue::before_all);
        let mut found = Vec::new();
        while found.len() < most {
            let step = self.session.rows(NEXT_QUEUE, params![last.tenant, last.method])?;
            let Some(next) = step.first().and_then(rows::queue) else { break };
            last.clone_from(&next.0);
            found.push(next);
        }
        Ok(found)
    }

    async fn next_due(&mut self, batch: &mut Batch<'_>) -> Result<Option<Duration>, Error> {
        if !self.memory.lapsed(&batch.overlay, batch.instant, 1).is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        let sql =
            "SELECT due_at FROM ticket WHERE ended_at IS NULL AND due_at IS NOT NULL ORDER BY due_at LIMIT 1";
        let found = self.session.rows(sql, params![])?;
        let due = found.first().and_then(|row| Cells::of(row).number().ok());
        let until = |due: i64| Duration::from_millis(due.saturating_sub(batch.now).max(0).unsigned_abs());
        Ok(due.map(until))
    }

    async fn ticket(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Result<Ticket, Error> {
        let sql =
            format!("SELECT {TICKET} FROM ticket WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)");
        let found = self.session.rows(&sql, params![ticket.to_string(), batch.now])?;
        let mut found = rows::ticket(Some(ticket), found.first().ok_or(Error::NotFound(ticket))?)?;
        if let Some(progress) = self.memory.noted(ticket) {
            found.progress = progress;
        }
        Ok(found)
    }

    async fn standing(
        &mut self,
        ticket: TicketId,
        expired: bool,
        batch: &mut Batch<'_>,
    ) -> Result<Standing, Error> {
        let sql = "SELECT seq, state, failures, keep_ms, delete_requested, redriven_as, parts FROM ticket \
                   WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)";
        let found = self
            .session
            .rows(sql, params![ticket.to_string(), if expired { i64::MIN } else { batch.now }])?;
        rows::standing(ticket, found.first().ok_or(Error::NotFound(ticket))?)
    }

    async fn asked(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<Asked, Error> {
        let sql = "SELECT method, tenant, metadata, request_bytes, request_seal, request_body, request FROM ticket \
                   WHERE id = ?";
        let found = self.session.rows(sql, params![ticket.to_string()])?;
        rows::asked(ticket, found.first().ok_or(Error::NotFound(ticket))?)
    }

    async fn pieces(&mut self, body: Uuid, _: &mut Batch<'_>) -> Result<Vec<Bytes>, Error> {
        let found = self
            .session
            .rows("SELECT data FROM piece WHERE body = ? ORDER BY number", params![body.to_string()])?;
        let pieces = found.iter().map(|row| Cells::of(row).bytes().map(Option::unwrap_or_default));
        // One that cannot be read is as good as none: the body's length does not fit then.
        Ok(pieces.filter_map(Result::ok).collect())
    }

    async fn wish(&mut self, standing: &Standing, wish: Wish, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = match wish {
            Wish::Cancel => "UPDATE ticket SET cancel_requested = 1 WHERE seq = ?",
            Wish::Delete => "UPDATE ticket SET delete_requested = 1 WHERE seq = ?",
        };
        self.about(sql, standing)
    }

    /// Looked for first: who writes nothing does not wait for the disk.
    async fn undelete(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<bool, Error> {
        let id = ticket.to_string();
        let sql = "SELECT seq FROM ticket WHERE id = ? AND delete_requested = 1";
        if self.session.rows(sql, params![id])?.is_empty() {
            return Ok(false);
        }
        self.with("UPDATE ticket SET delete_requested = 0 WHERE id = ?", &id).map(|()| true)
    }

    async fn remove(
        &mut self,
        standing: &Standing,
        ended: State,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let sql = "UPDATE idempotency SET state = ?, ended_at = coalesce(t.ended_at, ?) FROM ticket AS t \
                   WHERE t.seq = ? AND idempotency.tenant = t.tenant AND idempotency.key = t.key \
                   AND idempotency.ticket = t.id";
        self.session.write(sql, params![ended.name(), batch.now, standing.seq])?;
        for sql in [
            "DELETE FROM piece WHERE body IN (SELECT request_body FROM ticket WHERE seq = ?1 \
             UNION ALL SELECT response_body FROM ticket WHERE seq = ?1)",
            "DELETE FROM attempt WHERE ticket = ?1",
            "DELETE FROM ticket WHERE seq = ?1",
        ] {
            self.about(sql, standing)?;
        }
        Ok(())
    }

    async fn allow(&mut self, standing: &Standing, retries: u32, _: &mut Batch<'_>) -> Result<(), Error> {
        self.session
            .write("UPDATE ticket SET retries = ? WHERE seq = ?", params![i64::from(retries), standing.seq])
    }

    async fn replace(
        &mut self,
        ticket: TicketId,
        request: &Body,
        seal: Seal,
        _: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let sql = "UPDATE ticket SET request_bytes = ?, request_seal = ?, request_body = ?, request = ? WHERE id = ?";
        self.session.write(
            sql,
            params![
                request.length() as i64,
                &seal.0[..],
                request.name().map(|name| name.to_string()),
                request.inline().map(|bytes| &bytes[..]),
                ticket.to_string()
            ],
        )
    }

    async fn repeat(&mut self, dead: &Standing, new: TicketId, batch: &mut Batch<'_>) -> Result<(), Error> {
        self.session
            .write("UPDATE ticket SET redriven_as = ? WHERE seq = ?", params![new.to_string(), dead.seq])?;
        let sql = "INSERT INTO ticket (seq, id, state, method, tenant, labels, attempts, retries, submitted_at, due_at, \
                   timeout_ms, keep_ms, redrive_of, request_bytes, request_seal, metadata) \
                   SELECT ?1, ?2, 'waiting', method, tenant, labels, 0, retries, ?3, ?3, timeout_ms, keep_ms, id, 0, x'', \
                   metadata FROM ticket WHERE seq = ?4";
        let seq = self.reserve();
        self.session.write(sql, params![seq, new.to_string(), batch.now, dead.seq])
    }

    async fn expire(&mut self, most: u32, batch: &mut Batch<'_>) -> Result<Vec<State>, Error> {
        let mut expired = Vec::new();
        for (number, sql) in EXPIRE.iter().enumerate() {
            if number > 0 {
                self.session.write(sql, params![batch.now, i64::from(most)])?;
                continue;
            }
            let found = self.session.rows(sql, params![batch.now, i64::from(most)])?;
            if found.is_empty() {
                break;
            }
            expired.extend(found.iter().filter_map(|row| Cells::of(row).state().ok()));
        }
        Ok(expired)
    }

    async fn sweep(&mut self, most: u32, since: i64, batch: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "DELETE FROM idempotency WHERE (tenant, key) IN \
                   (SELECT tenant, key FROM idempotency WHERE remembered_until <= ? LIMIT ?)";
        self.session.write(sql, params![batch.now, i64::from(most)])?;
        for sql in SWEEP {
            self.session.write(sql, params![since])?;
        }
        let leftovers = self.leftovers_then.as_ref().unwrap_or(&self.leftovers);
        if !leftovers.are_gone() {
            let swept = leftovers.sweep(&mut self.session);
            if let Err(Error::Unusable(why)) = &swept {
                self.leftovers = Leftovers::left_alone(why);
            }
            self.leftovers_then = Some(swept?);
        }
        Ok(())
    }

    async fn begin_body(&mut self, body: Uuid, batch: &mut Batch<'_>) -> Result<(), Error> {
        self.session.write(
            "INSERT INTO unfinished_body (body, began_at) VALUES (?, ?)",
            params![body.to_string(), batch.now],
        )
    }

    async fn end_body(&mut self, body: Uuid, _: &mut Batch<'_>) -> Result<(), Error> {
        self.with("DELETE FROM unfinished_body WHERE body = ?", &body.to_string())
    }

    async fn piece(&mut self, body: Uuid, number: u32, data: &[u8], _: &mut Batch<'_>) -> Result<(), Error> {
        self.session.write(
            "INSERT INTO piece (body, number, data) VALUES (?, ?, ?)",
            params![body.to_string(), i64::from(number), data],
        )
    }

    async fn inputs(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<u32, Error> {
        let sql = "SELECT count(*) FROM part WHERE ticket = ?1 AND log = 'input' \
                   AND EXISTS (SELECT 1 FROM unfinished_body WHERE body = ?1)";
        let found = self.session.rows(sql, params![ticket.to_string()])?;
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
        let sql = "INSERT INTO part (ticket, log, number, head, bytes, seal, body, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
                   ON CONFLICT DO NOTHING RETURNING number";
        Ok(!self
            .session
            .returned(
                sql,
                params![
                    ticket.to_string(),
                    log.name(),
                    i64::from(number),
                    some(Some(&parcel.head)),
                    capped(parcel.body.length()),
                    &parcel.seal[..],
                    parcel.body.name().map(|name| name.to_string()),
                    some(parcel.body.inline())
                ],
            )?
            .is_empty())
    }

    async fn done(&mut self, ticket: TicketId, done: u64, _: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "UPDATE ticket SET progress_done = ?, progress_total = coalesce(items, 0) WHERE id = ?";
        self.session.write(sql, params![capped(done), ticket.to_string()])
    }

    async fn begin_inputs(&mut self, ticket: TicketId, batch: &mut Batch<'_>) -> Result<(), Error> {
        let sql = "INSERT INTO unfinished_body (body, began_at) SELECT ?1, ?2 \
                   WHERE NOT EXISTS (SELECT 1 FROM ticket WHERE id = ?1) \
                   ON CONFLICT (body) DO UPDATE SET began_at = excluded.began_at";
        self.session.write(sql, params![ticket.to_string(), batch.now])
    }

    async fn give_up(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<(), Error> {
        self.with("UPDATE unfinished_body SET began_at = 0 WHERE body = ?", &ticket.to_string())
    }

    async fn leave_logs(&mut self, ticket: TicketId, _: &mut Batch<'_>) -> Result<(), Error> {
        self.with("INSERT INTO unfinished_body (body, began_at) VALUES (?, 0)", &ticket.to_string())
    }

    async fn discard(&mut self, body: Uuid, _: &mut Batch<'_>) -> Result<(), Error> {
        self.with("DELETE FROM piece WHERE body = ?", &body.to_string())
    }
}

#[cfg(test)]
mod tests;
