//! What is only read, on a few connections of their own.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgRow;
use tokio_util::task::AbortOnDropHandle;

use super::bulk::Values;
use super::connections::Connections;
use super::notices::Notices;
use super::rows::TICKET;
use crate::batch::Asked;
use crate::body::{Gathered, Granted, Stored, unsealed};
use crate::error::Error;
use crate::kept::{Read, readable};
use crate::part::{self, Log, Part, StoredPart};
use crate::query::{Page, Query};
use crate::rows::{self, Odd};
use crate::seal::Seal;
use crate::state::State;
use crate::store::{Claimed, Counts, News};
use crate::ticket::{AttemptRecord, Ticket, TicketId};

/// Tickets in one page, whatever was asked.
const PAGE: u32 = 1000;

/// Pieces of a body in one answer: a statement has the same time however long the body is.
const PIECES: usize = 16;

/// What has expired is not there, even if nobody has swept it yet.
const KEPT: &str = "(expires_at IS NULL OR expires_at > extract(epoch FROM clock_timestamp()) * 1000)";

/// Reads the database.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(super) connections: Connections,
    pub(super) notices: Notices,
    /// Ends with the last reader.
    pub(super) _listening: Arc<AbortOnDropHandle<()>>,
}

impl Read for Reader {
    async fn get(&self, id: TicketId) -> Result<Ticket, Error> {
        let row = self.one(id, &format!("{TICKET} FROM turno.ticket")).await?;
        rows::ticket(Some(id), &row)
    }

    async fn request(&self, id: TicketId) -> Result<Bytes, Error> {
        let what = "method, tenant, metadata, request_bytes, request_seal, request_body::text, request FROM turno.ticket";
        let row = self.one(id, what).await?;
        let Asked { method, tenant, metadata, request } = rows::asked(id, &row)?;
        let bytes = self.body(id, &request).await?;
        let seal = Seal::of_request(id, &method, &tenant, &metadata, &bytes);
        unsealed(id, bytes, &request.seal, seal)
    }

    async fn whole(&self, id: TicketId) -> Result<(Ticket, Option<Bytes>), Error> {
        let what = format!(
            "{TICKET}, response_bytes, response_seal, response_body::text, response FROM turno.ticket"
        );
        let row = self.one(id, &what).await?;
        let (ticket, response) = rows::whole(id, &row)?;
        let Some(response) = response else { return Ok((ticket, None)) };
        let bytes = self.body(id, &response).await?;
        let seal = Seal::of_response(id, &bytes);
        Ok((ticket, Some(unsealed(id, bytes, &response.seal, seal)?)))
    }

    async fn claimed(&self, granted: Granted) -> Result<Claimed, Error> {
        let Granted { mut claimed, request } = granted;
        let id = claimed.attempt.ticket;
        let bytes = self.body(id, &request).await?;
        let seal = Seal::of_request(id, &claimed.method, &claimed.tenant, &claimed.metadata, &bytes);
        claimed.request = unsealed(id, bytes, &request.seal, seal)?;
        Ok(claimed)
    }

    async fn part(&self, id: TicketId, log: Log, number: u32) -> Result<Option<Part>, Error> {
        let sql = "SELECT head, bytes, seal, body::text, data FROM turno.part \
                   WHERE ticket = $1 AND log = $2 AND number = $3";
        let values = Values::default().put(id.0).put(log.name()).put(i64::from(number));
        let found = self.connections.rows(sql, values).await?;
        let Some(row) = found.first() else { return Ok(None) };
        let StoredPart { head, body } = rows::part_of(id, row)?;
        let bytes = self.body(id, &body).await?;
        let head = part::head(id, log, number, head, &body.seal)?;
        Ok(Some(Part { head, body: part::body(id, log, number, bytes, &body.seal)? }))
    }

    async fn heads(&self, id: TicketId, log: Log, from: u32, most: u32) -> Result<Vec<Bytes>, Error> {
        let sql = "SELECT number, seal, head FROM turno.part WHERE ticket = $1 AND log = $2 AND number >= $3 \
                   ORDER BY number LIMIT $4";
        let values = Values::default().put(id.0).put(log.name()).put(i64::from(from)).put(i64::from(most));
        let found = self.connections.rows(sql, values).await?;
        found.iter().map(|row| rows::head(id, log, row)).collect()
    }

    async fn attempts(&self, id: TicketId) -> Result<Vec<AttemptRecord>, Error> {
        self.one(id, "id::text FROM turno.ticket").await?;
        let sql = "SELECT number, began_at, ended_at, code, message, details, seal FROM turno.attempt WHERE ticket = $1 \
                   ORDER BY number";
        let found = self.connections.rows(sql, Values::default().put(id.0)).await?;
        Ok(found.iter().map(|row| rows::record(id, row)).collect())
    }

    async fn list(&self, query: &Query) -> Result<Page, Error> {
        let most = query.most.clamp(1, PAGE);
        let (sql, values) = listing(query, most);
        let found = self.connections.rows(AssertSqlSafe(sql), values).await?;
        let has_more = found.len() > most as usize;
        let tickets = found.iter().take(most as usize).map(|row| rows::ticket(None, row));
        Ok(Page { tickets: readable(tickets).collect(), has_more })
    }

    async fn counts(&self) -> Result<Counts, Error> {
        let sql = "SELECT sum(waiting)::bigint, sum(running)::bigint, sum(done)::bigint, sum(failed)::bigint, \
                   sum(cancelled)::bigint, sum(dead)::bigint FROM turno.total";
        let found = self.connections.rows(sql, Values::default()).await?;
        let none = || Error::Unusable("the database has no totals".into());
        rows::counts(found.first().ok_or_else(none)?).map_err(|Odd| none())
    }

    async fn knows_method(&self, method: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM turno.method WHERE name = $1";
        let found = self.connections.rows(sql, Values::default().put(method)).await?;
        Ok(!found.is_empty())
    }

    async fn changed(&self) -> News {
        self.notices.next().await
    }
}

impl Reader {
    /// A body, out of the row or put together from its pieces; not looked at.
    async fn body(&self, id: TicketId, stored: &Stored) -> Result<Bytes, Error> {
        let Some(name) = stored.beside else { return Ok(stored.inline.clone().unwrap_or_default()) };
        let sql =
            "SELECT data FROM turno.piece WHERE body = $1 AND number >= $2 AND number < $3 ORDER BY number";
        let mut gathered = Gathered::new(id, stored.length);
        for from in (0_i64..).step_by(PIECES) {
            let values = Values::default().put(name).put(from).put(from + PIECES as i64);
            let pieces = self.connections.rows(sql, values).await?;
            for piece in &pieces {
                gathered.push(rows::piece(id, piece)?)?;
            }
            if pieces.len() < PIECES {
                break;
            }
        }
        gathered.whole()
    }

    async fn one(&self, id: TicketId, what: &str) -> Result<PgRow, Error> {
        let sql = AssertSqlSafe(format!("SELECT {what} WHERE id = $1 AND {KEPT}"));
        let found = self.connections.rows(sql, Values::default().put(id.0)).await?;
        found.into_iter().next().ok_or(Error::NotFound(id))
    }
}

/// The newest first; one more than a page, to know whether there is one.
fn listing(query: &Query, most: u32) -> (String, Values) {
    let mut conditions = vec![KEPT.to_owned()];
    let mut values = Values::default();
    let mut bound = 0;
    let mut next = || {
        bound += 1;
        bound
    };
    if !query.states.is_empty() {
        let names: Vec<_> = query.states.iter().map(|state| format!("'{}'", state.name())).collect();
        conditions.push(format!("state IN ({})", names.join(", ")));
    }
    if query.wants_only(State::is_open) {
        // What the index on them says of itself.
        conditions.push("ended_at IS NULL".to_owned());
    }
    if let Some(method) = &query.method {
        let sign = if method.ends_with('/') { "starts_with(method, $N)" } else { "method = $N" };
        conditions.push(sign.replace("$N", &format!("${}", next())));
        values = values.put(method.as_str());
    }
    if let Some(tenant) = &query.tenant {
        conditions.push(format!("tenant = ${}", next()));
        values = values.put(tenant.as_str());
    }
    if !query.labels.is_empty() {
        conditions.push(format!("labels @> ${}::text::jsonb", next()));
        values = values.put(serde_json::json!(query.labels).to_string());
    }
    for (sign, time) in [(">=", query.since), ("<", query.before)] {
        if let Some(time) = time {
            conditions.push(format!("submitted_at {sign} ${}", next()));
            values = values.put(time.0);
        }
    }
    if let Some(after) = query.after {
        conditions.push(format!("id < ${}", next()));
        values = values.put(after.0);
    }
    let conditions = conditions.join(" AND ");
    let sql = format!(
        "SELECT {TICKET} FROM turno.ticket WHERE {conditions} ORDER BY id DESC LIMIT {}",
        i64::from(most) + 1
    );
    (sql, values)
}
