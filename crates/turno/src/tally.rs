//! What the calls of a method have cost, counted for the node's `/metrics`. Each method has its handles from the start:
//! a call looks nothing up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::Counter;
use rustix::time::{ClockId, clock_gettime};
use tonic::Code;
use turno_proto::habits::ANSWERS_HELD;
use turno_proto::mesh::v1::Cost;
use turno_proto::status;
use turno_runtime::metrics::CounterFamily;

/// One method's.
pub(crate) struct Tally {
    method: &'static str,
    served: CounterFamily,
    succeeded: Counter,
    run_us: Counter,
    cpu_us: Counter,
    /// How long the last jobs ran, in microseconds, the later ones counting more.
    typically_us: AtomicU64,
}

/// How many jobs ago does no longer count for much.
const MEMORY: u64 = 16;
const UNKNOWN: u64 = u64::MAX;
/// What takes longer counts as this: a job that had to leave its core to others says little of those to come.
const LONG_US: u64 = 8 * ANSWERS_HELD.as_micros() as u64;

impl Tally {
    pub(crate) fn new(method: &'static str) -> Self {
        let help =
            "Calls that this node has served, and items of maps, by the code that they have ended with.";
        let served = CounterFamily::new("turno_served_total", help);
        let help = "Microseconds from when calls had begun until they had ended.";
        let run = CounterFamily::new("turno_run_microseconds_total", help);
        let help =
            "Microseconds for which calls had a thread: a job's CPU time, or the polls of an async fn.";
        let cpu = CounterFamily::new("turno_cpu_microseconds_total", help);
        Self {
            method,
            served,
            succeeded: served.with([("method", method.into()), ("code", "OK".into())]),
            run_us: run.with([("method", method.into())]),
            cpu_us: cpu.with([("method", method.into())]),
            typically_us: AtomicU64::new(UNKNOWN),
        }
    }

    /// How long a job takes, by the clock and not by the CPU, if less than 16 ms; for ever, until one has ended.
    pub(crate) fn typically(&self) -> Duration {
        Duration::from_micros(self.typically_us.load(Ordering::Relaxed))
    }

    /// A call has ended with `code`.
    pub(crate) fn count(&self, code: Code, cost: &Cost) {
        self.ended(code, 1);
        self.cost(cost);
    }

    /// A job has run for so long.
    pub(crate) fn learn(&self, run_us: u64) {
        let before = self.typically_us.load(Ordering::Relaxed);
        let now = if before == UNKNOWN { run_us } else { mean(before, run_us) };
        // Of two that end at once one may be forgotten.
        self.typically_us.store(now, Ordering::Relaxed);
    }

    /// So many calls have ended with `code`.
    pub(crate) fn ended(&self, code: Code, times: u64) {
        if code == Code::Ok {
            self.succeeded.increment(times);
        } else {
            let labels = [("method", self.method.into()), ("code", status::code_name(code).into())];
            self.served.with(labels).increment(times);
        }
    }

    /// What one call, or a chunk of them, has cost.
    pub(crate) fn cost(&self, cost: &Cost) {
        self.run_us.increment(cost.run_us);
        self.cpu_us.increment(cost.cpu_us);
    }
}

/// Rounded up, so that it does not stay below what all calls take.
fn mean(before: u64, run_us: u64) -> u64 {
    (before.min(LONG_US) * (MEMORY - 1) + run_us.min(LONG_US)).div_ceil(MEMORY)
}

/// How long this thread has run on a core. What a job leaves to other threads, as rayon does, is not in it; what it
/// takes over from others while it waits for them is.
pub(crate) fn cpu_of_this_thread() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Tally, cpu_of_this_thread};
    use std::time::{Duration, Instant};

    #[test]
    fn what_a_job_typically_takes_follows_the_last_ones() {
        let tally = Tally::new("test");
        let run = |run_us, times| {
            (0..times).for_each(|_| tally.learn(run_us));
            tally.typically()
        };
        assert!(tally.typically() > Duration::from_secs(1_000_000));
        assert_eq!(run(10, 1), Duration::from_micros(10));
        // One that takes long counts for little, many do not.
        assert_eq!(run(100_000, 1), Duration::from_micros(1_010));
        assert_eq!(run(100_000, 200), Duration::from_millis(16));
        assert!(run(10, 200) < Duration::from_micros(30));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a thread that sleeps")]
    fn working_costs_cpu_and_sleeping_does_not() {
        let (began, patience) = (cpu_of_this_thread(), Instant::now());
        while cpu_of_this_thread() < began + Duration::from_millis(5) {
            assert!(patience.elapsed() < Duration::from_secs(20), "it does not run at all");
        }
        let worked = cpu_of_this_thread();
        std::thread::sleep(Duration::from_millis(50));
        assert!(cpu_of_this_thread() - worked < Duration::from_millis(40));
    }
}
