//! A kitchen from within: what a test sees of it, and the knobs that it turns.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

/// Sees a kitchen from within, and turns its knobs.
#[derive(Clone, Debug, Default)]
pub struct Cook {
    given_up: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
    slow_ms: Arc<AtomicU64>,
    resting: Arc<AtomicU64>,
    let_go: Arc<AtomicU64>,
    waited_for: Arc<Mutex<HashMap<Bytes, u64>>>,
}

impl Cook {
    /// Calls that were given up by their callers, of those that count.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::SeqCst)
    }

    /// Calls that have begun, of those that count.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// How often calls that wait have begun, by their contents.
    pub fn waited_for(&self) -> HashMap<Bytes, u64> {
        self.waited_for.lock().clone()
    }

    /// Calls that wait shall wait so much longer here, and jobs that knead or rest keep their slots so much longer.
    pub fn slow_down(&self, ms: u64) {
        self.slow_ms.store(ms, Ordering::SeqCst);
    }

    /// Jobs that hold their slots until they are let go.
    pub fn resting(&self) -> u64 {
        self.resting.load(Ordering::SeqCst)
    }

    /// Lets so many of them go, now or when they come.
    pub fn let_go(&self, jobs: u64) {
        self.let_go.fetch_add(jobs, Ordering::SeqCst);
    }

    /// A call that waits begins.
    pub(super) fn wait_for(&self, content: &Bytes) {
        *self.waited_for.lock().entry(content.clone()).or_default() += 1;
    }

    /// A call begins that counts as given up unless it is done.
    pub(super) fn begin(&self) -> Unfinished {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Unfinished(Some(self.given_up.clone()))
    }

    /// How long a call of so many milliseconds waits here.
    pub(super) fn as_slow(&self, ms: u64) -> Duration {
        Duration::from_millis(ms + self.slow_ms.load(Ordering::SeqCst))
    }

    /// A job holds its slot until it is let go, or is not `wanted` any more.
    pub(super) fn rest(&self, wanted: impl Fn() -> turno::Result<()>) -> turno::Result<()> {
        self.resting.fetch_add(1, Ordering::SeqCst);
        let mut end = Ok(());
        while end.is_ok() && !self.takes_leave() {
            hold_the_slot(1);
            end = wanted();
        }
        hold_the_slot(self.slow_ms.load(Ordering::SeqCst));
        self.resting.fetch_sub(1, Ordering::SeqCst);
        end
    }

    fn takes_leave(&self) -> bool {
        let one_less = |jobs: u64| jobs.checked_sub(1);
        self.let_go.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }
}

/// Counts a call that ends before it is done.
pub(super) struct Unfinished(Option<Arc<AtomicU64>>);

impl Unfinished {
    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a job that holds its slot without needing a core")]
pub(super) fn hold_the_slot(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// The CPU time that this thread has spent.
pub(super) fn cpu_of_this_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
