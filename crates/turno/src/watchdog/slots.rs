//! What each thread polls at this moment. A thread writes its own slot, twice a poll and without waiting; the patrol
//! reads them all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::judge::{Sight, ThreadTime};
use super::{kernel, nanos};

/// One thread's.
pub(super) struct Slot {
    thread: u64,
    /// Where its time can be read.
    folder: Option<PathBuf>,
    method: AtomicU64,
    /// Zero between polls; else when the poll began, in nanoseconds, and the two marks below.
    state: AtomicU64,
    /// Of a poll that is caught: what its thread had waited for a CPU when it was first looked at, in nanoseconds.
    waited_before: AtomicU64,
}

const CAUGHT: u64 = 0b01;
const ASIDE: u64 = 0b10;
const MARKS: u32 = 2;
/// More than any thread has waited: then this one has not waited since.
const UNKNOWN: u64 = u64::MAX;
/// The kernel is not asked about a poll that is no older: most are over before the next look.
const BRIEF: Duration = Duration::from_millis(1);

/// A slot stays until its thread has ended: then nobody else holds it.
static SLOTS: Mutex<Vec<Arc<Slot>>> = Mutex::new(Vec::new());

thread_local! {
    static MINE: Arc<Slot> = register();
}

fn register() -> Arc<Slot> {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    let thread = THREADS.fetch_add(1, Ordering::Relaxed);
    let (folder, method, state) = (kernel::folder(), AtomicU64::new(0), AtomicU64::new(0));
    let slot = Arc::new(Slot { thread, folder, method, state, waited_before: AtomicU64::new(UNKNOWN) });
    SLOTS.lock().push(slot.clone());
    slot
}

/// This thread polls `method` from `now` on.
pub(super) fn enter(method: u64, aside: bool, now: Duration) {
    let nanos = nanos(now) << MARKS;
    // Never zero: that is an idle slot.
    let state = nanos.max(1 << MARKS) | if aside { ASIDE } else { 0 };
    MINE.with(|slot| {
        // Who sees the method sees that the poll before it is over.
        slot.method.store(method, Ordering::Release);
        slot.state.store(state, Ordering::Release);
    });
}

/// The poll is over. If it was caught, answers for how much of it this thread has waited for a CPU, as far as that is known.
pub(super) fn leave() -> Option<Duration> {
    MINE.with(|slot| {
        let was_caught = slot.state.swap(0, Ordering::AcqRel) & CAUGHT != 0;
        was_caught.then(|| slot.has_waited())
    })
}

impl Slot {
    /// Asked by the thread itself, which does not wait now: all that it has waited is booked.
    fn has_waited(&self) -> Duration {
        let before = Duration::from_nanos(self.waited_before.load(Ordering::Relaxed));
        let time = self.folder.as_deref().and_then(kernel::thread_time);
        time.map_or(Duration::ZERO, |time| time.waited.saturating_sub(before))
    }
}

/// A slot in whose thread a poll is under way.
pub(super) struct Seen {
    slot: Arc<Slot>,
    state: u64,
    pub(super) sight: Sight,
}

impl Seen {
    /// Marks the poll as caught, unless it is over. Its thread had waited for a CPU for so long when it was first looked at.
    pub(super) fn catch(&self, waited_before: Option<Duration>) -> bool {
        // Only the patrol writes it, and the mark shows it to the thread.
        self.slot.waited_before.store(waited_before.map_or(UNKNOWN, nanos), Ordering::Relaxed);
        let (before, after) = (self.state & !CAUGHT, self.state | CAUGHT);
        self.slot.state.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The time of its thread, if the system tells it, and unless the poll has just begun.
    pub(super) fn time(&self, now: Duration) -> Option<ThreadTime> {
        let matters = now.saturating_sub(self.sight.since) > BRIEF;
        self.slot.folder.as_deref().filter(|_| matters).and_then(kernel::thread_time)
    }

    /// Whether it is a thread of the runtime aside.
    pub(super) fn is_aside(&self) -> bool {
        self.state & ASIDE != 0
    }
}

/// All polls that are under way.
pub(super) fn look() -> Vec<Seen> {
    let mut slots = SLOTS.lock();
    slots.retain(|slot| Arc::strong_count(slot) > 1);
    slots.iter().filter_map(see).collect()
}

fn see(slot: &Arc<Slot>) -> Option<Seen> {
    let state = slot.state.load(Ordering::Acquire);
    let method = slot.method.load(Ordering::Acquire);
    // A poll that has ended meanwhile may have left the next one's method behind.
    if state == 0 || slot.state.load(Ordering::Acquire) != state {
        return None;
    }
    let since = Duration::from_nanos(state >> MARKS);
    Some(Seen { slot: slot.clone(), state, sight: Sight { thread: slot.thread, method, since } })
}

#[cfg(test)]
mod tests {
    use super::{enter, leave, look};
    use std::sync::mpsc;
    use std::time::Duration;

    fn polls_of(method: u64) -> Vec<super::Seen> {
        look().into_iter().filter(|seen| seen.sight.method == method).collect()
    }

    #[test]
    fn a_poll_is_seen_while_it_lasts_and_knows_that_it_was_caught() {
        let (begin, (over, wait)) = (mpsc::channel(), mpsc::channel::<()>());
        let poll = std::thread::spawn(move || {
            enter(u64::MAX, true, Duration::from_nanos(77));
            begin.0.send(()).unwrap();
            wait.recv().unwrap();
            let first = leave();
            enter(u64::MAX, false, Duration::from_nanos(99));
            (first, leave())
        });
        begin.1.recv().unwrap();
        let seen = polls_of(u64::MAX);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].sight.since, Duration::from_nanos(77));
        assert!(seen[0].is_aside());
        assert!(seen[0].catch(None));
        assert!(!seen[0].catch(None), "once");
        over.send(()).unwrap();
        assert_eq!(poll.join().unwrap(), (Some(Duration::ZERO), None));
        assert!(!seen[0].catch(None), "over");
        assert!(polls_of(u64::MAX).is_empty());
    }
}
