//! What the calls of a method have cost, counted for the node's `/metrics`. Each method has its handles from the start:
//! a call looks nothing up.

use std::time::Duration;

use metrics::Counter;
use rustix::time::{ClockId, clock_gettime};
use tonic::Code;
use turno_proto::mesh::v1::Cost;
use turno_proto::status;

/// One method's.
pub(crate) struct Tally {
    method: &'static str,
    succeeded: Counter,
    run_us: Counter,
    cpu_us: Counter,
}

impl Tally {
    pub(crate) fn new(method: &'static str) -> Self {
        Self {
            method,
            succeeded: metrics::counter!("turno_served_total", "method" => method, "code" => "OK"),
            run_us: metrics::counter!("turno_run_microseconds_total", "method" => method),
            cpu_us: metrics::counter!("turno_cpu_microseconds_total", "method" => method),
        }
    }

    /// A call has ended with `code`.
    pub(crate) fn count(&self, code: Code, cost: &Cost) {
        self.ended(code, 1);
        self.cost(cost);
    }

    /// So many calls have ended with `code`.
    pub(crate) fn ended(&self, code: Code, times: u64) {
        if code == Code::Ok {
            self.succeeded.increment(times);
        } else {
            let code = status::code_name(code);
            metrics::counter!("turno_served_total", "method" => self.method, "code" => code).increment(times);
        }
    }

    /// What one call, or a chunk of them, has cost.
    pub(crate) fn cost(&self, cost: &Cost) {
        self.run_us.increment(cost.run_us);
        self.cpu_us.increment(cost.cpu_us);
    }
}

/// How long this thread has run on a core. What a job leaves to other threads, as rayon does, is not in it; what it
/// takes over from others while it waits for them is.
pub(crate) fn cpu_of_this_thread() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::cpu_of_this_thread;
    use std::time::{Duration, Instant};

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
