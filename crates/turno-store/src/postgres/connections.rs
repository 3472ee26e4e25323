//! Connections for reading. Each question has its end, whatever becomes of the server: who asks is told, and can ask again.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{Postgres, SqlSafeStr};

use super::bulk::Values;
use super::errors::{is_lost, told};
use super::session::within;
use crate::error::Error;

/// So many at once, one of which listens.
const MOST: u32 = 5;

/// How long a reader waits for a connection. One that is there is asked first whether it still is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of a statement that reads: it holds up nobody, and a listing may have to look through many tickets.
const LIMITS: [(&str, &str); 1] = [("statement_timeout", "8s")];

/// A server that says nothing for so long is as good as gone: longer than it may be busy with a statement.
const SILENCE: Duration = Duration::from_secs(10);

// What ARCHITECTURE.md states of a statement.
const _: () = assert!(PATIENCE.as_secs() + SILENCE.as_secs() <= 15);

/// A few connections, made when they are needed.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) pool: PgPool,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new().max_connections(MOST).acquire_timeout(PATIENCE);
        Self { pool: pool.connect_lazy_with(options.options(LIMITS)) }
    }

    /// What a query answers.
    pub(super) async fn rows(&self, sql: impl SqlSafeStr, values: Values) -> Result<Vec<PgRow>, Error> {
        let query = sqlx::query_with::<Postgres, PgArguments>(sql, values.0);
        let connection = self.pool.acquire().await.map_err(told)?;
        let mut asked = Asked { connection, has_answered: false };
        let answer = within(SILENCE, query.fetch_all(&mut *asked.connection)).await;
        asked.has_answered = !answer.as_ref().is_err_and(is_lost);
        answer.map_err(told)
    }
}

/// A connection, while it is asked something. If it has not answered, it is of no more use: the pool would wait for the answer
/// before it lends the connection to anybody else, for as long as the server is silent.
struct Asked {
    connection: PoolConnection<Postgres>,
    has_answered: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.has_answered {
            self.connection.close_on_drop();
        }
    }
}
