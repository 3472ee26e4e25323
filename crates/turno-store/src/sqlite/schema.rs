//! The tables, and how older ones become these: a list of steps that only ever grows.

use sqlx::{Connection, Row, SqliteConnection};

use crate::error::Error;

/// Step n leads from version n to n + 1; the database's version is `PRAGMA user_version`.
const STEPS: [&str; 7] = [FIRST, COMMITS, MAPS, TROUBLE, QUEUES, ATTEMPT_SEALS, METHODS];

/// What the last step leads to.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// "Trno": what `file(1)` and we know our databases by.
const APPLICATION: i64 = 0x5472_6e6f;

/// One row a ticket. What a person asks about comes first, what is long last: SQLite reads a row from its beginning.
/// `due_at` is empty while somebody holds the ticket and when it has ended.
const FIRST: &str = "
CREATE TABLE ticket (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    method TEXT NOT NULL,
    tenant TEXT NOT NULL,
    labels TEXT,
    key TEXT,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    not_before INTEGER,
    due_at INTEGER,
    began_at INTEGER,
    ended_at INTEGER,
    expires_at INTEGER,
    timeout_ms INTEGER,
    keep_ms INTEGER NOT NULL,
    gateway TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    delete_requested INTEGER NOT NULL DEFAULT 0,
    progress_done INTEGER NOT NULL DEFAULT 0,
    progress_total INTEGER NOT NULL DEFAULT 0,
    progress_note TEXT NOT NULL DEFAULT '',
    failure_code INTEGER,
    failure_message TEXT,
    failure_details BLOB,
    redrive_of TEXT,
    redriven_as TEXT,
    request_bytes INTEGER NOT NULL,
    request_seal BLOB NOT NULL,
    request_body TEXT,
    response_bytes INTEGER NOT NULL DEFAULT 0,
    response_seal BLOB,
    response_body TEXT,
    metadata BLOB,
    request BLOB,
    response BLOB
) STRICT;
CREATE INDEX ticket_due ON ticket (due_at) WHERE ended_at IS NULL;
CREATE INDEX ticket_expiry ON ticket (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX ticket_trouble ON ticket (state, id) WHERE state IN ('failed', 'cancelled', 'dead');
CREATE TABLE attempt (
    ticket INTEGER NOT NULL,
    number INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    code INTEGER NOT NULL,
    message TEXT NOT NULL,
    details BLOB,
    PRIMARY KEY (ticket, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    ticket TEXT NOT NULL,
    demand BLOB NOT NULL,
    remembered_until INTEGER,
    method TEXT NOT NULL,
    state TEXT,
    submitted_at INTEGER NOT NULL,
    ended_at INTEGER,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_end ON idempotency (remembered_until) WHERE remembered_until IS NOT NULL;
CREATE TABLE piece (
    body TEXT NOT NULL,
    number INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (body, number)
) STRICT;
CREATE TABLE unfinished_body (
    body TEXT PRIMARY KEY,
    began_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE total (
    waiting INTEGER NOT NULL,
    running INTEGER NOT NULL,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    dead INTEGER NOT NULL
) STRICT;
INSERT INTO total VALUES (0, 0, 0, 0, 0, 0);
";

/// How many transactions there have been: the mark beside the database (`mark.rs`) says how many there must be.
const COMMITS: &str = "ALTER TABLE total ADD COLUMN commits INTEGER NOT NULL DEFAULT 0";

/// Maps: how many parts of inputs they have, and the parts. Logs that nobody needs any more are listed in `unfinished_body`.
const MAPS: &str = "
ALTER TABLE ticket ADD COLUMN parts INTEGER;
ALTER TABLE ticket ADD COLUMN items INTEGER;
CREATE TABLE part (
    ticket TEXT NOT NULL,
    log TEXT NOT NULL,
    number INTEGER NOT NULL,
    head BLOB,
    bytes INTEGER NOT NULL,
    seal BLOB NOT NULL,
    body TEXT,
    data BLOB,
    UNIQUE (ticket, log, number)
) STRICT;
";

/// For a list of three in an index's condition SQLite makes a table, at each insert and each update: a fifth of the whole.
const TROUBLE: &str = "
DROP INDEX ticket_trouble;
CREATE INDEX ticket_trouble ON ticket (state, id) WHERE ended_at IS NOT NULL AND state <> 'done';
";

/// What waits, by whose and for what: so that a long queue can be passed over. What runs at once never stands here.
const QUEUES: &str = "CREATE INDEX ticket_queue ON ticket (tenant, method, due_at) WHERE due_at IS NOT NULL";

/// Over what an attempt has failed with. Those that failed before have none.
const ATTEMPT_SEALS: &str = "ALTER TABLE attempt ADD COLUMN seal BLOB";

/// The methods that tickets were submitted for, be it that these are gone: an index over all tickets would cost each of them.
const METHODS: &str = "
CREATE TABLE method (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
INSERT INTO method SELECT method FROM ticket UNION SELECT method FROM idempotency;
";

/// Brings the database to the newest version, each step in a transaction.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), Error> {
    let version = number(connection, "PRAGMA user_version").await?;
    let application = number(connection, "PRAGMA application_id").await?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").await?;
    let tickets = number(connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'ticket'").await?;
    if version == 0 && tickets > 0 && [0, APPLICATION].contains(&application) {
        return Err(Error::Unusable(format!(
            "the database has tickets and no version, as one that was put together from a dump: give it the version of the \
             gateway that wrote it; if that was one like this, run in its directory `sqlite3 tickets.sqlite3 '{}'`",
            marks(VERSION)
        )));
    }
    if application != APPLICATION && (tables > 0 || version > 0) {
        return Err(Error::Unusable("the database is not one of Turno's tickets".into()));
    }
    if version > VERSION {
        return Err(Error::Unusable(format!(
            "the database was written by a newer Turno (its schema is version {version}, this program knows up to \
             {VERSION}): start that one, or open another directory"
        )));
    }
    for (step, version) in STEPS.iter().zip(1_i64..).skip(usize::try_from(version).unwrap_or(0)) {
        apply(connection, step, version).await?;
    }
    Ok(())
}

async fn apply(connection: &mut SqliteConnection, step: &'static str, version: i64) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(super::errors::told)?;
    sqlx::raw_sql(step).execute(&mut *transaction).await.map_err(super::errors::told)?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(marks(version)))
        .execute(&mut *transaction)
        .await
        .map_err(super::errors::told)?;
    transaction.commit().await.map_err(super::errors::told)
}

/// Says whose a database is, and its version.
pub(super) fn marks(version: i64) -> String {
    format!("PRAGMA application_id={APPLICATION}; PRAGMA user_version={version}")
}

/// The number that a query answers.
pub(super) async fn number(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, Error> {
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(super::errors::told)?;
    row.try_get(0).map_err(super::errors::told)
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

    use super::{STEPS, apply};
    use crate::{Error, Query, State, TicketId};

    async fn database(directory: &std::path::Path, version: usize) -> SqliteConnection {
        let path = directory.join("tickets.sqlite3");
        let mut connection =
            SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap();
        for (step, version) in STEPS.iter().zip(1..).take(version) {
            apply(&mut connection, step, version).await.unwrap();
        }
        connection
    }

    #[tokio::test]
    async fn every_older_database_becomes_this_one() {
        for version in 1..STEPS.len() {
            let directory = tempfile::tempdir().unwrap();
            let mut old = database(directory.path(), version).await;
            let dead = TicketId::new();
            let sql = "INSERT INTO ticket (id, state, method, tenant, attempts, retries, submitted_at, ended_at, keep_ms, \
                       request_bytes, request_seal, failure_code, failure_message) \
                       VALUES (?, 'dead', 'a.B/C', 'me', 1, 0, 5, 6, 1000, 0, x'00', 14, 'burnt')";
            let inserted = sqlx::query(sql).bind(dead.to_string()).execute(&mut old).await.unwrap();
            let sql = "INSERT INTO attempt (ticket, number, began_at, ended_at, code, message) \
                       VALUES (?, 1, 5, 6, 14, 'burnt')";
            sqlx::query(sql).bind(inserted.last_insert_rowid()).execute(&mut old).await.unwrap();
            old.close().await.unwrap();
            let store = crate::open(directory.path().to_str().unwrap()).await.unwrap();
            let query = Query { states: vec![State::Dead], most: 10, ..Query::default() };
            let found = store.list(&query).await.unwrap().tickets;
            assert_eq!(found.iter().map(|ticket| ticket.id).collect::<Vec<_>>(), [dead], "{version}");
            let failure = found[0].failure.as_ref().expect("it was not sealed then");
            assert_eq!((failure.code, failure.message.as_str()), (14, "burnt"), "{version}");
            let attempts = store.attempts(dead).await.unwrap();
            assert_eq!(attempts.iter().map(|one| &one.failure).collect::<Vec<_>>(), [failure], "{version}");
            assert!(store.knows_method("a.B/C").await.unwrap(), "{version}");
        }
    }

    #[tokio::test]
    async fn a_database_that_has_lost_its_version_is_not_taken_for_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let address = directory.path().to_str().unwrap();
        let mut person = database(directory.path(), STEPS.len()).await;
        // As a dump leaves it, and as one does that knows whose it is.
        for lost in ["PRAGMA user_version = 0; PRAGMA application_id = 0", "PRAGMA user_version = 0"] {
            sqlx::raw_sql(lost).execute(&mut person).await.unwrap();
            let refused = crate::open(address).await.err().unwrap();
            let Error::Unusable(why) = &refused else { panic!("{refused}") };
            assert!(why.contains("no version"), "{why}");
            let said = why.split('\'').nth(1).unwrap().to_owned();
            sqlx::raw_sql(sqlx::AssertSqlSafe(said)).execute(&mut person).await.unwrap();
            crate::open(address).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_newer_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut newer = database(directory.path(), STEPS.len()).await;
        sqlx::query("PRAGMA user_version = 99").execute(&mut newer).await.unwrap();
        newer.close().await.unwrap();
        let refused = crate::open(directory.path().to_str().unwrap()).await.err().unwrap();
        assert!(matches!(&refused, Error::Unusable(why) if why.contains("newer Turno")), "{refused}");
    }
}
