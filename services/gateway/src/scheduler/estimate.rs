//! What jobs of one method cost, learned from those that have finished.

use super::Spent;

/// Smoothed with a weight of 1/8 for what is new, and how far they stray with 1/4, as TCP smooths its round trips (RFC 6298).
#[derive(Clone, Debug, Default)]
pub(super) struct Estimate {
    run_us: f64,
    /// How far those that were done are from that, in the mean.
    strays_us: f64,
    cpu_us: f64,
    finished: u32,
}

const WEIGHT: f64 = 0.125;
const WEIGHT_OF_STRAYS: f64 = 0.25;
/// So many times as far below the mean a job is expected to be where nobody is to be wronged.
const STRAYS: f64 = 2.0;
/// Nobody is refused for what fewer jobs than this have said.
const ENOUGH: u32 = 8;
/// Charged for a job of a method that nobody has seen finish; corrected when one has.
const GUESS_US: i64 = 1_000;
/// A node's word is not believed beyond this (four months): sums must not overflow.
const MOST_US: u64 = 1 << 43;

impl Estimate {
    /// Of items that ran together, their mean. Answers whether they were done in less than half of what was expected: what was
    /// stopped before says nothing of how brief its kind can be.
    pub(super) fn learn(&mut self, spent: Spent) -> bool {
        let items = f64::from(spent.items.max(1));
        let (run, cpu) = (run_of(spent) as f64 / items, cpu_of(spent) as f64 / items);
        let was_brief = spent.done && run < self.run_us / 2.0;
        if self.finished == 0 {
            (self.run_us, self.cpu_us) = (run, cpu);
        } else {
            if spent.done {
                self.strays_us += WEIGHT_OF_STRAYS * ((run - self.run_us).abs() - self.strays_us);
            }
            self.run_us += WEIGHT * (run - self.run_us);
            self.cpu_us += WEIGHT * (cpu - self.cpu_us);
        }
        self.finished = self.finished.saturating_add(1);
        was_brief
    }

    /// How long the next one will run.
    pub(super) fn service_us(&self) -> Option<u64> {
        (self.finished > 0).then_some(self.run_us as u64)
    }

    /// How long it will run at least, once enough is known to refuse somebody for it. Where runs differ by their inputs, that
    /// says little.
    pub(super) fn least_service_us(&self) -> Option<u64> {
        let least_us = (self.run_us - STRAYS * self.strays_us).max(0.0) as u64;
        (self.finished >= ENOUGH).then_some(least_us)
    }

    /// What the next one of so many items will cost its tenant.
    pub(super) fn charge_us(&self, items: u32) -> i64 {
        if self.finished == 0 { GUESS_US } else { ((self.cpu_us * f64::from(items)) as i64).max(1) }
    }
}

/// How long a job has held its slot.
pub(super) fn run_of(spent: Spent) -> u64 {
    spent.run_us.min(MOST_US)
}

/// What a job has cost its tenant. At least a microsecond, so that nothing is free.
pub(super) fn cpu_of(spent: Spent) -> i64 {
    spent.cpu_us.clamp(1, MOST_US) as i64
}
