//! The writer's side of the database: begins a transaction, lets the changes be made (`changes.rs`, `rare.rs`), writes what
//! has gathered, commits. Owns the one connection that writes.

use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{SqlSafeStr, SqlStr, SqliteConnection};

use super::batch::{Batch, BulkRow, KnownKey, Values};
use super::errors::{is_duplicate, told};
use super::memory::{Memory, Notes};
use super::rows::Cells;
use super::shapes;
use crate::change::{Answered, Change};
use crate::error::Error;
use crate::group::Ledger;
use crate::ticket::TicketId;

/// The database, to be written.
pub(super) struct Book {
    connection: SqliteConnection,
    pub(super) memory: Memory,
    pub(super) next_seq: i64,
    latest: i64,
    /// The directory is this writer's until it ends.
    _lock: File,
}

impl Ledger for Book {
    async fn apply(&mut self, changes: &[Change]) -> Result<Vec<Answered>, Error> {
        let next_seq = self.next_seq;
        let mut batch = Batch::new(self.now());
        match self.make(changes, &mut batch).await {
            Ok(answers) => {
                self.memory.merge(batch.overlay);
                Ok(answers)
            }
            Err(error) => {
                self.next_seq = next_seq;
                self.roll_back(&batch).await;
                Err(error)
            }
        }
    }
}

impl Book {
    pub(super) async fn new(
        mut connection: SqliteConnection,
        lock: File,
        notes: Notes,
    ) -> Result<Self, Error> {
        let row =
            sqlx::query("SELECT coalesce(max(seq), 0) + 1 FROM ticket").fetch_one(&mut connection).await;
        let next_seq = Cells::of(&row.map_err(told)?).get().unwrap_or(1);
        Ok(Self { connection, memory: Memory::new(notes), next_seq, latest: 0, _lock: lock })
    }

    async fn make<'a>(
        &mut self,
        changes: &'a [Change],
        batch: &mut Batch<'a>,
    ) -> Result<Vec<Answered>, Error> {
        self.look_up_keys(changes, batch).await?;
        let mut answers = Vec::with_capacity(changes.len());
        for change in changes {
            match self.change(change, batch).await {
                Err(error) if !error.is_refusal() => return Err(error),
                answered => answers.push(answered),
            }
        }
        self.flush(batch).await?;
        self.count(batch).await?;
        if batch.begun {
            self.run("COMMIT".into_sql_str(), Values::default()).await?;
        }
        Ok(answers)
    }

    /// This machine's clock, which never goes back here.
    fn now(&mut self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.latest = super::batch::millis(since).max(self.latest);
        self.latest
    }

    /// Which of the submits' keys are known, for all of them at once.
    async fn look_up_keys<'a>(&mut self, changes: &'a [Change], batch: &mut Batch<'a>) -> Result<(), Error> {
        let keys: Vec<(&str, &str)> = changes.iter().filter_map(key_of).collect();
        for keys in keys.chunks(shapes::MOST) {
            let mut values = Values::default();
            for (tenant, key) in keys {
                values.put(*tenant).put(*key);
            }
            let rows = self.rows(batch, shapes::KNOWN.of(keys.len()), values).await?;
            for row in &rows {
                let Some((tenant, key, known)) = known(row) else { continue };
                if let Some(asked) = keys.iter().find(|asked| **asked == (tenant, key)) {
                    batch.keys.insert(*asked, known);
                }
            }
        }
        Ok(())
    }

    /// Writes the rows that wait.
    pub(super) async fn flush(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let rows = std::mem::take(&mut batch.rows);
        let named = |error| match (error, rows.submits.first()) {
            (Error::Exists(_), Some(submit)) => Error::Exists(submit.submission.ticket.id),
            (error, _) => error,
        };
        self.bulk(batch, &rows.submits).await.map_err(named)?;
        self.bulk(batch, &rows.keys).await?;
        self.bulk(batch, &rows.begins).await?;
        self.bulk(batch, &rows.leaves).await?;
        self.bulk(batch, &rows.records).await
    }

    async fn bulk<R: BulkRow>(&mut self, batch: &mut Batch<'_>, rows: &[R]) -> Result<(), Error> {
        for rows in rows.chunks(shapes::MOST) {
            let mut values = Values::default();
            for row in rows {
                row.bind(&mut values);
            }
            self.write(batch, R::SHAPE.of(rows.len()), values).await?;
        }
        Ok(())
    }

    async fn count(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        if batch.totals.iter().all(|difference| *difference == 0) {
            return Ok(());
        }
        let mut values = Values::default();
        for difference in batch.totals {
            values.put(difference);
        }
        let sql = "UPDATE total SET waiting = waiting + ?, running = running + ?, done = done + ?, failed = failed + ?, \
                   cancelled = cancelled + ?, dead = dead + ?";
        self.write(batch, sql.into_sql_str(), values).await.map(|_| ())
    }

    /// Runs a statement of the transaction; answers how many rows it has changed.
    pub(super) async fn write(
        &mut self,
        batch: &mut Batch<'_>,
        sql: SqlStr,
        values: Values,
    ) -> Result<u64, Error> {
        self.begin(batch).await?;
        self.run(sql, values).await
    }

    /// What a query of the transaction answers.
    pub(super) async fn rows(
        &mut self,
        batch: &mut Batch<'_>,
        sql: SqlStr,
        values: Values,
    ) -> Result<Vec<SqliteRow>, Error> {
        self.begin(batch).await?;
        sqlx::query_with(sql, values.0).fetch_all(&mut self.connection).await.map_err(told)
    }

    async fn begin(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        if batch.begun {
            return Ok(());
        }
        self.run("BEGIN IMMEDIATE".into_sql_str(), Values::default()).await?;
        batch.begun = true;
        Ok(())
    }

    async fn run(&mut self, sql: SqlStr, values: Values) -> Result<u64, Error> {
        let done = sqlx::query_with::<_, SqliteArguments>(sql, values.0).execute(&mut self.connection).await;
        match done {
            Ok(done) => Ok(done.rows_affected()),
            Err(error) if is_duplicate(&error) => Err(Error::Exists(TicketId(uuid::Uuid::nil()))),
            Err(error) => Err(told(error)),
        }
    }

    async fn roll_back(&mut self, batch: &Batch<'_>) {
        if !batch.begun {
            return;
        }
        // SQLite has rolled back by itself after some errors, and says now that there is nothing to roll back.
        if let Err(error) = sqlx::query("ROLLBACK").execute(&mut self.connection).await {
            tracing::debug!(%error, "roll back");
        }
    }
}

fn key_of(change: &Change) -> Option<(&str, &str)> {
    match change {
        Change::Submit(submission) => {
            let key = submission.ticket.key.as_ref()?;
            Some((submission.ticket.tenant.as_str(), key.key.as_str()))
        }
        _ => None,
    }
}

/// A row of [`shapes::KNOWN`]. One that is damaged is as good as none.
fn known(row: &SqliteRow) -> Option<(&str, &str, KnownKey)> {
    let mut cells = Cells::of(row);
    let (tenant, key) = (cells.get().ok()?, cells.get().ok()?);
    let known = KnownKey {
        ticket: cells.parsed().ok()?,
        demand: cells.get().ok()?,
        remembered_until: cells.get().ok()?,
        method: cells.get().ok()?,
        state: cells.get::<Option<&str>>().ok()?.and_then(crate::state::State::named),
        submitted_at: cells.get().ok()?,
        ended_at: cells.get().ok()?,
    };
    Some((tenant, key, known))
}
