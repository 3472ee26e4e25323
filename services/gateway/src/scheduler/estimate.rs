//! What jobs of one method cost, learned from those that have finished.

use super::Spent;

/// Smoothed with a weight of 1/8 for what is new, as TCP smooths its round trips (RFC 6298).
#[derive(Clone, Debug, Default)]
pub(super) struct Estimate {
    run_us: f64,
    cpu_us: f64,
    finished: u32,
}

const WEIGHT: f64 = 0.125;
/// Nobody is refused for what fewer jobs than this have said.
const ENOUGH: u32 = 8;
/// Charged for a job of a method that nobody has seen finish; corrected when one has.
const GUESS_US: i64 = 1_000;
/// A node's word is not believed beyond this (four months): sums must not overflow.
const MOST_US: u64 = 1 << 43;

impl Estimate {
    /// Of items that ran together, their mean.
    pub(super) fn learn(&mut self, spent: Spent) {
        let items = f64::from(spent.items.max(1));
        let (run, cpu) = (run_of(spent) as f64 / items, cpu_of(spent) as f64 / items);
        if self.finished == 0 {
            (self.run_us, self.cpu_us) = (run, cpu);
        } else {
            self.run_us += WEIGHT * (run - self.run_us);
            self.cpu_us += WEIGHT * (cpu - self.cpu_us);
        }
        self.finished = self.finished.saturating_add(1);
    }

    /// How long the next one will run.
    pub(super) fn service_us(&self) -> Option<u64> {
        (self.finished > 0).then_some(self.run_us as u64)
    }

    /// The same, once enough is known to refuse somebody for it.
    pub(super) fn sure_service_us(&self) -> Option<u64> {
        self.service_us().filter(|_| self.finished >= ENOUGH)
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
