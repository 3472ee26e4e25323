//! Where large answers of a map wait until there is room for them: at their nodes, who come with them and are asked to
//! wait before anything is on its way. A few are let in at once, as long as not too many bytes of results are here. In
//! order what all others wait for goes past them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The map's end of it: it says who may come in. When it is dropped, nobody waits for answers any more.
#[derive(Debug)]
pub(crate) struct Gate {
    standing: watch::Sender<Standing>,
    places: Arc<Semaphore>,
}

/// One chunk's way through it.
#[derive(Debug)]
pub(crate) struct Pass {
    standing: watch::Receiver<Standing>,
    places: Arc<Semaphore>,
    /// The first of its items.
    first: u64,
    has_come: AtomicBool,
}

/// A place among those that come in, as long as this is held; what goes past them has none.
#[derive(Debug)]
pub(crate) struct Entry(#[expect(dead_code, reason = "it is held")] Option<OwnedSemaphorePermit>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    has_room: bool,
    /// In order, the next item to go out.
    turn: u64,
}

/// Answers that are on their way in at once.
const PLACES: usize = 8;
/// How often one that waits looks whether its node has time left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Gate {
    pub(crate) fn new() -> Self {
        let (standing, _) = watch::channel(Standing { has_room: true, turn: 0 });
        Self { standing, places: Arc::new(Semaphore::new(PLACES)) }
    }

    pub(crate) fn pass(&self, first: u64) -> Arc<Pass> {
        let (standing, places) = (self.standing.subscribe(), self.places.clone());
        Arc::new(Pass { standing, places, first, has_come: AtomicBool::new(false) })
    }

    /// How it stands from now on.
    pub(crate) fn tell(&self, has_room: bool, turn: u64) {
        let now = Standing { has_room, turn };
        self.standing.send_if_modified(|standing| std::mem::replace(standing, now) != now);
    }
}

impl Pass {
    /// Whether its node has come with the answer: then it has run, and it is the map that makes it wait.
    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }

    /// Waits until it may come in. A node that `leaves` has no time for that; `None` when the map is over.
    pub(crate) async fn enter(&self, leaves: impl Fn() -> bool) -> Option<Entry> {
        self.has_come.store(true, Ordering::Relaxed);
        let (mut room, mut turn) = (self.standing.clone(), self.standing.clone());
        let mut in_line = std::pin::pin!(async {
            let place = self.places.clone().acquire_owned().await.ok()?;
            room.wait_for(|standing| standing.has_room).await.ok()?;
            Some(Entry(Some(place)))
        });
        let mut past_it = std::pin::pin!(async {
            turn.wait_for(|standing| self.first <= standing.turn).await.ok()?;
            Some(Entry(None))
        });
        loop {
            tokio::select! {
                biased;
                entry = &mut past_it => return entry,
                entry = &mut in_line => return entry,
                () = tokio::time::sleep(LOOK_EVERY) => if leaves() {
                    return Some(Entry(None));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Gate, LOOK_EVERY, PLACES, Pass};
    use futures_util::FutureExt as _;

    /// What comes of it at once.
    fn enter(pass: &Pass) -> Option<Option<Entry>> {
        pass.enter(|| false).now_or_never()
    }

    fn is_in(pass: &Pass) -> bool {
        matches!(enter(pass), Some(Some(_)))
    }

    #[tokio::test]
    async fn a_few_are_let_in_at_once_and_the_next_when_one_is_done() {
        let gate = Gate::new();
        let mut inside: Vec<_> = (1..=PLACES as u64).map(|first| enter(&gate.pass(first))).collect();
        assert!(inside.iter().all(|entry| matches!(entry, Some(Some(_)))));
        let next = gate.pass(100);
        assert!(!next.has_come() && !is_in(&next) && next.has_come());
        inside.pop();
        assert!(is_in(&next));
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_unless_all_wait_for_it() {
        let gate = Gate::new();
        gate.tell(false, 7);
        let (first, next) = (gate.pass(7), gate.pass(8));
        assert!(is_in(&first) && !is_in(&next));
        gate.tell(false, 8);
        assert!(is_in(&next));
        gate.tell(true, 8);
        assert!(is_in(&gate.pass(9)));
    }

    #[tokio::test]
    async fn when_the_map_is_over_nobody_waits() {
        let gate = Gate::new();
        gate.tell(false, 0);
        let pass = gate.pass(1);
        assert!(enter(&pass).is_none());
        drop(gate);
        assert!(matches!(enter(&pass), Some(None)));
    }

    #[tokio::test]
    async fn a_node_that_leaves_is_let_in() {
        let gate = Gate::new();
        gate.tell(false, 0);
        let pass = gate.pass(1);
        let stays = tokio::time::timeout(2 * LOOK_EVERY, pass.enter(|| false)).await;
        assert!(stays.is_err() && pass.enter(|| true).await.is_some());
    }
}
