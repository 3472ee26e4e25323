//! The one connection that writes: statements of a transaction, which begins with the first of them.

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{SqlSafeStr, SqlStr, SqliteConnection};

use super::bulk::{BulkRow, Values};
use super::errors::{is_duplicate, told};
use super::shapes;
use crate::error::Error;
use crate::ticket::TicketId;

/// The connection, in a transaction or not.
pub(super) struct Session {
    connection: SqliteConnection,
    begun: bool,
    wrote: bool,
}

impl Session {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        Self { connection, begun: false, wrote: false }
    }

    /// Runs a statement of the transaction.
    pub(super) async fn write(&mut self, sql: impl SqlSafeStr, values: Values) -> Result<(), Error> {
        self.begin().await?;
        self.wrote = true;
        self.run(sql.into_sql_str(), values).await
    }

    /// What a query of the transaction answers.
    pub(super) async fn rows(
        &mut self,
        sql: impl SqlSafeStr,
        values: Values,
    ) -> Result<Vec<SqliteRow>, Error> {
        self.begin().await?;
        sqlx::query_with(sql, values.0).fetch_all(&mut self.connection).await.map_err(told)
    }

    /// Runs a statement that writes, and answers what it says of it.
    pub(super) async fn returned(
        &mut self,
        sql: impl SqlSafeStr,
        values: Values,
    ) -> Result<Vec<SqliteRow>, Error> {
        self.wrote = true;
        self.rows(sql, values).await
    }

    /// Writes rows of one kind, a statement's worth at a time.
    pub(super) async fn bulk<R: BulkRow>(&mut self, rows: &[R]) -> Result<(), Error> {
        for rows in rows.chunks(shapes::MOST) {
            let mut values = Values::default();
            for row in rows {
                row.bind(&mut values);
            }
            self.write(R::SHAPE.of(rows.len()), values).await?;
        }
        Ok(())
    }

    /// Whether there is anything to commit.
    pub(super) fn has_written(&self) -> bool {
        self.wrote
    }

    /// What was written is on disk when this answers.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        if self.begun {
            self.run("COMMIT".into_sql_str(), Values::default()).await?;
            (self.begun, self.wrote) = (false, false);
        }
        Ok(())
    }

    pub(super) async fn roll_back(&mut self) {
        self.wrote = false;
        if !std::mem::take(&mut self.begun) {
            return;
        }
        // SQLite has rolled back by itself after some errors, and says now that there is nothing to roll back.
        if let Err(error) = sqlx::query("ROLLBACK").execute(&mut self.connection).await {
            tracing::debug!(%error, "roll back");
        }
    }

    async fn begin(&mut self) -> Result<(), Error> {
        if !self.begun {
            self.run("BEGIN IMMEDIATE".into_sql_str(), Values::default()).await?;
            self.begun = true;
        }
        Ok(())
    }

    async fn run(&mut self, sql: SqlStr, values: Values) -> Result<(), Error> {
        let done = sqlx::query_with::<_, SqliteArguments>(sql, values.0).execute(&mut self.connection).await;
        match done {
            Ok(_) => Ok(()),
            Err(error) if is_duplicate(&error) => Err(Error::Exists(TicketId(uuid::Uuid::nil()))),
            Err(error) => Err(told(error)),
        }
    }
}
