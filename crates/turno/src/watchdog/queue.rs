//! How long a poll waits for a thread that begins to now, as the gateways are told: they send no more than the threads
//! can do, and of the batch, which calls pass, no more than keeps them busy. Learned from polls as they end, each by itself and without waiting; what is lost when two end at once does
//! not matter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use turno_proto::mesh::v1;
use turno_runtime::units::micros;

use super::gate::Waiting;
use super::nanos;
use crate::lanes::Urgency;

/// What is known of the polls and calls of one runtime, by lane.
#[derive(Default)]
pub(super) struct Queue {
    calls: Line,
    batch: Line,
}

/// Those of one lane. Times are nanoseconds.
#[derive(Default)]
pub(super) struct Line {
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
    pub(super) fn of(&self, urgency: Urgency) -> &Line {
        match urgency {
            Urgency::Call => &self.calls,
            Urgency::Batch => &self.batch,
        }
    }

    /// With so many polls before `places` threads. Nothing, if there is no queue.
    pub(super) fn now(&self, now: Duration, waiting: Waiting, places: usize) -> Option<v1::Queue> {
        let (poll, of_batch) = (self.calls.poll.get(), self.batch.poll.get());
        // Where calls pass it always, it may not have had a turn yet: it is taken to be as they are.
        let of_batch = if of_batch == 0 { poll } else { of_batch };
        let wait_us = self.calls.wait_us(now, poll, waiting.calls, places);
        let batch_wait_us = self.batch.wait_us(now, of_batch, waiting.batch, places);
        let batch_waiting = those_who_wait(of_batch, waiting.batch, batch_wait_us, places);
        (wait_us > 0 || batch_wait_us > 0).then(|| v1::Queue {
            wait_us,
            call_ns: self.calls.call.get() / wide(places.max(1)),
            batch_wait_us: Some(batch_wait_us),
            batch_waiting: Some(batch_waiting),
        })
    }
}

impl Line {
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

    fn wait_us(&self, now: Duration, poll: u64, waiting: usize, places: usize) -> u64 {
        let before_threads = poll.saturating_mul(wide(waiting)) / wide(places.max(1));
        // Where all of it is the runtime's queue, and none before the threads, the last call that came through knows;
        // and if nothing has come through since, what it has met was worked off meanwhile.
        let before_that = self.clear_at.load(Ordering::Relaxed).saturating_sub(nanos(now));
        micros(Duration::from_nanos(before_threads.max(before_that)))
    }
}

/// As they are counted, or as it takes them so long, of polls that take so many nanoseconds.
fn those_who_wait(poll: u64, counted: usize, wait_us: u64, places: usize) -> u32 {
    let in_the_runtime = (wait_us * 1000 * wide(places.max(1))).checked_div(poll).unwrap_or(0);
    narrow(wide(counted).max(in_the_runtime))
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Mean, Queue, Waiting};
    use crate::lanes::Urgency::{Batch, Call};
    use std::time::Duration;
    use turno_proto::mesh::v1;

    const MS: Duration = Duration::from_millis(1);

    fn waiting(calls: usize, batch: usize) -> Waiting {
        Waiting { calls, batch }
    }

    #[test]
    fn polls_that_wait_take_as_long_as_those_before() {
        let queue = Queue::default();
        assert_eq!(queue.now(MS, waiting(3, 0), 1), None, "nothing is known");
        queue.of(Call).polled(MS);
        queue.of(Call).ended(4 * MS);
        assert_eq!(queue.now(MS, waiting(0, 0), 1), None);
        let told =
            v1::Queue { wait_us: 3000, call_ns: 2_000_000, batch_wait_us: Some(0), batch_waiting: Some(0) };
        assert_eq!(queue.now(MS, waiting(6, 0), 2), Some(told));
    }

    #[test]
    fn what_waits_of_the_batch_is_no_queue_of_calls() {
        let queue = Queue::default();
        queue.of(Batch).polled(MS);
        queue.of(Batch).ended(MS);
        queue.of(Batch).begun(MS, 20 * MS);
        let told = v1::Queue { wait_us: 0, call_ns: 0, batch_wait_us: Some(50_000), batch_waiting: Some(50) };
        assert_eq!(queue.now(MS, waiting(0, 50), 1), Some(told));
    }

    #[test]
    fn a_batch_that_has_had_no_turn_yet_is_a_line_all_the_same() {
        let queue = Queue::default();
        queue.of(Call).polled(MS);
        let told = queue.now(MS, waiting(5, 50), 1).unwrap();
        assert_eq!((told.wait_us, told.batch_wait_us, told.batch_waiting), (5000, Some(50_000), Some(50)));
        queue.of(Batch).polled(2 * MS);
        assert_eq!(queue.now(MS, waiting(5, 50), 1).unwrap().batch_wait_us, Some(100_000));
    }

    #[test]
    fn what_waits_in_the_runtime_is_told_by_how_long() {
        let queue = Queue::default();
        queue.of(Batch).polled(MS);
        queue.of(Batch).begun(MS, 20 * MS);
        let told = queue.now(MS, waiting(0, 1), 1).unwrap();
        assert_eq!((told.batch_wait_us, told.batch_waiting), (Some(20_000), Some(20)));
    }

    #[test]
    fn what_a_call_met_is_worked_off_in_as_long_as_it_waited() {
        let queue = Queue::default();
        queue.of(Call).begun(100 * MS, 30 * MS);
        let wait_us = |now| queue.now(now, waiting(0, 0), 1).map(|queue| queue.wait_us);
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
