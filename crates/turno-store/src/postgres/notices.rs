//! Other gateways' words, by LISTEN and NOTIFY: a hint, never the only way. While the connection is down nothing is heard,
//! and who waits for a ticket asks for it from time to time anyway.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::Notify;
use uuid::Uuid;

use super::connections::Connections;
use crate::store::News;
use crate::ticket::TicketId;

/// Among the tickets of a notice: there is nothing to claim. Who does not say so may have something, as older gateways, which
/// pass over what is no ticket's name.
pub(super) const NOT_DUE: &str = "not-due";

/// Notices that wait to be read; the oldest make room.
const WAITING: usize = 10_000;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What was heard.
#[derive(Clone, Default)]
pub(super) struct Notices {
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    waiting: Mutex<VecDeque<News>>,
    news: Notify,
}

impl Notices {
    /// The next ticket that another gateway has changed.
    pub(super) async fn next(&self) -> News {
        loop {
            let news = self.heard.news.notified();
            let next = self.heard.waiting.lock().pop_front();
            match next {
                Some(next) => return next,
                None => news.await,
            }
        }
    }

    fn hear(&self, own: Uuid, notice: &str) {
        let Some((from, words)) = notice.split_once(':') else { return };
        if from.parse() == Ok(own) {
            return;
        }
        let mut is_due = words.split(',').all(|word| word != NOT_DUE);
        let mut waiting = self.heard.waiting.lock();
        for ticket in words.split(',').filter_map(|word| word.parse().ok()) {
            if waiting.len() == WAITING {
                is_due |= waiting.pop_front().is_some_and(|lost| lost.is_due);
            }
            waiting.push_back(News { ticket: TicketId(ticket), is_due });
        }
        drop(waiting);
        self.heard.news.notify_waiters();
    }

    /// Listens for ever.
    pub(super) async fn listen(self, connections: Connections, own: Uuid) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.listen_once(&connections, own).await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    tracing::debug!(%error, "nothing is heard of other gateways for now");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Until the connection is lost, or may lead to a server that the writer has left, be it that this one is silent.
    async fn listen_once(&self, connections: &Connections, own: Uuid) -> Result<(), sqlx::Error> {
        let mut pools = connections.pools();
        let pool = pools.borrow_and_update().clone();
        tokio::select! {
            _ = pools.changed() => Ok(()),
            ended = self.hear_all(&pool, own) => ended,
        }
    }

    async fn hear_all(&self, pool: &PgPool, own: Uuid) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen("turno").await?;
        while let Some(notice) = listener.try_recv().await? {
            self.hear(own, notice.payload());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{NOT_DUE, News, Notices, TicketId, Uuid, WAITING};

    #[test]
    fn a_notice_says_whether_there_is_something_to_claim() {
        let (notices, own, other, ticket) =
            (Notices::default(), Uuid::now_v7(), Uuid::now_v7(), TicketId::new());
        let heard = |from: Uuid, words: String| {
            notices.hear(own, &format!("{}:{words}", from.simple()));
            notices.next().now_or_never()
        };
        let (name, news) = (ticket.0.simple(), |is_due| Some(News { ticket, is_due }));
        assert_eq!(heard(other, format!("{name}")), news(true), "as older gateways say it");
        assert_eq!(heard(other, format!("{name},{NOT_DUE}")), news(false));
        assert_eq!(heard(other, format!("{name},a word of later times")), news(true));
        assert_eq!(heard(own, format!("{name}")), None);
    }

    #[test]
    fn a_notice_that_makes_room_leaves_behind_that_there_is_something_to_claim() {
        let (notices, own, other) = (Notices::default(), Uuid::now_v7(), Uuid::now_v7());
        let hear = |word: &str| {
            let ticket = TicketId::new().0.simple();
            notices.hear(own, &format!("{}:{ticket},{word}", other.simple()));
        };
        hear("");
        (0..WAITING).for_each(|_| hear(NOT_DUE));
        let heard: Vec<_> = std::iter::from_fn(|| notices.next().now_or_never()).collect();
        assert_eq!(heard.len(), WAITING);
        assert!(heard.iter().any(|news| news.is_due));
    }
}
