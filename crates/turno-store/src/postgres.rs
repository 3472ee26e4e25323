//! The shared store: PostgreSQL, for several gateways. The same book and the same group commit as the embedded one; who
//! holds what, and whose leases last, is in the database, by its clock.

mod bulk;
mod connections;
mod errors;
mod notices;
mod rack;
mod reader;
mod rows;
mod schema;
#[cfg(test)]
#[path = "../tests/suite/server.rs"]
#[allow(dead_code, reason = "the conformance suite needs all of it")]
mod server;
mod session;
mod tables;

use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Row};
use tokio_util::task::AbortOnDropHandle;
use turno_runtime::task;
use uuid::Uuid;

use crate::book::Book;
use crate::error::Error;
use crate::group::Writer;
use crate::kept::Kept;
use connections::Connections;
use errors::told;
use notices::Notices;
use rack::Rack;
use reader::Reader;

/// Of what is written. What is late is tried twice, with the others and by itself (`group.rs`): both together take less than
/// a lease.
const LIMITS: [(&str, &str); 2] = [("lock_timeout", "500ms"), ("statement_timeout", "4s")];

/// Opens the store at `url`, and makes its tables if there are none.
pub(crate) async fn open(url: &str) -> Result<Kept<Reader>, Error> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| {
            Error::Unusable(format!("the address of the store is not one of PostgreSQL: {error}"))
        })?
        .application_name("turno")
        // It takes statements over many rows for long ones, and spends 10 ms on compiling what runs for less than one.
        // And a table that has just been made for an empty one, until autovacuum has looked at it, a minute later or more:
        // by then each claim has read some ten thousand rows from the first to the last.
        .options([("jit", "off"), ("enable_seqscan", "off")])
        .disable_statement_logging();
    let whom = format!(
        "{}:{}/{}",
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or_default()
    );
    prepare(&options).await.map_err(|error| named(&whom, error))?;
    let connections = Connections::new(options.clone());
    let (own, notices) = (Uuid::now_v7(), Notices::default());
    let listening = task::spawn("turno.store.notices", notices.clone().listen(connections.pool.clone(), own));
    let writer = Writer::start("turno.store.postgres", Book::new(Rack::new(options.options(LIMITS), own)));
    let reader = Reader { connections, notices, _listening: Arc::new(AbortOnDropHandle::new(listening)) };
    Ok(Kept { writer, reader })
}

async fn prepare(options: &PgConnectOptions) -> Result<(), Error> {
    let mut connection = options.connect().await.map_err(told)?;
    schema::migrate(&mut connection).await?;
    let row = sqlx::query("SHOW fsync").fetch_one(&mut connection).await.map_err(told)?;
    if row.try_get::<&str, _>(0).is_ok_and(|fsync| fsync == "off") {
        tracing::warn!("this PostgreSQL has fsync off: a power cut loses what was acknowledged");
    }
    Ok(())
}

/// Names the database in what is said of it.
fn named(whom: &str, error: Error) -> Error {
    match error {
        Error::Full => Error::Full,
        Error::Unusable(why) => Error::Unusable(format!("the store at {whom}: {why}")),
        error => Error::Unusable(format!("the store at {whom} cannot be opened: {error}")),
    }
}
