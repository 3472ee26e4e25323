//! CPU work of a known length: so many rounds of arithmetic, counted once, so that all parties do the same work
//! whatever the machine does to their clocks.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Does the work. Each round needs the one before it: no compiler shortens it, no core overlaps it.
pub(crate) fn spin(loops: u64) -> u64 {
    let mut state = black_box(loops | 1);
    for _ in 0..loops {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

/// How fast this machine spins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    loops_per_s: f64,
}

const PROBE: u64 = 2_000_000;
const PROBES: usize = 25;

impl Pace {
    /// Measures it, on this thread. The fastest probe counts: the others were disturbed.
    pub(crate) fn measure() -> Self {
        let probe = || {
            let started = Instant::now();
            spin(PROBE);
            started.elapsed().as_secs_f64()
        };
        let fastest = (0..PROBES).map(|_| probe()).fold(f64::INFINITY, f64::min);
        Self { loops_per_s: PROBE as f64 / fastest }
    }

    /// The loops that take one core so long.
    pub(crate) fn loops(self, time: Duration) -> u64 {
        (self.loops_per_s * time.as_secs_f64()).round().max(1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{Pace, spin};
    use std::time::Duration;

    #[test]
    fn loops_are_counted_from_the_pace() {
        let pace = Pace { loops_per_s: 1e9 };
        assert_eq!(pace.loops(Duration::from_millis(1)), 1_000_000);
        assert_eq!(pace.loops(Duration::ZERO), 1);
        assert!(Pace::measure().loops(Duration::from_secs(1)) > 1000);
    }

    #[test]
    fn every_loop_is_done() {
        assert_ne!(spin(1000), spin(1001));
    }
}
