//! How long a poll waits for a thread that begins to now, as the gateways are told: they send no more than the threads
//! can do. Learned from polls as they end, each by itself and without waiting; what is lost when two end at once does
//! not matter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use turno_proto::mesh::v1;
use turno_runtime::units::micros;

use super::nanos;

/// What is known of the polls and calls of one runtime. Times are nanoseconds.
#[derive(Default)]
pub(super) struct Queue {
    poll: Mean,
    /// Of all polls of a call.
    call: Mean,
    /// On the watchdog's clock: when that is worked off which the last call had before it that was polled for the first
    /// time, if as much is done as until then and nothing comes.
    clear_at: AtomicU64,
}

/// Exponentially weighted; zero as long as nothing is known.
#[derive(Default)]
struct Mean(AtomicU64);

/// The weight of one more: long enough to be a mean, short enough to follow.
const ONE_IN: u64 = 128;

impl Mean {
    fn add(&self, sample: Duration) {
        let sample = nanos(sample).max(1);
        let next = match self.get() {
            0 => sample,
            mean => mean - mean / ONE_IN + sample / ONE_IN,
        };
        self.0.store(next, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Queue {
    /// A call is polled for the first time, after it has waited so long.
    pub(super) fn begun(&self, now: Duration, waited: Duration) {
        self.clear_at.store(nanos(now + waited), Ordering::Relaxed);
    }

    pub(super) fn polled(&self, inside: Duration) {
        self.poll.add(inside);
    }

    /// A call has ended that was inside for so long in all.
    pub(super) fn ended(&self, inside: Duration) {
        self.call.add(inside);
    }

    /// With `waiting` polls before `places` threads. Nothing, if there is no queue.
    pub(super) fn now(&self, now: Duration, waiting: usize, places: usize) -> Option<v1::Queue> {
        let places = u64::try_from(places.max(1)).unwrap_or(u64::MAX);
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        let before_threads = self.poll.get().saturating_mul(waiting) / places;
        // Where all of it is the runtime's queue, and none before the threads, the last call that came through knows;
        // and if nothing has come through since, what it has met was worked off meanwhile.
        let before_that = self.clear_at.load(Ordering::Relaxed).saturating_sub(nanos(now));
        let wait_us = micros(Duration::from_nanos(before_threads.max(before_that)));
        (wait_us > 0).then(|| v1::Queue { wait_us, call_ns: self.call.get() / places })
    }
}

#[cfg(test)]
mod tests {
    use super::{Mean, Queue};
    use std::time::Duration;
    use turno_proto::mesh::v1;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn polls_that_wait_take_as_long_as_those_before() {
        let queue = Queue::default();
        assert_eq!(queue.now(MS, 3, 1), None, "nothing is known");
        queue.polled(MS);
        queue.ended(4 * MS);
        assert_eq!(queue.now(MS, 0, 1), None);
        assert_eq!(queue.now(MS, 6, 2), Some(v1::Queue { wait_us: 3000, call_ns: 2_000_000 }));
    }

    #[test]
    fn what_a_call_met_is_worked_off_in_as_long_as_it_waited() {
        let queue = Queue::default();
        queue.begun(100 * MS, 30 * MS);
        let wait_us = |now| queue.now(now, 0, 1).map(|queue| queue.wait_us);
        assert_eq!(wait_us(100 * MS), Some(30_000));
        assert_eq!(wait_us(120 * MS), Some(10_000));
        assert_eq!(wait_us(130 * MS), None);
    }

    #[test]
    fn a_mean_follows() {
        let mean = Mean::default();
        mean.add(MS);
        assert_eq!(mean.get(), 1_000_000);
        for _ in 0..1000 {
            mean.add(3 * MS);
        }
        assert!((2_900_000..=3_000_000).contains(&mean.get()), "{}", mean.get());
    }
}
