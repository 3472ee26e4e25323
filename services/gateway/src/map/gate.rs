//! Where large answers of a map to what is awaited wait until there is room for them: at their nodes, who come with them and
//! are asked to wait before anything is on its way. Some are let in at once, as long as not too many bytes of results are
//! here. In order what all others wait for goes past them. Answers of jobs do not wait: slots bound them, and would wait too.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// The map's end of it: it says who may come in. When it is dropped, nobody waits for answers any more.
#[derive(Debug)]
pub(crate) struct Gate {
    standing: watch::Sender<Standing>,
    places: Arc<Semaphore>,
    came: Arc<Notify>,
}

/// One chunk's way through it.
#[derive(Debug)]
pub(crate) struct Pass {
    standing: watch::Receiver<Standing>,
    places: Arc<Semaphore>,
    came: Arc<Notify>,
    /// The first of its items.
    first: u64,
    came_at: OnceLock<Instant>,
}

/// Its places among those that come in, as long as this is held; what goes past them has none.
#[derive(Debug)]
pub(crate) struct Entry(#[expect(dead_code, reason = "it is held")] Option<OwnedSemaphorePermit>);

/// How a gate stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) has_room: bool,
    /// In order, the next item to go out.
    pub(crate) turn: u64,
    /// Bytes that an answer is expected to have.
    pub(crate) answer: usize,
}

/// Of those that come in at once, each has one for every mebibyte that it is expected to have.
const PLACES: usize = 64;
const PLACE: usize = 1024 * 1024;
/// How often one that waits looks whether its node has time left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Gate {
    pub(crate) fn new() -> Self {
        let (standing, _) = watch::channel(Standing { has_room: true, turn: 0, answer: 0 });
        Self { standing, places: Arc::new(Semaphore::new(PLACES)), came: Arc::default() }
    }

    pub(crate) fn pass(&self, first: u64) -> Arc<Pass> {
        let (standing, places) = (self.standing.subscribe(), self.places.clone());
        Arc::new(Pass { standing, places, came: self.came.clone(), first, came_at: OnceLock::new() })
    }

    /// Hears when somebody has come.
    pub(crate) fn came(&self) -> Arc<Notify> {
        self.came.clone()
    }

    /// How it stands from now on.
    pub(crate) fn tell(&self, now: Standing) {
        self.standing.send_if_modified(|standing| std::mem::replace(standing, now) != now);
    }
}

impl Pass {
    /// When its node has come with the answer, if it has: then it has run, and it is the map that makes it wait.
    pub(crate) fn came_at(&self) -> Option<Instant> {
        self.came_at.get().copied()
    }

    /// Waits until it may come in, where a node that `leaves` has no time to wait for room; `None` when the map is over.
    pub(crate) async fn enter(&self, leaves: impl Fn() -> bool) -> Option<Entry> {
        self.came_at.get_or_init(Instant::now);
        self.came.notify_one();
        let mut turn = self.standing.clone();
        tokio::select! {
            biased;
            stood = turn.wait_for(|standing| self.first <= standing.turn) => {
                stood.ok()?;
                Some(Entry(None))
            }
            entry = self.in_line(leaves) => entry,
        }
    }

    async fn in_line(&self, leaves: impl Fn() -> bool) -> Option<Entry> {
        let mut standing = self.standing.clone();
        let places = (standing.borrow().answer / PLACE).clamp(1, PLACES) as u32;
        let places = self.places.clone().acquire_many_owned(places).await.ok()?;
        while !leaves() {
            let room = async { standing.wait_for(|standing| standing.has_room).await.map(drop) };
            if let Ok(has_room) = tokio::time::timeout(LOOK_EVERY, room).await {
                has_room.ok()?;
                break;
            }
        }
        Some(Entry(Some(places)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Gate, LOOK_EVERY, PLACE, PLACES, Pass, Standing};
    use futures_util::FutureExt as _;

    const OPEN: Standing = Standing { has_room: true, turn: 0, answer: 0 };
    const SHUT: Standing = Standing { has_room: false, ..OPEN };

    /// What comes of it at once.
    fn enter(pass: &Pass) -> Option<Option<Entry>> {
        tokio::task::unconstrained(pass.enter(|| false)).now_or_never()
    }

    fn is_in(pass: &Pass) -> bool {
        matches!(enter(pass), Some(Some(_)))
    }

    #[tokio::test]
    async fn some_are_let_in_at_once_and_the_next_when_one_is_done() {
        for (mebibytes, most) in [(0, PLACES), (1, PLACES), (4, PLACES / 4), (1_000, 1)] {
            let gate = Gate::new();
            gate.tell(Standing { answer: mebibytes * PLACE, ..OPEN });
            let mut inside: Vec<_> = (1..=most as u64).map(|first| enter(&gate.pass(first))).collect();
            assert!(inside.iter().all(|entry| matches!(entry, Some(Some(_)))));
            let next = gate.pass(100);
            assert!(next.came_at().is_none() && !is_in(&next) && next.came_at().is_some());
            inside.pop();
            assert!(is_in(&next));
        }
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_unless_all_wait_for_it() {
        let gate = Gate::new();
        gate.tell(Standing { turn: 7, ..SHUT });
        let (first, next) = (gate.pass(7), gate.pass(8));
        assert!(is_in(&first) && !is_in(&next));
        gate.came().notified().now_or_never().expect("the map hears that they have come");
        gate.tell(Standing { turn: 8, ..SHUT });
        assert!(is_in(&next));
        gate.tell(Standing { turn: 8, ..OPEN });
        assert!(is_in(&gate.pass(9)));
    }

    #[tokio::test]
    async fn when_the_map_is_over_nobody_waits() {
        let gate = Gate::new();
        gate.tell(SHUT);
        let pass = gate.pass(1);
        assert!(enter(&pass).is_none());
        drop(gate);
        assert!(matches!(enter(&pass), Some(None)));
    }

    #[tokio::test]
    async fn a_node_that_leaves_does_not_wait_for_room() {
        let gate = Gate::new();
        gate.tell(SHUT);
        let pass = gate.pass(1);
        let stays = tokio::time::timeout(2 * LOOK_EVERY, pass.enter(|| false)).await;
        assert!(stays.is_err() && pass.enter(|| true).await.is_some());
    }
}
