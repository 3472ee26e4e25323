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
use turno_runtime::units::Rounded;
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
use session::{PATIENCE, Session};

/// Of what is written. What is late is tried twice, with the others and by itself (`group.rs`): both together take less than
/// a lease.
const LIMITS: [(&str, &str); 2] = [("lock_timeout", "500ms"), ("statement_timeout", "4s")];

/// What nearly always is wrong with an address. No more is said of it: what follows `//` may be a part of the password.
const ENCODED: &str = "what its user, password and database have of / ? # @ and % has to be percent-encoded (/ as %2F, ? as %3F, \
                       # as %23, @ as %40, % as %25)";

/// Parameters of an address, which may have an `@` as it is. Others are not known to sqlx, or have no use for one.
const MAY_HAVE_AT: [&str; 12] = [
    "user",
    "password",
    "dbname",
    "application_name",
    "options",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
];

/// Opens the store at `url`, and makes its tables if there are none.
pub(crate) async fn open(url: &str) -> Result<Kept<Reader>, Error> {
    let options = address(url)?
        .application_name("turno")
        // It takes statements over many rows for long ones, and spends 10 ms on compiling what runs for less than one.
        // And a table that has just been made for an empty one, until autovacuum has looked at it, a minute later or more:
        // by then each claim has read some ten thousand rows from the first to the last.
        .options([("jit", "off"), ("enable_seqscan", "off")])
        .disable_statement_logging();
    let whom = place(&options);
    prepare(&options).await.map_err(|error| named(&whom, error))?;
    let connections = Connections::new(options.clone());
    let (own, notices) = (Uuid::now_v7(), Notices::default());
    let listening = task::spawn("turno.store.notices", notices.clone().listen(connections.clone(), own));
    let session = Session::new(options.options(LIMITS), connections.clone());
    let writer = Writer::start("turno.store.postgres", Book::new(Rack::new(session, own)));
    let reader = Reader { connections, notices, _listening: Arc::new(AbortOnDropHandle::new(listening)) };
    Ok(Kept { writer, reader })
}

/// Where the database is.
fn address(url: &str) -> Result<PgConnectOptions, Error> {
    let not_one = |why: &str| {
        Error::Unusable(format!("the address of the store is not one of PostgreSQL: {why}{ENCODED}"))
    };
    if is_cut_short(url) {
        return Err(not_one(""));
    }
    PgConnectOptions::from_str(url).map_err(|error| not_one(&format!("{error}; ")))
}

/// Whether a sign of the password's, say, has ended what stands before the host: its `@` comes too late, and something else
/// would be taken for the host.
fn is_cut_short(url: &str) -> bool {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let path = place.split_once('/').map_or("", |(_, path)| path);
    let is_stray = |parameter: &str| {
        let name = parameter.split_once('=').map_or("", |(name, _)| name);
        let is_known = MAY_HAVE_AT.contains(&name) || name.starts_with("options[");
        parameter.contains('@') && !is_known
    };
    rest.contains('#') || path.contains('@') || parameters.split('&').any(is_stray)
}

/// The same for people, without user and password.
fn place(options: &PgConnectOptions) -> String {
    let host = options.get_host();
    let host = options.get_socket().map_or_else(|| host.to_owned(), |folder| folder.display().to_string());
    format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
}

async fn prepare(options: &PgConnectOptions) -> Result<(), Error> {
    let connected = tokio::time::timeout(PATIENCE, options.connect()).await;
    let silent = |_| Error::Unavailable(format!("there was no connection within {}", Rounded(PATIENCE)));
    let mut connection = connected.map_err(silent)?.map_err(told)?;
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
        Error::Unavailable(why) => Error::Unusable(format!("the store at {whom} does not answer: {why}")),
        error => Error::Unusable(format!("the store at {whom} cannot be opened: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{ENCODED, address, place};
    use crate::error::Error;

    #[test]
    fn the_database_is_named_as_it_was_given() {
        for (url, named) in [
            ("postgres://rosa:sesame@db:5433/turno?sslmode=disable", "db:5433/turno"),
            ("postgres://rosa@%2Ftmp%2Fsocket:5433/turno", "/tmp/socket:5433/turno"),
            ("postgres:///turno?host=/tmp/socket&port=5433", "/tmp/socket:5433/turno"),
            ("postgres://db:5433/turno?user=rosa@kitchen&password=s@same", "db:5433/turno"),
            ("postgres://db:5433/turno?application_name=turno@host", "db:5433/turno"),
            ("postgres://db:5433/turno?options[search_path]=a@b&sslkey=/keys/a@b", "db:5433/turno"),
            ("postgres://rosa@kitchen:s@same@db:5433/turno", "db:5433/turno"),
            ("postgres://rosa:p%40ss%2Fw%23d@db:5433/turno", "db:5433/turno"),
        ] {
            assert_eq!(place(&address(url).unwrap()), named);
        }
    }

    #[test]
    fn nothing_is_told_of_a_password_that_is_not_encoded() {
        for password in ["p@ss/w#d", "p@ss/wd", "5/word", "5?word", "5#word", "p@ss?w=d", "pa?ss"] {
            let opened = address(&format!("postgres://rosa:{password}@db:5433/turno"));
            let Err(Error::Unusable(why)) = opened else { panic!("{password} is taken: {opened:?}") };
            assert_eq!(why, format!("the address of the store is not one of PostgreSQL: {ENCODED}"));
        }
        let Err(Error::Unusable(why)) = address("postgres://rosa:sesame/turno") else {
            panic!("it is taken")
        };
        assert!(why.ends_with(ENCODED) && !why.contains("sesame"), "{why}");
    }
}
