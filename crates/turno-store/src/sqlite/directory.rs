//! Opens a data directory: one process at a time, a database that is whole and of a version that we know, and everything
//! that was under way due again.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection as _, Row, SqliteConnection};
use turno_runtime::task;

use super::disk::{self, Files};
use super::errors::told;
use super::mark::Mark;
use super::session::Session;
use super::{log, saved, schema};
use crate::batch::millis;
use crate::error::Error;

/// The database's name in the data directory.
const DATABASE: &str = "tickets.sqlite3";

/// What its files begin with, and those that people make of it.
const OURS: &str = "tickets.";

/// SQLite's write-ahead log beside it.
const LOG: &str = "tickets.sqlite3-wal";

/// Up to so many bytes a database is looked into when it is opened, indexes and all: half a second.
const LOOKED_INTO: u64 = 64 * 1024 * 1024;

/// Up to so many, its pages are looked over.
const LOOKED_OVER: u64 = 512 * 1024 * 1024;

/// Whoever has it locked has the directory. What is in it, `mark.rs` says. The lock is the system's and ends with the process, however that ends.
pub(super) const LOCK: &str = "tickets.lock";

/// Connections for reading.
const READERS: u32 = 2;

/// How long a person's transaction in the same database may hold ours up.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Of pages that a connection has read or written, in KiB (below zero, as SQLite wants it). Where a tree was balanced in a
/// transaction, SQLite looks through the whole of it at the end, for pages that were numbered anew.
pub(super) const CACHE: i64 = -8192;

/// One that is just ending gets a second to do so.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// What an open directory consists of.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) files: Files,
    /// The highest number that a ticket has, or zero.
    pub(super) last: i64,
    pub(super) readers: SqlitePool,
    pub(super) mark: Mark,
}

/// Opens `directory`, and makes it if it is not there.
pub(super) async fn open(directory: &Path) -> Result<Opened, Error> {
    let lock = lock(directory).await?;
    let database = directory.join(DATABASE);
    let (log, length) = (directory.join(LOG), disk::length(&database));
    if length == 0 {
        begins_anew(directory, &lock).map_err(|error| unusable(&database, error))?;
    }
    let files = Files::new(directory, database.clone(), log.clone());
    task::run_blocking("turno.store.log", move || log::check(&log)).await?;
    let mut writer = options(&database).connect().await.map_err(|error| unusable(&database, told(error)))?;
    prepare(&mut writer, length, written(&lock)).await.map_err(|error| unusable(&database, error))?;
    let mark = mark(&mut writer, lock, directory).await.map_err(|error| unusable(&database, error))?;
    let last = last(&mut writer).await.map_err(|error| unusable(&database, error))?;
    let path = database.clone();
    let session = task::run_blocking("turno.store.open", move || Session::open(&path)).await;
    let session = session.map_err(|error| unusable(&database, error))?;
    // While there is another connection: closing the last one takes all of the log into the database.
    writer.close().await.map_err(|error| unusable(&database, told(error)))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .connect_with(options(&database).pragma("query_only", "1"))
        .await
        .map_err(|error| unusable(&database, told(error)))?;
    Ok(Opened { session, files, last, readers, mark })
}

async fn lock(directory: &Path) -> Result<File, Error> {
    let trouble = |what: &str, error: std::io::Error| {
        Error::Unusable(format!("the data directory {} {what}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(|error| trouble("cannot be made", error))?;
    let path = directory.join(LOCK);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
    let file = file.map_err(|error| trouble("cannot be written", error))?;
    for _try in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(trouble("cannot be locked", error)),
        }
    }
    Err(Error::Unusable(format!(
        "the data directory {} is in use by another process: each gateway needs one of its own, or all of them a \
         PostgreSQL",
        directory.display()
    )))
}

/// There is no database: SQLite is about to make one, and to delete a log that it finds. Whoever has taken another one away
/// has to know that its tickets are not in this one.
fn begins_anew(directory: &Path, lock: &File) -> Result<(), Error> {
    Mark::check(lock, &directory.join(LOCK), 0)?;
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left: Vec<_> =
        names.filter(|name| name.starts_with(OURS) && name != LOCK && name != DATABASE).collect();
    if !left.is_empty() {
        tracing::warn!(
            directory = %directory.display(),
            ?left,
            "a new store of tickets is begun where there was one: none of its tickets are in this one"
        );
    }
    Ok(())
}

fn options(database: &PathBuf) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE)
        .pragma("cache_size", CACHE.to_string())
        .disable_statement_logging()
}

/// What was under way when the last process ended is due: with one process at a time, nobody runs it any more.
const LEFT: &str = "UPDATE ticket SET due_at = max(min(began_at, ?1), coalesce(not_before, 0)) \
    WHERE ended_at IS NULL AND due_at IS NULL";

/// The clock was set back since then: what waits for a time that somebody has named waits for that, and nothing for the clock.
/// That it was ahead is told by when the ticket came, or its last attempt began, or failed: of one that was given back nobody
/// knows when. It reads the row of every ticket that is due later.
const SET_BACK: &str = "UPDATE ticket SET due_at = max(?1, coalesce(not_before, 0)) \
    WHERE ended_at IS NULL AND due_at > ?1 AND (coalesce(began_at, submitted_at) > ?1 OR \
    (SELECT a.ended_at FROM attempt AS a WHERE a.ticket = ticket.seq AND a.number = ticket.attempts) > ?1)";

/// Looks at the database, brings it to our version, and makes due what has to be. `written`: when the last change was.
async fn prepare(writer: &mut SqliteConnection, length: u64, written: i64) -> Result<(), Error> {
    look(writer, length).await?;
    take_in_log(writer).await?;
    schema::migrate(writer).await?;
    saved::put_in_order(writer).await?;
    let now = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    sqlx::query(LEFT).bind(now).execute(&mut *writer).await.map_err(told)?;
    // A power cut, or who copies files, may leave the wrong time with them.
    if written.max(submitted(writer).await?) > now {
        sqlx::query(SET_BACK).bind(now).execute(&mut *writer).await.map_err(told)?;
    }
    let sql = "UPDATE unfinished_body SET began_at = 0";
    sqlx::query(sql).execute(writer).await.map(|_| ()).map_err(told)
}

/// A log that is all in the database begins anew, in the space that it has: on a full disk there is no other. Where the database
/// cannot grow for that there may be nothing to write now, and it goes on when there is space.
async fn take_in_log(writer: &mut SqliteConnection) -> Result<(), Error> {
    let taken = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(writer).await.map_err(told);
    match taken {
        Ok(_) | Err(Error::Full) => Ok(()),
        Err(error) => Err(error),
    }
}

/// When the last change was, by the clock of then: the mark is written after each. Zero where nobody knows.
fn written(lock: &File) -> i64 {
    let at = lock.metadata().and_then(|file| file.modified()).ok();
    at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, millis)
}

/// When the newest ticket came, or zero.
async fn submitted(writer: &mut SqliteConnection) -> Result<i64, Error> {
    let sql = "SELECT coalesce((SELECT submitted_at FROM ticket ORDER BY seq DESC LIMIT 1), 0)";
    schema::number(writer, sql).await
}

/// The highest number that a ticket has, or zero.
async fn last(writer: &mut SqliteConnection) -> Result<i64, Error> {
    schema::number(writer, "SELECT coalesce(max(seq), 0) FROM ticket").await
}

/// What was acknowledged must be there.
async fn mark(writer: &mut SqliteConnection, lock: File, directory: &Path) -> Result<Mark, Error> {
    let commits = schema::number(writer, "SELECT commits FROM total").await?;
    Mark::new(lock, &directory.join(LOCK), commits)
}

/// Looks for damage, as far as it takes no longer than a person waits.
async fn look(writer: &mut SqliteConnection, length: u64) -> Result<(), Error> {
    if length > LOOKED_OVER {
        return Ok(());
    }
    let sql = if length > LOOKED_INTO { "PRAGMA quick_check(1)" } else { "PRAGMA integrity_check(1)" };
    let row = sqlx::query(sql).fetch_one(writer).await.map_err(told)?;
    match row.try_get::<&str, _>(0).map_err(told)? {
        "ok" => Ok(()),
        damage => Err(super::errors::damaged(damage)),
    }
}

/// Names the database in what is said of it.
fn unusable(database: &Path, error: Error) -> Error {
    let why = match error {
        Error::Full => full(&database.with_file_name(LOG)),
        error => error.to_string(),
    };
    Error::Unusable(format!("{}: {why}", database.display()))
}

/// What the log has is the most that has to go into the database.
fn full(log: &Path) -> String {
    let mib = disk::length(log) / (1024 * 1024) + 1;
    format!(
        "its disk is full: make {mib} MiB of room there and start again, or open another directory meanwhile. Once it is \
         open, tickets that are deleted or whose time is over make room for others"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{DATABASE, LOCK, open};
    use crate::error::Error;
    use crate::refused::tests::Warnings;

    /// What the log is warned of while `directory` is opened.
    async fn warned(directory: &Path) -> Vec<String> {
        let warnings = Warnings::default();
        let _heard = tracing::subscriber::set_default(warnings.clone());
        drop(open(directory).await.unwrap());
        warnings.lines()
    }

    #[tokio::test]
    async fn a_new_store_is_not_begun_without_a_word_where_there_was_one() {
        let (new, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for _time in 0..2 {
            assert!(warned(new.path()).await.is_empty());
        }
        fs::write(old.path().join("tickets.damaged"), b"what was there").unwrap();
        let lines = warned(old.path()).await;
        assert!(lines.len() == 1 && lines[0].contains("tickets.damaged"), "{lines:?}");
        assert!(warned(old.path()).await.is_empty(), "it is there now");
    }

    #[tokio::test]
    async fn a_new_store_is_not_begun_while_the_mark_knows_of_another() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(LOCK), 7_i64.to_le_bytes()).unwrap();
        let Err(Error::Unusable(why)) = open(place.path()).await.map(|_| ()) else { panic!("opened") };
        assert!(why.contains("7 transactions") && why.contains("moved away"), "{why}");
        assert!(!place.path().join(DATABASE).exists(), "what is there is as it was");
    }
}
