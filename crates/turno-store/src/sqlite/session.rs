//! The one connection that writes: statements of a transaction, which begins with the first of them. They are run where
//! they are called, on the writer's own thread.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Params, params};

use super::bulk::{BulkRow, Places};
use super::directory::{CACHE, PATIENCE};
use super::errors::{failed, is_duplicate};
use super::presence::Presence;
use super::rows::Found;
use crate::error::Error;
use crate::ticket::TicketId;

/// The connection, in a transaction or not.
pub(super) struct Session {
    connection: Connection,
    presence: Presence,
    begun: bool,
    wrote: bool,
}

/// Each is prepared once, and stays.
const STATEMENTS: usize = 128;

impl Session {
    /// Opens the connection to a database that is there, and of our version.
    pub(super) fn open(database: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(database, flags).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let settings = || {
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "cache_size", CACHE)?;
            connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
            connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)
        };
        settings().map_err(failed)?;
        let presence = Presence::of(database)?;
        Ok(Self { connection, presence, begun: false, wrote: false })
    }

    /// Runs a statement of the transaction.
    pub(super) fn write(&mut self, sql: &str, values: impl Params) -> Result<(), Error> {
        self.begin()?;
        self.wrote = true;
        self.run(sql, values).map_err(refused)
    }

    /// What a query of the transaction answers.
    pub(super) fn rows(&mut self, sql: &str, values: impl Params) -> Result<Vec<Found>, Error> {
        self.begin()?;
        let ask = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(values, |row| Ok(Found::of(row)))?.collect::<Result<Vec<_>, _>>()
        };
        ask().map_err(failed)
    }

    /// Runs a statement that writes, and answers what it says of it.
    pub(super) fn returned(&mut self, sql: &str, values: impl Params) -> Result<Vec<Found>, Error> {
        self.wrote = true;
        self.rows(sql, values)
    }

    /// Writes rows of one kind.
    pub(super) fn bulk<R: BulkRow>(&mut self, rows: &[R]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.wrote = true;
        let write = || {
            let mut statement = self.connection.prepare_cached(R::SQL)?;
            for row in rows {
                let mut places = Places::of(&mut statement);
                row.bind(&mut places);
                places.filled()?;
                statement.raw_execute()?;
            }
            Ok(())
        };
        write().map_err(refused)
    }

    /// Whether there is anything to commit.
    pub(super) fn has_written(&self) -> bool {
        self.wrote
    }

    /// What was written is on disk when this answers.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        if self.wrote {
            self.presence.check()?;
        }
        if self.begun {
            self.run("COMMIT", params![]).map_err(failed)?;
            (self.begun, self.wrote) = (false, false);
        }
        Ok(())
    }

    pub(super) fn roll_back(&mut self) {
        self.wrote = false;
        if !std::mem::take(&mut self.begun) {
            return;
        }
        // SQLite has rolled back by itself after some errors, and says now that there is nothing to roll back.
        if let Err(error) = self.run("ROLLBACK", params![]) {
            tracing::debug!(%error, "roll back");
        }
    }

    /// How long the database is with what is in its log, and how much of that are pages that nothing is in: in bytes.
    pub(super) fn pages(&self) -> Result<(u64, u64), Error> {
        let number = |sql| self.connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
        let pages = || {
            let size = number("PRAGMA page_size")?.unsigned_abs();
            let all = number("PRAGMA page_count")?.unsigned_abs();
            let unused = number("PRAGMA freelist_count")?.unsigned_abs();
            Ok((all.saturating_mul(size), unused.saturating_mul(size)))
        };
        pages().map_err(failed)
    }

    /// Takes the log into the database, and empties it where nobody reads in it. Waits for nobody, and is not for within a
    /// transaction.
    pub(super) fn take_in_log(&self) -> Result<(), Error> {
        let take_in = || {
            self.connection.busy_timeout(Duration::ZERO)?;
            let taken = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", params![], |_| Ok(()));
            self.connection.busy_timeout(PATIENCE)?;
            taken
        };
        take_in().map_err(failed)
    }

    /// How many steps of SQLite's machine a query has taken so far.
    #[cfg(test)]
    pub(super) fn steps(&self, sql: &str) -> rusqlite::Result<i32> {
        Ok(self.connection.prepare_cached(sql)?.get_status(rusqlite::StatementStatus::VmStep))
    }

    fn begin(&mut self) -> Result<(), Error> {
        if !self.begun {
            self.run("BEGIN IMMEDIATE", params![]).map_err(failed)?;
            self.begun = true;
        }
        Ok(())
    }

    fn run(&self, sql: &str, values: impl Params) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(values).map(drop)
    }
}

fn refused(error: rusqlite::Error) -> Error {
    if is_duplicate(&error) { Error::Exists(TicketId(uuid::Uuid::nil())) } else { failed(error) }
}
