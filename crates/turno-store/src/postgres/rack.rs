//! What a transaction with PostgreSQL begins and ends with: the clock, who is alive, what is locked; counts and notices.

use std::collections::{HashMap, HashSet};

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::bulk::Values;
use super::notices::NOT_DUE;
use super::rows::STANDING;
use super::schema::SLOTS;
use super::session::Session;
use crate::batch::{Batch, Held};
use crate::change::{Change, keys_of, tickets_of};
use crate::error::Error;
use crate::rows::{self, Cells};
use crate::ticket::{GatewayId, TicketId};

/// Names of tickets in one notice: PostgreSQL takes 8000 bytes.
const NOTICE: usize = 200;

/// PostgreSQL's tables, and what this transaction has found out.
pub(super) struct Rack {
    pub(super) session: Session,
    /// Whom notices come from: this store's own are no news to it.
    own: Uuid,
    pub(super) alive: HashSet<GatewayId>,
    pub(super) held: HashMap<TicketId, Held>,
    pub(super) changed: Vec<TicketId>,
    /// Some of these can be claimed, now or later.
    pub(super) has_due: bool,
}

impl Rack {
    pub(super) fn new(session: Session, own: Uuid) -> Self {
        let (alive, held, changed) = (HashSet::new(), HashMap::new(), Vec::new());
        Self { session, own, alive, held, changed, has_due: false }
    }

    /// The time is the database's: gateways need not agree on it.
    pub(super) async fn clock(&mut self) -> Result<i64, Error> {
        let sql = "SELECT now.ms, (SELECT string_agg(id::text, ',') FROM turno.gateway WHERE until > now.ms) \
                   FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms) AS now";
        let found = self.session.rows(sql, Values::default().0).await?;
        let mut cells = Cells::of(found.first().ok_or(Error::Contended)?);
        let now = cells.number().map_err(|_| Error::Contended)?;
        let alive = cells.maybe::<String>().ok().flatten().unwrap_or_default();
        self.alive = alive.split(',').filter_map(|id| id.parse().ok().map(GatewayId)).collect();
        Ok(now)
    }

    pub(super) async fn look_up_keys<'a>(
        &mut self,
        changes: &'a [Change],
        batch: &mut Batch<'a>,
    ) -> Result<(), Error> {
        let keys = keys_of(changes);
        if keys.is_empty() {
            return Ok(());
        }
        for row in &self.keys(&keys).await? {
            let Some((tenant, key, known)) = rows::known(row) else { continue };
            if let Ok(at) = keys.binary_search_by(|asked| (*asked).cmp(&(tenant, key))) {
                batch.keys.insert(keys[at], known);
            }
        }
        Ok(())
    }

    /// What is known of keys. How its ticket has ended, that one knows until it is swept.
    pub(super) async fn keys(&mut self, keys: &[(&str, &str)]) -> Result<Vec<PgRow>, Error> {
        let (tenants, names): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
        let sql = "SELECT i.tenant, i.key, i.ticket::text, i.demand, i.remembered_until, i.method, \
                   coalesce((SELECT t.state FROM turno.ticket AS t WHERE t.id = i.ticket AND t.ended_at IS NOT NULL), \
                   i.state), i.submitted_at, i.ended_at FROM turno.idempotency AS i \
                   JOIN unnest($1::text[], $2::text[]) AS asked(tenant, key) USING (tenant, key)";
        self.session.rows(sql, Values::default().put(tenants).put(names).0).await
    }

    /// Locks the tickets that the changes are about, always in one order, so that gateways cannot wait for each other in a
    /// circle.
    pub(super) async fn lock(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.held.clear();
        self.changed.clear();
        self.has_due = false;
        let tickets: Vec<Uuid> = changes.iter().flat_map(tickets_of).map(|ticket| ticket.0).collect();
        if tickets.is_empty() {
            return Ok(());
        }
        let sql =
            format!("SELECT {STANDING} FROM turno.ticket WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE");
        for row in &self.session.rows(AssertSqlSafe(sql), Values::default().put(tickets).0).await? {
            if let Some(held) = rows::held(row) {
                self.held.insert(held.attempt.ticket, held);
            }
        }
        Ok(())
    }

    pub(super) async fn count(&mut self, batch: &Batch<'_>) -> Result<(), Error> {
        if batch.totals.iter().all(|difference| *difference == 0) {
            return Ok(());
        }
        let slot = i64::from(self.own.as_bytes()[15]) % SLOTS;
        let sql = "UPDATE turno.total SET waiting = waiting + $1, running = running + $2, done = done + $3, \
                   failed = failed + $4, cancelled = cancelled + $5, dead = dead + $6 WHERE slot = $7";
        let values = batch.totals.iter().fold(Values::default(), |values, number| values.put(*number));
        self.session.write(sql, values.put(slot).0).await.map(|_| ())
    }

    /// Tells other gateways, if there are any: at its commit a notice makes every other transaction with one wait.
    pub(super) async fn notify(&mut self) -> Result<(), Error> {
        if self.alive.len() < 2 {
            return Ok(());
        }
        for tickets in self.changed.chunks(NOTICE) {
            let names = tickets.iter().map(|ticket| ticket.0.simple().to_string());
            let words: Vec<_> = names.chain((!self.has_due).then(|| NOT_DUE.to_owned())).collect();
            let notice = format!("{}:{}", self.own.simple(), words.join(","));
            self.session.rows("SELECT pg_notify('turno', $1)", Values::default().put(notice).0).await?;
        }
        Ok(())
    }
}
