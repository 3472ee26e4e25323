//! Connections for reading. Each question has its end, whatever becomes of the server: who asks is told, and can ask again.
//! All are made anew once the writer's was: where one server takes another's place, the one that was left may answer for long,
//! with what was, or say nothing.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{Postgres, SqlSafeStr};
use tokio::sync::watch;

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
pub(super) struct Connections(watch::Sender<PgPool>);

impl Connections {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self(watch::Sender::new(pool(options.options(LIMITS))))
    }

    /// The writer, which had lost its connection, has changed something by another one, and nobody has heard of that change yet.
    /// Who asks from now on has a connection that is made from now on. The pool is another one too: in this one a server that
    /// was left may hold places for as long as it is silent, for sqlx takes leave of it, and waits for the answer.
    pub(super) fn renew(&self) {
        let options = self.0.borrow().connect_options();
        self.0.send_replace(pool((*options).clone()));
    }

    /// The pool, and each that takes its place.
    pub(super) fn pools(&self) -> watch::Receiver<PgPool> {
        self.0.subscribe()
    }

    /// What a query answers.
    pub(super) async fn rows(&self, sql: impl SqlSafeStr, values: Values) -> Result<Vec<PgRow>, Error> {
        let query = sqlx::query_with::<Postgres, PgArguments>(sql, values.0);
        let pool = self.0.borrow().clone();
        let connection = pool.acquire().await.map_err(told)?;
        let mut asked = Asked { connection, has_answered: false };
        let answer = within(SILENCE, query.fetch_all(&mut *asked.connection)).await;
        asked.has_answered = !answer.as_ref().is_err_and(is_lost);
        answer.map_err(told)
    }
}

fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(MOST).acquire_timeout(PATIENCE).connect_lazy_with(options)
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
