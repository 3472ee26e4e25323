//! Places: how many threads of a runtime may be in users' code at once; and the runtime aside, for methods that were
//! caught and for those that would have to wait behind them.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, Semaphore};
use turno_proto::mesh::v1;

use super::queue::Queue;

/// So many polls at once.
pub(super) struct Gate {
    places: Semaphore,
    most: usize,
    /// Polls that wait for one.
    waiting: AtomicUsize,
    /// Places of polls that were caught and still last.
    lost: AtomicUsize,
    news: Notify,
}

impl Gate {
    fn new(most: usize) -> Arc<Self> {
        let (waiting, lost, news) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
        Arc::new(Self { places: Semaphore::new(most), most, waiting, lost, news })
    }

    /// Takes a place, if there is one.
    pub(super) fn enter(&self) -> bool {
        self.places.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Takes a place as soon as there is one; answers false when it is better to go elsewhere, as `elsewhere` says.
    pub(super) async fn wait(&self, elsewhere: impl Fn() -> bool) -> bool {
        let mut news = pin!(self.news.notified());
        news.as_mut().enable();
        if elsewhere() {
            return false;
        }
        let _waits = Waits::one(&self.waiting);
        tokio::select! {
            biased;
            place = self.places.acquire() => { place.expect("it is never closed").forget(); true }
            () = news => false,
        }
    }

    /// Gives the place back.
    pub(super) fn leave(&self, was_caught: bool) {
        if was_caught {
            self.lost.fetch_sub(1, Ordering::Relaxed);
        }
        self.places.add_permits(1);
    }

    /// A poll that has a place here is about to be caught.
    pub(super) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// It was over after all.
    pub(super) fn regain(&self) {
        self.lost.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whoever waits thinks again.
    pub(super) fn tell(&self) {
        self.news.notify_waiters();
    }

    /// Whether all places are held by polls that were caught.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed) >= self.most
    }
}

/// One of those who wait, counted until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn one(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The runtime that a node was started in: links and users' code on the same threads.
pub(super) struct Home {
    pub(super) runtime: Handle,
    pub(super) gate: Arc<Gate>,
    pub(super) queue: Queue,
}

impl Home {
    /// Users' code never has the last thread; but the only one, in a runtime that has no more.
    pub(super) fn new(runtime: Handle) -> Arc<Self> {
        let most = runtime.metrics().num_workers().saturating_sub(1).max(1);
        Arc::new(Self { runtime, gate: Gate::new(most), queue: Queue::default() })
    }

    /// What a poll has before it that begins to wait now, if anything.
    pub(super) fn queue(&self, now: Duration) -> Option<v1::Queue> {
        self.queue.now(now, self.gate.waiting.load(Ordering::Relaxed), self.gate.most)
    }
}

/// The runtime aside, one a process.
pub(super) struct Aside {
    runtime: Runtime,
    /// For methods that were caught.
    pub(super) confined: Arc<Gate>,
    /// For the others, while those have all the places at home.
    pub(super) guests: Arc<Gate>,
}

// Threads of each kind.
const FEWEST: usize = 4;
const MOST: usize = 32;

static ASIDE: OnceLock<Option<Aside>> = OnceLock::new();

impl Aside {
    /// Starts it if it is not there. `None` on a system that has no threads to give.
    pub(super) fn get() -> Option<&'static Self> {
        let start = || {
            Self::start().inspect_err(|error| tracing::error!(%error, "no threads for methods that block"))
        };
        ASIDE.get_or_init(|| start().ok()).as_ref()
    }

    /// If it was needed before.
    pub(super) fn started() -> Option<&'static Self> {
        ASIDE.get()?.as_ref()
    }

    pub(super) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let each = (2 * cores).clamp(FEWEST, MOST);
        // One more, for nobody: it moves on those who are caught.
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().thread_name("confined").worker_threads(2 * each + 1);
        Ok(Self { runtime: builder.build()?, confined: Gate::new(each), guests: Gate::new(each) })
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_place_that_comes_free_goes_to_who_waits() {
        let gate = Gate::new(1);
        assert!(gate.enter());
        assert!(!gate.enter());
        let mut waiting = Box::pin(gate.wait(|| false));
        assert!((&mut waiting).now_or_never().is_none());
        gate.leave(false);
        assert!(!gate.enter(), "it is taken already");
        assert!(waiting.await);
    }

    #[tokio::test]
    async fn news_send_those_who_wait_elsewhere() {
        let gate = Gate::new(1);
        assert!(gate.enter());
        let mut waiting = Box::pin(gate.wait(|| gate.is_lost()));
        assert!((&mut waiting).now_or_never().is_none());
        gate.lose();
        gate.tell();
        assert!(!waiting.await);
        assert!(!gate.wait(|| gate.is_lost()).await, "nor does anybody begin to wait");
        gate.leave(true);
        assert!(!gate.is_lost() && gate.enter());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_no_place_along() {
        let gate = Gate::new(1);
        assert!(gate.enter());
        let mut waiting = Box::pin(gate.wait(|| false));
        assert!((&mut waiting).now_or_never().is_none());
        gate.leave(false);
        drop(waiting);
        assert!(gate.enter());
    }
}
