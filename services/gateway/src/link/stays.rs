//! The batch's calls at a node: `batch` decides how many there may be; here are its clock, its lock, and the line of those
//! who wait for their turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use turno_runtime::units::micros;

use crate::batch::{Batch, Line};

/// Those at one node.
pub(crate) struct Stays {
    since: Instant,
    batch: Mutex<Batch>,
    /// Who is the first of the line: turns come in the order of arrival.
    first: Semaphore,
    changed: Notify,
}

/// What a call of the batch has at its node.
pub(crate) enum Stay {
    /// It has had its turn, for so many calls, and gives it back when this is dropped.
    Turn(Arc<Stays>, u32),
    /// It is called by one of the batch.
    Guest,
}

/// The window may have grown meanwhile, though no word has come from the node.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Stays {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            batch: Mutex::default(),
            first: Semaphore::new(1),
            changed: Notify::new(),
        })
    }

    /// Waits until there is room for so many calls; `None` where the node takes no more, as `is_open` says, or there is no
    /// room and another `is_better`. Dropping the future gives up the turn.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        calls: u32,
        is_open: impl Fn() -> bool,
        is_better: impl Fn() -> bool,
    ) -> Option<Stay> {
        let _first = self.first.acquire().await.expect("it is never closed");
        while is_open() {
            let changed = self.changed.notified();
            if self.batch.lock().enter(self.now_us(), calls) {
                return Some(Stay::Turn(self.clone(), calls));
            }
            if is_better() {
                return None;
            }
            // Either way it looks again.
            let _late = tokio::time::timeout(LOOK_AGAIN, changed).await;
        }
        None
    }

    /// Whether what does not wait for a turn may go there.
    pub(crate) fn may_pass(&self) -> bool {
        self.batch.lock().may_pass(self.now_us())
    }

    /// Whether who comes now would not wait.
    pub(crate) fn has_room(&self) -> bool {
        self.first.available_permits() > 0 && self.batch.lock().has_room()
    }

    /// The node says what of the batch waits for a thread.
    pub(crate) fn heard(&self, line: Line) {
        self.batch.lock().heard(self.now_us(), line);
    }

    fn now_us(&self) -> u64 {
        micros(self.since.elapsed())
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Self::Turn(stays, calls) = self {
            stays.batch.lock().leave(*calls);
            stays.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt as _;

    use super::{Line, Stay, Stays};

    const LONG: Line = Line { wait_us: 20_000_000, calls: None };

    /// Takes turns until there is no room.
    async fn full() -> (std::sync::Arc<Stays>, Vec<Stay>) {
        let (stays, mut turns) = (Stays::new(), Vec::new());
        while stays.has_room() {
            turns.extend(stays.enter(1, || true, || false).await);
        }
        (stays, turns)
    }

    #[tokio::test]
    async fn turns_come_in_the_order_of_arrival() {
        let (stays, mut turns) = full().await;
        stays.heard(LONG);
        let (mut one, mut two) =
            (Box::pin(stays.enter(1, || true, || false)), Box::pin(stays.enter(1, || true, || false)));
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        assert!(!stays.has_room(), "who comes now stands behind them");
        drop(turns.pop());
        assert!((&mut two).now_or_never().is_none());
        let _first = one.await.unwrap();
        assert!((&mut two).now_or_never().is_none());
        drop(turns.pop());
        assert!(two.await.is_some());
    }

    #[tokio::test]
    async fn who_gives_up_takes_no_turn_along() {
        let (stays, mut turns) = full().await;
        stays.heard(LONG);
        let (mut one, mut two) =
            (Box::pin(stays.enter(1, || true, || false)), Box::pin(stays.enter(1, || true, || false)));
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        drop(turns.pop());
        drop(one);
        assert!(two.await.is_some());
    }

    #[tokio::test]
    async fn nobody_enters_where_the_node_has_left() {
        let stays = Stays::new();
        assert!(stays.enter(1, || false, || false).await.is_none() && stays.has_room());
    }

    #[tokio::test]
    async fn all_who_wait_go_where_it_is_better() {
        let (stays, _turns) = full().await;
        stays.heard(LONG);
        let is_better = Cell::new(false);
        let wait = || Box::pin(stays.enter(1, || true, || is_better.get()));
        let (mut one, mut two) = (wait(), wait());
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        is_better.set(true);
        assert!(one.await.is_none() && two.await.is_none());
    }
}
