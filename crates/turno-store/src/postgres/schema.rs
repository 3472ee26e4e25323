//! The tables, and how older ones become these: a list of steps that only ever grows. They lie in a schema of their own, so
//! that the database may be anybody's.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::errors::told;
use crate::error::Error;

/// What leads from one version to the next. Other gateways work with the tables meanwhile.
enum Step {
    /// Takes no time, once nobody else has a lock on them: it changes one table that there was before, at most. Who reads one
    /// holds up nobody, be it all of one, which takes its time (`METHODS`).
    Tables(&'static str),
    /// An index over all that there is: that takes its time.
    Index { name: &'static str, over: &'static str },
}

/// Step n leads from version n to n + 1.
const STEPS: [Step; 5] =
    [Step::Tables(FIRST), Step::Tables(MAPS), QUEUES, Step::Tables(ATTEMPT_SEALS), Step::Tables(METHODS)];

/// Who has this lock changes tables. Who does not get it asks again: if it waited in the server, the building of an index would
/// wait for its statement, and its statement for the index.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('turno.schema', 0))";
const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtextextended('turno.schema', 0))";

/// How long a gateway waits for another one that changes tables.
const PATIENCE: Duration = Duration::from_secs(600);

/// Before the lock is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long a lock on a table is waited for, try after try. Whoever comes behind such a wait waits too: it is shorter than what
/// gateways leave for a lock. At last it is long enough for an autovacuum, which gives way after a second.
const WAITS: [&str; 8] = ["400ms", "400ms", "400ms", "400ms", "400ms", "400ms", "2s", "2s"];

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// An index is built while others write, and waits for each transaction that is older. That holds up nobody, and a build that
/// is given up begins from nothing.
const INDEX_WAITS: [&str; 2] = ["10min", "10min"];

/// Who is in the way: with a lock on one of the tables if anybody has, and for the longest time. Of other roles' processes the
/// time is not told.
const IN_THE_WAY: &str = "
SELECT concat('process ', a.pid, ' (', a.application_name, ')', ' with a lock on turno.' || c.relname)
FROM pg_stat_activity a
LEFT JOIN (pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relkind = 'r' AND c.relnamespace = to_regnamespace('turno'))
    ON l.pid = a.pid AND l.database = a.datid AND l.granted
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (a.xact_start IS NOT NULL OR l.pid IS NOT NULL)
ORDER BY l.relation IS NULL, a.xact_start NULLS FIRST LIMIT 1";

/// One row a ticket, as in the embedded store. Bodies are not compressed: that costs more than the disk does.
const FIRST: &str = "
CREATE TABLE turno.ticket (
    id uuid PRIMARY KEY,
    state text NOT NULL,
    method text NOT NULL,
    tenant text NOT NULL,
    labels jsonb,
    key text,
    attempts bigint NOT NULL,
    failures bigint NOT NULL DEFAULT 0,
    retries bigint NOT NULL,
    submitted_at bigint NOT NULL,
    not_before bigint,
    due_at bigint,
    began_at bigint,
    ended_at bigint,
    expires_at bigint,
    timeout_ms bigint,
    keep_ms bigint NOT NULL,
    gateway uuid,
    cancel_requested boolean NOT NULL DEFAULT false,
    delete_requested boolean NOT NULL DEFAULT false,
    progress_done bigint NOT NULL DEFAULT 0,
    progress_total bigint NOT NULL DEFAULT 0,
    progress_note text NOT NULL DEFAULT '',
    failure_code bigint,
    failure_message text,
    failure_details bytea,
    redrive_of uuid,
    redriven_as uuid,
    request_bytes bigint NOT NULL,
    request_seal bytea NOT NULL,
    request_body uuid,
    response_bytes bigint NOT NULL DEFAULT 0,
    response_seal bytea,
    response_body uuid,
    metadata bytea,
    request bytea,
    response bytea
);
ALTER TABLE turno.ticket ALTER COLUMN request SET STORAGE EXTERNAL, ALTER COLUMN response SET STORAGE EXTERNAL;
CREATE INDEX ticket_due ON turno.ticket (due_at) WHERE ended_at IS NULL;
CREATE INDEX ticket_expiry ON turno.ticket (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX ticket_trouble ON turno.ticket (state, id) WHERE state IN ('failed', 'cancelled', 'dead');
CREATE TABLE turno.attempt (
    ticket uuid NOT NULL,
    number bigint NOT NULL,
    began_at bigint NOT NULL,
    ended_at bigint NOT NULL,
    code bigint NOT NULL,
    message text NOT NULL,
    details bytea,
    PRIMARY KEY (ticket, number)
);
CREATE TABLE turno.idempotency (
    tenant text NOT NULL,
    key text NOT NULL,
    ticket uuid NOT NULL,
    demand bytea NOT NULL,
    remembered_until bigint,
    method text NOT NULL,
    state text,
    submitted_at bigint NOT NULL,
    ended_at bigint,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_end ON turno.idempotency (remembered_until) WHERE remembered_until IS NOT NULL;
CREATE TABLE turno.piece (
    body uuid NOT NULL,
    number bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (body, number)
);
ALTER TABLE turno.piece ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE turno.unfinished_body (body uuid PRIMARY KEY, began_at bigint NOT NULL);
CREATE TABLE turno.gateway (id uuid PRIMARY KEY, until bigint NOT NULL);
CREATE TABLE turno.total (
    slot bigint PRIMARY KEY,
    waiting bigint NOT NULL DEFAULT 0,
    running bigint NOT NULL DEFAULT 0,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO turno.total (slot) SELECT generate_series(0, 15);
";

/// Maps: how many parts of inputs they have, and the parts. Logs that nobody needs any more are listed in
/// `unfinished_body`.
const MAPS: &str = "
ALTER TABLE turno.ticket ADD COLUMN parts bigint, ADD COLUMN items bigint;
CREATE TABLE turno.part (
    ticket uuid NOT NULL,
    log text NOT NULL,
    number bigint NOT NULL,
    head bytea,
    bytes bigint NOT NULL,
    seal bytea NOT NULL,
    body uuid,
    data bytea,
    PRIMARY KEY (ticket, log, number)
);
ALTER TABLE turno.part ALTER COLUMN head SET STORAGE EXTERNAL, ALTER COLUMN data SET STORAGE EXTERNAL;
";

/// What waits, by whose and for what: so that a long queue can be passed over. What runs at once never stands here.
const QUEUES: Step = Step::Index {
    name: "ticket_queue",
    over: "turno.ticket (tenant, method, due_at) WHERE due_at IS NOT NULL",
};

/// Over what an attempt has failed with. Those that failed before have none.
const ATTEMPT_SEALS: &str = "ALTER TABLE turno.attempt ADD COLUMN seal bytea";

/// The methods that tickets were submitted for, be it that these are gone: an index over all tickets would cost each of them.
const METHODS: &str = "
SET LOCAL enable_seqscan = on;
CREATE TABLE turno.method (name text PRIMARY KEY);
INSERT INTO turno.method SELECT method FROM turno.ticket UNION SELECT method FROM turno.idempotency;
";

/// Counts are kept in so many rows, so that gateways do not wait for each other's transactions.
pub(super) const SLOTS: i64 = 16;

/// Brings the database to the newest version; one gateway at a time does.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), Error> {
    if version(connection).await? == STEPS.len() {
        return Ok(());
    }
    let locked = tokio::time::timeout(PATIENCE, lock(connection)).await;
    locked.map_err(|_| {
        Error::Unusable(
            "another gateway has been changing its tables for ten minutes (it builds an index, or waits for somebody's \
             transaction to end): start this one again when that one has begun to serve"
                .into(),
        )
    })??;
    sqlx::raw_sql("SET statement_timeout = 0").execute(&mut *connection).await.map_err(told)?;
    // Another may have done it meanwhile.
    match version(connection).await? {
        0 => make(connection, &STEPS).await?,
        version => {
            for (step, number) in STEPS.iter().zip(1_i64..).skip(version) {
                tracing::info!(version = number, "the tables of tickets are changed");
                patiently(connection, step, number).await?;
            }
        }
    }
    // If anything has failed, the connection ends, and the lock with it.
    sqlx::raw_sql(UNLOCK).execute(&mut *connection).await.map(|_| ()).map_err(told)
}

/// 0 where there are no tables.
async fn version(connection: &mut PgConnection) -> Result<usize, Error> {
    let sql = "SELECT to_regclass('turno.version') IS NULL";
    if sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut *connection).await.map_err(told)? {
        return Ok(0);
    }
    let sql = "SELECT coalesce(max(number), 0) FROM turno.version";
    let version = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *connection).await.map_err(told)?;
    let known = STEPS.len();
    usize::try_from(version).ok().filter(|version| *version <= known).ok_or_else(|| {
        Error::Unusable(format!(
            "the database was written by a newer Turno (its schema is version {version}, this program knows up to \
             {known}): start that one, or use another database"
        ))
    })
}

async fn lock(connection: &mut PgConnection) -> Result<(), Error> {
    while !sqlx::query_scalar::<_, bool>(TRY_LOCK).fetch_one(&mut *connection).await.map_err(told)? {
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(())
}

/// Takes all of `steps` where there are no tables yet, in one transaction: nobody works with them, and they are empty.
async fn make(connection: &mut PgConnection, steps: &[Step]) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(told)?;
    for sql in [
        "CREATE SCHEMA IF NOT EXISTS turno",
        "CREATE TABLE IF NOT EXISTS turno.version (number bigint NOT NULL)",
    ] {
        sqlx::raw_sql(sql).execute(&mut *transaction).await.map_err(told)?;
    }
    for (step, number) in steps.iter().zip(1_i64..) {
        let sql = match step {
            Step::Tables(sql) => (*sql).to_owned(),
            Step::Index { name, over } => format!("CREATE INDEX {name} ON {over}"),
        };
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.map_err(told)?;
        mark(&mut transaction, number).await?;
    }
    transaction.commit().await.map_err(told)
}

/// Takes a step, to version `number`, as often as it makes sense while somebody is in the way.
async fn patiently(connection: &mut PgConnection, step: &Step, number: i64) -> Result<(), Error> {
    let waits: &[&str] = match step {
        Step::Tables(_) => &WAITS,
        Step::Index { .. } => &INDEX_WAITS,
    };
    for wait in waits {
        match take(connection, step, number, wait).await {
            // Nothing is changed, or an index is half built.
            Err(Error::Late(_) | Error::Contended) => tokio::time::sleep(PAUSE).await,
            taken => return taken,
        }
    }
    let who = sqlx::query_scalar::<_, String>(IN_THE_WAY).fetch_optional(&mut *connection).await;
    let who = who.map_err(told)?.unwrap_or_else(|| "somebody who has gone meanwhile".to_owned());
    Err(Error::Unusable(format!(
        "its tables cannot be changed to those of version {number}, for somebody's transaction is in the way: {who}. \
         Gateways that run already go on; start this one again when that has ended"
    )))
}

/// A step, and that it is taken: in one transaction if it is not the building of an index.
async fn take(connection: &mut PgConnection, step: &Step, number: i64, wait: &str) -> Result<(), Error> {
    let sql = "SELECT set_config('lock_timeout', $1, false)";
    sqlx::query(sql).bind(wait).execute(&mut *connection).await.map_err(told)?;
    if let Step::Index { name, over } = step {
        build(connection, name, over).await?;
    }
    let mut transaction = connection.begin().await.map_err(told)?;
    if let Step::Tables(sql) = step {
        sqlx::raw_sql(*sql).execute(&mut *transaction).await.map_err(told)?;
    }
    mark(&mut transaction, number).await?;
    transaction.commit().await.map_err(told)
}

/// Builds an index while others write. What was left half built, by a process that ended, is of no use.
async fn build(connection: &mut PgConnection, name: &str, over: &str) -> Result<(), Error> {
    let sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
    let found = sqlx::query_scalar::<_, bool>(sql).bind(format!("turno.{name}"));
    match found.fetch_optional(&mut *connection).await.map_err(told)? {
        Some(true) => return Ok(()),
        Some(false) => {
            let sql = AssertSqlSafe(format!("DROP INDEX CONCURRENTLY turno.{name}"));
            sqlx::raw_sql(sql).execute(&mut *connection).await.map_err(told)?;
        }
        None => {}
    }
    let sql = AssertSqlSafe(format!("CREATE INDEX CONCURRENTLY {name} ON {over}"));
    sqlx::raw_sql(sql).execute(&mut *connection).await.map(|_| ()).map_err(told)
}

/// Remembers that the step to version `number` is taken.
async fn mark(transaction: &mut PgConnection, number: i64) -> Result<(), Error> {
    let sql = "INSERT INTO turno.version (number) VALUES ($1)";
    sqlx::query(sql).bind(number).execute(&mut *transaction).await.map(|_| ()).map_err(told)
}

#[cfg(test)]
mod tests;
