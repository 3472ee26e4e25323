//! Where large answers of a map to what is awaited wait until there is room for them: at their nodes, who come with them and
//! are asked to wait before anything is on its way. Some are let in at once, as long as not too many bytes of results are
//! here. In order what all others wait for goes past them. Answers of jobs do not wait: slots bound them, and would wait too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// The map's end of it: it says who may come in. When it is dropped, nobody waits for answers any more.
#[derive(Debug)]
pub(crate) struct Gate {
    standing: watch::Sender<Standing>,
    places: Arc<Semaphore>,
    most_places: u32,
    came: Arc<Came>,
}

/// Who has come.
#[derive(Debug, Default)]
pub(crate) struct Came {
    somebody: Notify,
    /// The most bytes that an item's answer had.
    most_bytes: AtomicUsize,
}

/// One chunk's way through it.
#[derive(Debug)]
pub(crate) struct Pass {
    standing: watch::Receiver<Standing>,
    places: Arc<Semaphore>,
    most_places: u32,
    came: Arc<Came>,
    /// The first of its items, and how many there are.
    first: u64,
    items: u32,
    came_at: OnceLock<Instant>,
}

/// Its places among those that come in, as long as this is held; what goes past them has none.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Of the answer that comes in.
    pub(crate) bytes: usize,
    _places: Option<OwnedSemaphorePermit>,
}

/// How a gate stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) has_room: bool,
    /// In order, the next item to go out.
    pub(crate) turn: u64,
}

/// Of those that come in at once, each has one for every mebibyte, or for what it has of one.
const PLACE: usize = 1024 * 1024;
const MOST_PLACES: usize = 64;
/// How often one that waits looks whether its node has time left.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Gate {
    /// So many bytes come in at once, or one that is larger.
    pub(crate) fn new(bytes: usize) -> Self {
        let (standing, _) = watch::channel(Standing { has_room: true, turn: 0 });
        let places = (bytes / PLACE).clamp(1, MOST_PLACES);
        Self {
            standing,
            places: Arc::new(Semaphore::new(places)),
            most_places: places as u32,
            came: Arc::default(),
        }
    }

    pub(crate) fn pass(&self, first: u64, items: u32) -> Arc<Pass> {
        let (standing, places) = (self.standing.subscribe(), self.places.clone());
        let (most_places, came) = (self.most_places, self.came.clone());
        Arc::new(Pass { standing, places, most_places, came, first, items, came_at: OnceLock::new() })
    }

    /// Hears when somebody has come.
    pub(crate) fn came(&self) -> Arc<Came> {
        self.came.clone()
    }

    /// How it stands from now on.
    pub(crate) fn tell(&self, now: Standing) {
        self.standing.send_if_modified(|standing| std::mem::replace(standing, now) != now);
    }
}

impl Came {
    /// Waits until somebody has come; answers how many bytes an item's answer has had since the last time, at
    /// most.
    pub(crate) async fn heard(&self) -> usize {
        self.somebody.notified().await;
        self.most_bytes.swap(0, Ordering::Relaxed)
    }
}

impl Pass {
    /// When its node has come with the answer, if it has: then it has run, and it is the map that makes it wait.
    pub(crate) fn came_at(&self) -> Option<Instant> {
        self.came_at.get().copied()
    }

    /// Waits until an answer of so many bytes may come in, where a node that `leaves` has no time to wait for room; `None` when the map is over.
    pub(crate) async fn enter(&self, bytes: usize, leaves: impl Fn() -> bool) -> Option<Entry> {
        self.came_at.get_or_init(Instant::now);
        self.came.most_bytes.fetch_max(bytes / self.items.max(1) as usize, Ordering::Relaxed);
        self.came.somebody.notify_one();
        let mut turn = self.standing.clone();
        tokio::select! {
            biased;
            stood = turn.wait_for(|standing| self.first <= standing.turn) => {
                stood.ok()?;
                Some(Entry { bytes, _places: None })
            }
            entry = self.in_line(bytes, leaves) => entry,
        }
    }

    async fn in_line(&self, bytes: usize, leaves: impl Fn() -> bool) -> Option<Entry> {
        let mut standing = self.standing.clone();
        let places = u32::try_from(bytes.div_ceil(PLACE)).unwrap_or(u32::MAX).clamp(1, self.most_places);
        let places = self.places.clone().acquire_many_owned(places).await.ok()?;
        while !leaves() {
            let room = async { standing.wait_for(|standing| standing.has_room).await.map(drop) };
            if let Ok(has_room) = tokio::time::timeout(LOOK_EVERY, room).await {
                has_room.ok()?;
                break;
            }
        }
        Some(Entry { bytes, _places: Some(places) })
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Gate, LOOK_EVERY, MOST_PLACES, PLACE, Pass, Standing};
    use futures_util::FutureExt as _;

    const OPEN: Standing = Standing { has_room: true, turn: 0 };
    const SHUT: Standing = Standing { has_room: false, ..OPEN };

    /// What comes of it at once.
    fn enter(pass: &Pass) -> Option<Option<Entry>> {
        enter_with(pass, 1)
    }

    fn enter_with(pass: &Pass, bytes: usize) -> Option<Option<Entry>> {
        tokio::task::unconstrained(pass.enter(bytes, || false)).now_or_never()
    }

    fn gate() -> Gate {
        Gate::new(MOST_PLACES * PLACE)
    }

    fn is_in(pass: &Pass) -> bool {
        matches!(enter(pass), Some(Some(_)))
    }

    #[tokio::test]
    async fn some_are_let_in_at_once_and_the_next_when_one_is_done() {
        for (bytes, most) in [(0, 64), (PLACE, 64), (PLACE + 1, 32), (4 * PLACE, 16), (1_000 * PLACE, 1)] {
            let gate = gate();
            let mut inside: Vec<_> =
                (1..=most).map(|first| enter_with(&gate.pass(first, 2), bytes)).collect();
            assert!(inside.iter().all(|entry| matches!(entry, Some(Some(_)))));
            let next = gate.pass(100, 2);
            assert!(next.came_at().is_none() && enter_with(&next, bytes).is_none());
            assert!(next.came_at().is_some());
            inside.pop();
            assert!(matches!(enter_with(&next, bytes), Some(Some(_))));
        }
    }

    #[tokio::test]
    async fn where_there_is_little_room_they_come_in_one_by_one() {
        let gate = Gate::new(1);
        let inside = enter_with(&gate.pass(1, 2), 1);
        assert!(!is_in(&gate.pass(2, 2)));
        drop(inside);
        assert!(is_in(&gate.pass(2, 2)));
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_unless_all_wait_for_it() {
        let gate = gate();
        gate.tell(Standing { turn: 7, ..SHUT });
        let (first, next) = (gate.pass(7, 2), gate.pass(8, 2));
        assert!(is_in(&first) && !is_in(&next));
        enter_with(&next, 2_000);
        assert_eq!(gate.came().heard().now_or_never(), Some(1_000), "the map hears what has come");
        assert_eq!(gate.came().heard().now_or_never(), None);
        gate.tell(Standing { turn: 8, ..SHUT });
        assert!(is_in(&next));
        gate.tell(Standing { turn: 8, ..OPEN });
        assert!(is_in(&gate.pass(9, 2)));
    }

    #[tokio::test]
    async fn when_the_map_is_over_nobody_waits() {
        let gate = gate();
        gate.tell(SHUT);
        let pass = gate.pass(1, 2);
        assert!(enter(&pass).is_none());
        drop(gate);
        assert!(matches!(enter(&pass), Some(None)));
    }

    #[tokio::test]
    async fn a_node_that_leaves_does_not_wait_for_room() {
        let gate = gate();
        gate.tell(SHUT);
        let pass = gate.pass(1, 2);
        let stays = tokio::time::timeout(2 * LOOK_EVERY, pass.enter(1, || false)).await;
        assert!(stays.is_err() && pass.enter(1, || true).await.is_some());
    }
}
