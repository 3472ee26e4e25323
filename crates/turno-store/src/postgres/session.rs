//! The connection that writes: statements of a transaction. It is made again when it is lost: before the commit nothing
//! has happened, and the changes are made from the beginning.

use std::io;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, PgConnection, SqlSafeStr};

use super::connections::Connections;
use super::errors::{is_lost, is_read_only, text, told};
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

/// How long a connection is waited for, with all tries. The first one, at the start, has one try.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A server that says nothing for so long is as good as gone: less than a gateway's lease, which has to be renewed.
const SILENCE: Duration = Duration::from_secs(8);

// What ARCHITECTURE.md states of a transaction: with a server that hangs, and with one that takes connections all the same.
const _: () = assert!(SILENCE.as_secs() + PATIENCE.as_secs() <= 15);
const _: () = assert!(2 * SILENCE.as_secs() + PATIENCE.as_secs() <= 21);

/// A connection, if there is one now.
pub(super) struct Session {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    /// The server has fallen silent, and nothing was committed since.
    was_silent: bool,
    /// The connection was lost, and nothing was committed since.
    was_lost: bool,
    readers: Connections,
}

impl Session {
    /// Where the connection was made anew, so are those of `readers`.
    pub(super) fn new(options: PgConnectOptions, readers: Connections) -> Self {
        Self { options, connection: None, was_silent: false, was_lost: false, readers }
    }

    /// Begins a transaction, on a new connection if need be.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
        }
        self.write("BEGIN", PgArguments::default()).await.map(|_| ())
    }

    /// Nothing has begun without one.
    async fn connect(&self) -> Result<PgConnection, Error> {
        let tries = async {
            for pause in PAUSES {
                match connect(&self.options).await {
                    Err(Error::Unavailable(_)) => tokio::time::sleep(pause).await,
                    connected => return connected,
                }
            }
            connect(&self.options).await
        };
        match tokio::time::timeout(PATIENCE, tries).await.unwrap_or_else(|_| Err(told(silence()))) {
            Err(Error::Unavailable(why)) => Err(Error::Away(why)),
            connected => connected,
        }
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
            Ok(_) => {
                self.was_silent = false;
                if std::mem::take(&mut self.was_lost) {
                    self.readers.renew();
                }
                Ok(())
            }
            Err(error) => {
                if is_lost(&error) {
                    self.lose(&error);
                }
                Err(told(error))
            }
        }
    }

    pub(super) async fn roll_back(&mut self) {
        let Some(connection) = self.connection.as_mut() else { return };
        if let Err(error) = in_time(sqlx::query("ROLLBACK").execute(connection)).await {
            tracing::debug!(%error, "roll back");
            (self.connection, self.was_lost) = (None, true);
        }
    }

    /// Before the commit a lost connection is no harm: all of it is done again on the next one. But a server that says nothing
    /// on that one either is not waited for a third time. One that answers is there for other changes, whatever it says of this.
    fn failed(&mut self, error: sqlx::Error) -> Error {
        if is_read_only(&error) {
            // Its name may lead to the one that takes changes by now, or soon: not by this connection.
            self.lose(&error);
            return Error::Away(format!("this PostgreSQL takes no changes: {}", text(&error)));
        }
        if !is_lost(&error) {
            return match told(error) {
                Error::Unavailable(why) => Error::Failed(why),
                told => told,
            };
        }
        let was_silent = self.was_silent;
        self.lose(&error);
        if was_silent && is_silence(&error) { Error::Away(error.to_string()) } else { Error::Contended }
    }

    fn lose(&mut self, error: &sqlx::Error) {
        tracing::debug!(%error, "a connection is lost");
        (self.connection, self.was_lost) = (None, true);
        self.was_silent |= is_silence(error);
    }
}

/// A connection whose commits are on disk when they answer.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let mut connection = options.connect().await.map_err(told)?;
    let sql = "SELECT set_config('synchronous_commit', 'on', false) \
               WHERE current_setting('synchronous_commit') = 'off'";
    sqlx::query(sql).execute(&mut connection).await.map_err(told)?;
    Ok(connection)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    within(SILENCE, answer).await
}

/// The answer of a server that is not silent for so long.
pub(super) async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(silence()))
}

fn silence() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}

fn is_silence(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::io;

    use sqlx::postgres::PgConnectOptions;

    use super::{Connections, Session, silence};
    use crate::error::Error;

    fn session() -> Session {
        let options = PgConnectOptions::new_without_pgpass();
        Session::new(options.clone(), Connections::new(options))
    }

    #[tokio::test]
    async fn a_server_that_has_been_silent_twice_is_not_waited_for_again() {
        let mut session = session();
        assert!(matches!(session.failed(silence()), Error::Contended));
        assert!(matches!(session.failed(silence()), Error::Away(_)));
        // One that says that it goes may come again.
        let reset = sqlx::Error::Io(io::ErrorKind::ConnectionReset.into());
        assert!(matches!(session.failed(reset), Error::Contended));
    }

    #[tokio::test]
    async fn a_server_that_answers_is_not_away() {
        let mut session = session();
        let failed = session.failed(sqlx::Error::RowNotFound);
        assert!(matches!(failed, Error::Failed(_)), "{failed:?}");
        assert!(!failed.is_silence(), "others are tried");
    }
}
