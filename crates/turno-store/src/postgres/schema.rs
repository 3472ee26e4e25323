//! The tables, and how older ones become these: a list of steps that only ever grows. They lie in a schema of their own, so
//! that the database may be anybody's.

use sqlx::{Connection, PgConnection, Row};

use super::errors::told;
use crate::error::Error;

/// Step n leads from version n to n + 1.
const STEPS: [&str; 4] = [FIRST, MAPS, QUEUES, ATTEMPT_SEALS];

/// Who has this lock changes tables; gateways that start at the same time wait for each other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('turno.schema', 0))";

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
const QUEUES: &str =
    "CREATE INDEX ticket_queue ON turno.ticket (tenant, method, due_at) WHERE due_at IS NOT NULL";

/// Over what an attempt has failed with. Those that failed before have none.
const ATTEMPT_SEALS: &str = "ALTER TABLE turno.attempt ADD COLUMN seal bytea";

/// Counts are kept in so many rows, so that gateways do not wait for each other's transactions.
pub(super) const SLOTS: i64 = 16;

/// Brings the database to the newest version, in one transaction.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(told)?;
    for sql in [
        LOCK,
        "CREATE SCHEMA IF NOT EXISTS turno",
        "CREATE TABLE IF NOT EXISTS turno.version (number bigint NOT NULL)",
    ] {
        sqlx::raw_sql(sql).execute(&mut *transaction).await.map_err(told)?;
    }
    let found = sqlx::query("SELECT coalesce(max(number), 0) FROM turno.version")
        .fetch_one(&mut *transaction)
        .await
        .map_err(told)?;
    let version: i64 = found.try_get(0).map_err(told)?;
    let known = STEPS.len() as i64;
    if version > known {
        return Err(Error::Unusable(format!(
            "the database was written by a newer Turno (its schema is version {version}, this program knows up to \
             {known}): start that one, or use another database"
        )));
    }
    for (step, number) in STEPS.iter().zip(1_i64..).skip(usize::try_from(version).unwrap_or(0)) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(told)?;
        let sql = "INSERT INTO turno.version (number) VALUES ($1)";
        sqlx::query(sql).bind(number).execute(&mut *transaction).await.map_err(told)?;
    }
    transaction.commit().await.map_err(told)
}
