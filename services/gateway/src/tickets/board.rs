//! What runs here, and who watches. A table: nothing is awaited with it in hand.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turno_proto::mesh::v1::Progress;
use turno_store::{Attempt, TicketId};

use crate::link::heard::Hearing;

/// The board of one gateway.
#[derive(Default)]
pub(crate) struct Board {
    running: DashMap<TicketId, Running>,
    watched: Mutex<HashMap<TicketId, Watched>>,
}

/// An attempt that is under way here.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) attempt: Attempt,
    pub(crate) hearing: Hearing,
    /// It is not this gateway's any more: it ends without a word.
    pub(crate) abandon: CancellationToken,
}

struct Watched {
    version: watch::Sender<u64>,
    watchers: usize,
}

/// Hears of every change of one ticket, as far as it happens here or this gateway is told.
pub(crate) struct Watcher {
    board: Arc<Board>,
    ticket: TicketId,
    version: watch::Receiver<u64>,
}

impl Board {
    /// An attempt begins here.
    pub(crate) fn begin(&self, attempt: Attempt, recall: CancellationToken) -> Running {
        let (progress, _) = watch::channel(Progress::default());
        let hearing = Hearing { stop: CancellationToken::new(), recall, progress };
        let running = Running { attempt, hearing, abandon: CancellationToken::new() };
        self.running.insert(attempt.ticket, running.clone());
        running
    }

    /// It is over here. The ticket's next one may have begun already.
    pub(crate) fn end(&self, attempt: Attempt) {
        self.running.remove_if(&attempt.ticket, |_, running| running.attempt == attempt);
    }

    /// Tells the attempt to stop; false if there is none here.
    pub(crate) fn stop(&self, ticket: TicketId) -> bool {
        self.running.get(&ticket).map(|running| running.hearing.stop.cancel()).is_some()
    }

    /// What runs here may run elsewhere by now.
    pub(crate) fn abandon_all(&self) {
        self.running.iter().for_each(|running| running.abandon.cancel());
    }

    /// All that runs here.
    pub(crate) fn tickets(&self) -> Vec<TicketId> {
        self.running.iter().map(|running| *running.key()).collect()
    }

    pub(crate) fn runs(&self, ticket: TicketId) -> bool {
        self.running.contains_key(&ticket)
    }

    /// The method's last word, if it runs here and has said one.
    pub(crate) fn progress(&self, ticket: TicketId) -> Option<Progress> {
        let progress = self.running.get(&ticket)?.hearing.progress.borrow().clone();
        (progress != Progress::default()).then_some(progress)
    }

    /// Begins to watch a ticket: what changes from now on is not missed.
    pub(crate) fn watch(self: &Arc<Self>, ticket: TicketId) -> Watcher {
        let mut watched = self.watched.lock();
        let entry =
            watched.entry(ticket).or_insert_with(|| Watched { version: watch::Sender::new(0), watchers: 0 });
        entry.watchers += 1;
        Watcher { board: self.clone(), ticket, version: entry.version.subscribe() }
    }

    /// A ticket has changed.
    pub(crate) fn tell(&self, ticket: TicketId) {
        if let Some(watched) = self.watched.lock().get(&ticket) {
            watched.version.send_modify(|version| *version += 1);
        }
    }
}

impl Watcher {
    /// Completes when the ticket has changed since the last time.
    pub(crate) async fn changed(&mut self) {
        // The sender stays as long as somebody watches.
        let _there = self.version.changed().await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watched = self.board.watched.lock();
        if let Some(entry) = watched.get_mut(&self.ticket) {
            entry.watchers -= 1;
            if entry.watchers == 0 {
                watched.remove(&self.ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio_util::sync::CancellationToken;
    use turno_proto::mesh::v1::Progress;
    use turno_store::{Attempt, GatewayId, TicketId};

    use super::Board;

    #[tokio::test]
    async fn who_watches_misses_nothing_and_leaves_nothing() {
        let (board, ticket) = (Arc::new(Board::default()), TicketId::new());
        let (mut one, mut other) = (board.watch(ticket), board.watch(ticket));
        board.tell(TicketId::new());
        assert!(one.changed().now_or_never().is_none());
        board.tell(ticket);
        one.changed().await;
        assert!(one.changed().now_or_never().is_none());
        drop(one);
        other.changed().await;
        drop(other);
        assert!(board.watched.lock().is_empty());
    }

    #[test]
    fn what_runs_is_stopped_by_its_name() {
        let (board, ticket) = (Board::default(), TicketId::new());
        let attempt = |number| Attempt { ticket, gateway: GatewayId(ticket.0), number };
        assert!(!board.stop(ticket));
        let running = board.begin(attempt(1), CancellationToken::new());
        assert_eq!(board.progress(ticket), None);
        running.hearing.progress.send_replace(Progress { done: 3, ..Progress::default() });
        assert_eq!(board.progress(ticket).unwrap().done, 3);
        assert!(board.stop(ticket) && running.hearing.stop.is_cancelled());
        board.abandon_all();
        assert!(running.abandon.is_cancelled());
        board.begin(attempt(2), CancellationToken::new());
        board.end(attempt(1));
        assert!(board.runs(ticket), "the next one has begun");
        board.end(attempt(2));
        assert!(!board.runs(ticket) && board.tickets().is_empty());
    }
}
