//! Connections for reading. Each question has its end, whatever becomes of the server: who asks is told, and can ask again.
//! None is older than the writer's, once that was lost: where one server takes another's place, the one that was left may answer
//! for long, with what was.

use std::time::{Duration, Instant};

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

/// When the writer, which had lost its connection, has first changed something by another one. The writer says so, readers
/// follow.
#[derive(Clone)]
pub(super) struct Moved(watch::Sender<Instant>);

impl Moved {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }

    /// It has, before anybody hears of that change.
    pub(super) fn tell(&self) {
        self.0.send_replace(Instant::now());
    }

    /// Whether a connection of that age was made since.
    fn is_followed_at(&self, age: Duration) -> bool {
        age <= self.0.borrow().elapsed()
    }
}

/// A few connections, made when they are needed.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) pool: PgPool,
    moved: Moved,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions, moved: Moved) -> Self {
        let followed = moved.clone();
        let pool = PgPoolOptions::new()
            .max_connections(MOST)
            .acquire_timeout(PATIENCE)
            .before_acquire(move |_, idle| {
                let is_lent = followed.is_followed_at(idle.age);
                Box::pin(async move { Ok(is_lent) })
            })
            .connect_lazy_with(options.options(LIMITS));
        Self { pool, moved }
    }

    /// Each time that the writer has moved from now on.
    pub(super) fn moves(&self) -> watch::Receiver<Instant> {
        self.moved.0.subscribe()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Moved;

    #[test]
    fn a_connection_that_is_older_than_the_writers_is_not_lent() {
        let moved = Moved::new();
        assert!(moved.is_followed_at(Duration::ZERO));
        moved.tell();
        assert!(moved.is_followed_at(Duration::ZERO) && !moved.is_followed_at(Duration::from_secs(3600)));
    }
}
