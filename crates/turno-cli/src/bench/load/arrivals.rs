//! When the calls of an open loop are due: at random, independent of each other and of how the server fares. Pure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// A while at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Phase {
    pub(crate) per_s: f64,
    pub(crate) time: Duration,
}

/// A Poisson process through phases: the gaps between calls are exponential. Yields times since the beginning.
#[derive(Debug)]
pub(super) struct Arrivals {
    phases: std::vec::IntoIter<Phase>,
    per_s: f64,
    at_s: f64,
    ends_s: f64,
    random: StdRng,
}

impl Arrivals {
    pub(super) fn new(phases: Vec<Phase>, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { phases: phases.into_iter(), per_s: 0.0, at_s: 0.0, ends_s: 0.0, random }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            if self.per_s > 0.0 {
                // 1 − random is above 0.
                let gap = -(1.0 - self.random.random::<f64>()).ln() / self.per_s;
                self.at_s += gap;
                if self.at_s < self.ends_s {
                    return Some(Duration::from_secs_f64(self.at_s));
                }
            }
            // The process has no memory: in the next phase it may begin anew.
            let phase = self.phases.next()?;
            self.at_s = self.ends_s;
            self.ends_s += phase.time.as_secs_f64();
            self.per_s = phase.per_s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Phase};
    use std::time::Duration;

    fn arrivals(phases: &[(f64, u64)]) -> Vec<f64> {
        let phase = |&(per_s, seconds)| Phase { per_s, time: Duration::from_secs(seconds) };
        Arrivals::new(phases.iter().map(phase).collect(), 7).map(|at| at.as_secs_f64()).collect()
    }

    #[test]
    fn each_phase_has_its_rate_and_time() {
        let at = arrivals(&[(1000.0, 10), (10_000.0, 10), (0.0, 5), (500.0, 10)]);
        assert!(at.is_sorted());
        let between = |from: f64, to: f64| at.iter().filter(|&&at| from <= at && at < to).count() as f64;
        // Five standard deviations of a Poisson count.
        for (from, to, expected) in [(0.0, 10.0, 1e4), (10.0, 20.0, 1e5), (25.0, 35.0, 5e3_f64)] {
            let counted = between(from, to);
            assert!((counted - expected).abs() < 5.0 * expected.sqrt(), "{counted} of {expected}");
        }
        assert_eq!(between(20.0, 25.0) + between(35.0, f64::INFINITY), 0.0);
    }

    #[test]
    fn gaps_vary_as_exponential_ones_do() {
        let at = arrivals(&[(1000.0, 50)]);
        let gaps: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance} {mean}");
    }

    #[test]
    fn no_phases_no_calls() {
        assert!(arrivals(&[]).is_empty());
    }
}
