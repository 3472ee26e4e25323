//! The connection that writes: statements of a transaction. It is made again when it is lost: before the commit nothing
//! has happened, and the changes are made from the beginning.

use std::io;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, PgConnection, SqlSafeStr};

use super::errors::{is_lost, told};
use crate::error::Error;

/// How long a database that is starting again is waited for.
const PAUSES: [Duration; 7] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

/// A server that says nothing for so long is as good as gone: less than a gateway's lease, which has to be renewed.
const SILENCE: Duration = Duration::from_secs(8);

/// A connection, if there is one now.
pub(super) struct Session {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Session {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, connection: None }
    }

    /// Begins a transaction, on a new connection if need be.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
        }
        self.write("BEGIN", PgArguments::default()).await.map(|_| ())
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        for pause in PAUSES {
            match connect(&self.options).await {
                Err(Error::Unavailable(_)) => tokio::time::sleep(pause).await,
                connected => return connected,
            }
        }
        connect(&self.options).await
    }

    /// Runs a statement; answers how many rows it has changed.
    pub(super) async fn write(&mut self, sql: impl SqlSafeStr, values: PgArguments) -> Result<u64, Error> {
        let connection = self.connection.as_mut().ok_or(Error::Contended)?;
        match in_time(sqlx::query_with(sql, values).execute(connection)).await {
            Ok(done) => Ok(done.rows_affected()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What a query answers.
    pub(super) async fn rows(
        &mut self,
        sql: impl SqlSafeStr,
        values: PgArguments,
    ) -> Result<Vec<PgRow>, Error> {
        let connection = self.connection.as_mut().ok_or(Error::Contended)?;
        match in_time(sqlx::query_with(sql, values).fetch_all(connection)).await {
            Ok(rows) => Ok(rows),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What was written is on disk when this answers. If the connection is lost meanwhile, nobody knows.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        let connection = self.connection.as_mut().ok_or(Error::Contended)?;
        match in_time(sqlx::query("COMMIT").execute(connection)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                if is_lost(&error) {
                    self.connection = None;
                }
                Err(told(error))
            }
        }
    }

    pub(super) async fn roll_back(&mut self) {
        let Some(connection) = self.connection.as_mut() else { return };
        if let Err(error) = in_time(sqlx::query("ROLLBACK").execute(connection)).await {
            tracing::debug!(%error, "roll back");
            self.connection = None;
        }
    }

    /// Before the commit a lost connection is no harm: all of it is done again on the next one.
    fn failed(&mut self, error: sqlx::Error) -> Error {
        if is_lost(&error) {
            tracing::debug!(%error, "a connection is lost");
            self.connection = None;
            return Error::Contended;
        }
        told(error)
    }
}

/// A connection whose commits are on disk when they answer.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let connection = async {
        let mut connection = options.connect().await?;
        let sql = "SELECT set_config('synchronous_commit', 'on', false) \
                   WHERE current_setting('synchronous_commit') = 'off'";
        sqlx::query(sql).execute(&mut connection).await?;
        Ok(connection)
    };
    in_time(connection).await.map_err(told)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    within(SILENCE, answer).await
}

/// The answer of a server that is not silent for so long.
pub(super) async fn within<T>(
    silence: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silent = |_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(silence, answer).await.unwrap_or_else(silent)
}
