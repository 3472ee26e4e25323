//! What is only read, on connections of their own: the writer goes on meanwhile.

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, SqlSafeStr, Sqlite, Type};

use super::errors::{Unread, told};
use super::memory::Notes;
use super::rows::TICKET;
use crate::batch::Asked;
use crate::body::{Gathered, Granted, Stored, unsealed};
use crate::error::Error;
use crate::kept::{Read, readable};
use crate::part::{self, Log, Part, StoredPart};
use crate::query::{Page, Query};
use crate::rows::{self, Cells, Odd};
use crate::seal::Seal;
use crate::state::State;
use crate::store::{Claimed, Counts, News};
use crate::ticket::{AttemptRecord, Ticket, TicketId};

/// Tickets in one page, whatever was asked.
const PAGE: u32 = 1000;

/// Reads the database.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) pool: SqlitePool,
    pub(super) notes: Notes,
    pub(super) unread: Unread,
}

impl Read for Reader {
    async fn get(&self, id: TicketId) -> Result<Ticket, Error> {
        let sql = format!("SELECT {TICKET} FROM ticket WHERE id = ? AND {KEPT}");
        let row = self.one(id, sql).await?;
        Ok(self.noted(rows::ticket(Some(id), &row)?))
    }

    async fn request(&self, id: TicketId) -> Result<Bytes, Error> {
        let sql = format!(
            "SELECT method, tenant, metadata, request_bytes, request_seal, request_body, request FROM ticket \
             WHERE id = ? AND {KEPT}"
        );
        let row = self.one(id, sql).await?;
        let Asked { method, tenant, metadata, request: stored } = rows::asked(id, &row)?;
        let bytes = self.body(id, &stored).await?;
        let seal = Seal::of_request(id, &method, &tenant, &metadata, &bytes);
        unsealed(id, bytes, &stored.seal, seal)
    }

    async fn whole(&self, id: TicketId) -> Result<(Ticket, Option<Bytes>), Error> {
        let sql = format!(
            "SELECT {TICKET}, response_bytes, response_seal, response_body, response FROM ticket \
             WHERE id = ? AND {KEPT}"
        );
        let row = self.one(id, sql).await?;
        let (ticket, response) = rows::whole(id, &row)?;
        let ticket = self.noted(ticket);
        let Some(response) = response else { return Ok((ticket, None)) };
        let bytes = self.body(id, &response).await?;
        let seal = Seal::of_response(id, &bytes);
        Ok((ticket, Some(unsealed(id, bytes, &response.seal, seal)?)))
    }

    /// The request of a ticket that was claimed, looked at.
    async fn claimed(&self, granted: Granted) -> Result<Claimed, Error> {
        let Granted { mut claimed, request } = granted;
        let id = claimed.attempt.ticket;
        let bytes = self.body(id, &request).await?;
        let seal = Seal::of_request(id, &claimed.method, &claimed.tenant, &claimed.metadata, &bytes);
        claimed.request = unsealed(id, bytes, &request.seal, seal)?;
        Ok(claimed)
    }

    async fn part(&self, id: TicketId, log: Log, number: u32) -> Result<Option<Part>, Error> {
        let sql =
            "SELECT head, bytes, seal, body, data FROM part WHERE ticket = ? AND log = ? AND number = ?";
        let query = sqlx::query(sql).bind(id.to_string()).bind(log.name()).bind(i64::from(number));
        let found = query.fetch_optional(&self.pool).await.map_err(|error| self.unread.told_of(id, error))?;
        let Some(row) = found else { return Ok(None) };
        let StoredPart { head, body } = rows::part_of(id, &row)?;
        let bytes = self.body(id, &body).await?;
        let head = part::head(id, log, number, head, &body.seal)?;
        Ok(Some(Part { head, body: part::body(id, log, number, bytes, &body.seal)? }))
    }

    async fn heads(&self, id: TicketId, log: Log, from: u32, most: u32) -> Result<Vec<Bytes>, Error> {
        let sql = "SELECT number, seal, head FROM part WHERE ticket = ? AND log = ? AND number >= ? \
                   ORDER BY number LIMIT ?";
        let query = sqlx::query(sql).bind(id.to_string()).bind(log.name());
        let found = query.bind(i64::from(from)).bind(i64::from(most)).fetch_all(&self.pool).await;
        found
            .map_err(|error| self.unread.told_of(id, error))?
            .iter()
            .map(|row| rows::head(id, log, row))
            .collect()
    }

    async fn attempts(&self, id: TicketId) -> Result<Vec<AttemptRecord>, Error> {
        let row = self.one(id, format!("SELECT seq FROM ticket WHERE id = ? AND {KEPT}")).await?;
        let seq = Cells::of(&row).number().map_err(|Odd| Error::Damaged(id))?;
        let sql = "SELECT number, began_at, ended_at, code, message, details, seal FROM attempt WHERE ticket = ? \
                   ORDER BY number";
        let found = sqlx::query(sql)
            .bind(seq)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.unread.told_of(id, error))?;
        Ok(found.iter().map(|row| rows::record(id, row)).collect())
    }

    async fn list(&self, query: &Query) -> Result<Page, Error> {
        let most = query.most.clamp(1, PAGE);
        let few_are_open = query.wants_only(State::is_open) && self.few_are_open().await;
        let (sql, values) = listing(query, most, few_are_open);
        let found = self.rows(sql, values).await?;
        let has_more = found.len() > most as usize;
        let tickets = found.iter().take(most as usize).map(|row| rows::ticket(None, row));
        Ok(Page { tickets: readable(tickets).map(|ticket| self.noted(ticket)).collect(), has_more })
    }

    async fn counts(&self) -> Result<Counts, Error> {
        let sql = "SELECT waiting, running, done, failed, cancelled, dead FROM total";
        let row = sqlx::query(sql).fetch_one(&self.pool).await.map_err(told)?;
        rows::counts(&row).map_err(|Odd| Error::Unusable("the database is damaged: it has no totals".into()))
    }

    async fn knows_method(&self, method: &str) -> Result<bool, Error> {
        let query = sqlx::query("SELECT 1 FROM method WHERE name = ?").bind(method);
        Ok(query.fetch_optional(&self.pool).await.map_err(told)?.is_some())
    }

    /// Nobody else writes here.
    async fn changed(&self) -> News {
        std::future::pending().await
    }
}

impl Reader {
    /// A body, out of the row or put together from its pieces; not looked at.
    async fn body(&self, id: TicketId, stored: &Stored) -> Result<Bytes, Error> {
        let Some(name) = stored.beside else { return Ok(stored.inline.clone().unwrap_or_default()) };
        let sql = "SELECT data FROM piece WHERE body = ? ORDER BY number";
        let mut pieces = sqlx::query(sql).bind(name.to_string()).fetch(&self.pool);
        let mut gathered = Gathered::new(id, stored.length);
        while let Some(piece) = pieces.try_next().await.map_err(|error| self.unread.told_of(id, error))? {
            gathered.push(rows::piece(id, &piece)?)?;
        }
        gathered.whole()
    }

    async fn one(&self, id: TicketId, sql: String) -> Result<SqliteRow, Error> {
        let found = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(&self.pool).await;
        found.map_err(|error| self.unread.told_of(id, error))?.ok_or(Error::NotFound(id))
    }

    /// Where nobody knows, it is as if they were many.
    async fn few_are_open(&self) -> bool {
        self.counts().await.is_ok_and(|counts| counts.waiting.saturating_add(counts.running) <= FEW)
    }

    async fn rows(&self, sql: String, values: Values) -> Result<Vec<SqliteRow>, Error> {
        let query = sqlx::query_with::<_, SqliteArguments>(AssertSqlSafe(sql).into_sql_str(), values.0);
        query.fetch_all(&self.pool).await.map_err(told)
    }

    fn noted(&self, mut ticket: Ticket) -> Ticket {
        if let Some(progress) = self.notes.lock().get(&ticket.id) {
            ticket.progress = progress.clone();
        }
        ticket
    }
}

/// What has expired is not there, even if nobody has swept it yet.
const KEPT: &str = "(expires_at IS NULL OR expires_at > unixepoch('subsec') * 1000)";

/// Values to be bound, one after another.
#[derive(Default)]
struct Values(SqliteArguments);

impl Values {
    fn put<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        self.0.add(value).expect("numbers and text can be bound");
        self
    }
}

/// So many tickets that have not ended are looked through and sorted within milliseconds. Where there are more, the newest
/// that are wanted are soon found among all.
const FEW: u64 = 10_000;

/// The index that knows tickets of the states that are wanted, if it has to be named, and what its condition says of them.
fn index(query: &Query, few_are_open: bool) -> (&'static str, &'static str) {
    if few_are_open && query.wants_only(State::is_open) {
        ("INDEXED BY ticket_due", " AND ended_at IS NULL")
    } else if query.wants_only(|state| state.is_final() && state != State::Done) {
        ("", " AND ended_at IS NOT NULL AND state <> 'done'")
    } else {
        ("", "")
    }
}

/// The newest first; one more than a page, to know whether there is one.
fn listing(query: &Query, most: u32, few_are_open: bool) -> (String, Values) {
    let (index, says) = index(query, few_are_open);
    let mut sql = format!("SELECT {TICKET} FROM ticket {index} WHERE {KEPT}{says}");
    let mut values = Values::default();
    let mut must = |condition: &str| {
        sql.push_str(" AND ");
        sql.push_str(condition);
    };
    if !query.states.is_empty() {
        // In the text and not bound: only so does SQLite see that a partial index will do.
        let names: Vec<_> = query.states.iter().map(|state| format!("'{}'", state.name())).collect();
        must(&format!("state IN ({})", names.join(", ")));
    }
    if let Some(method) = &query.method {
        match method.strip_suffix('/') {
            Some(service) => {
                must("method >= ? AND method < ?");
                // '0' comes right behind '/'.
                values.put(method.as_str()).put(format!("{service}0"));
            }
            None => {
                must("method = ?");
                values.put(method.as_str());
            }
        }
    }
    if let Some(tenant) = &query.tenant {
        must("tenant = ?");
        values.put(tenant.as_str());
    }
    for (name, value) in &query.labels {
        must("EXISTS (SELECT 1 FROM json_each(labels) AS label WHERE label.key = ? AND label.value = ?)");
        values.put(name.as_str()).put(value.as_str());
    }
    for (condition, time) in [("submitted_at >= ?", query.since), ("submitted_at < ?", query.before)] {
        if let Some(time) = time {
            must(condition);
            values.put(time.0);
        }
    }
    if let Some(after) = query.after {
        must("id < ?");
        values.put(after.to_string());
    }
    sql.push_str(&format!(" ORDER BY id DESC LIMIT {}", most + 1));
    (sql, values)
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::listing;
    use crate::{Query, State};

    #[tokio::test]
    async fn a_listing_does_not_look_through_what_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let (_book, reader) = crate::sqlite::parts(directory.path()).await.unwrap();
        let plan = async |states: &[State], few_are_open| {
            let query = Query { states: states.to_vec(), ..Query::default() };
            let (sql, values) = listing(&query, 10, few_are_open);
            let rows = reader.rows(format!("EXPLAIN QUERY PLAN {sql}"), values).await.unwrap();
            rows[0].get::<String, _>("detail")
        };
        for states in [&[State::Waiting][..], &[State::Running], &[State::Waiting, State::Running]] {
            assert!(plan(states, true).await.ends_with("INDEX ticket_due"));
            assert!(plan(states, false).await.contains("sqlite_autoindex_ticket_1"), "the newest first");
        }
        for states in [&[State::Dead][..], &[State::Failed, State::Cancelled]] {
            assert!(plan(states, true).await.contains("INDEX ticket_trouble (state=?"));
        }
        assert!(plan(&[], true).await.contains("sqlite_autoindex_ticket_1"));
        assert!(plan(&[State::Waiting, State::Done], true).await.contains("sqlite_autoindex_ticket_1"));
    }
}
