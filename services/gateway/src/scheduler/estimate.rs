//! What jobs of one kind cost, learned from those that have finished.

use super::Spent;

/// Smoothed with a weight of 1/8 for what is new, and how far they stray with 1/4, as TCP smooths its round trips (RFC 6298).
#[derive(Clone, Debug, Default)]
pub(super) struct Estimate {
    /// For how long they held a slot, however they ended.
    held_us: f64,
    cpu_us: f64,
    finished: u32,
    /// How long those ran that were done,
    done_us: f64,
    /// and how far they are from that, in the mean.
    strays_us: f64,
    done: u32,
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
    /// Of items that ran together, their mean.
    pub(super) fn learn(&mut self, spent: Spent) {
        let (run_us, cpu_us) = (item_us(spent), cpu_of(spent) as f64 / f64::from(spent.items.max(1)));
        if self.finished == 0 {
            (self.held_us, self.cpu_us) = (run_us, cpu_us);
        } else {
            self.held_us += WEIGHT * (run_us - self.held_us);
            self.cpu_us += WEIGHT * (cpu_us - self.cpu_us);
        }
        self.finished = self.finished.saturating_add(1);
        if spent.done {
            self.learn_done(run_us);
        }
    }

    /// What was stopped, or failed, says nothing of how long its kind takes.
    fn learn_done(&mut self, run_us: f64) {
        if self.done == 0 {
            self.done_us = run_us;
        } else {
            self.strays_us += WEIGHT_OF_STRAYS * ((run_us - self.done_us).abs() - self.strays_us);
            self.done_us += WEIGHT * (run_us - self.done_us);
        }
        self.done = self.done.saturating_add(1);
    }

    /// Whether these were done in less than half of what such take.
    pub(super) fn is_brief(&self, spent: Spent) -> bool {
        spent.done && item_us(spent) < self.done_us / 2.0
    }

    /// Enough have finished to go by.
    pub(super) fn says_enough(&self) -> bool {
        self.finished >= ENOUGH
    }

    /// How long the next one will hold its slot.
    pub(super) fn service_us(&self) -> Option<u64> {
        (self.finished > 0).then_some(self.held_us as u64)
    }

    /// Enough were done to refuse somebody for what they took.
    pub(super) fn has_done_enough(&self) -> bool {
        self.done >= ENOUGH
    }

    /// How long it will run at least if it is done. Where runs differ by their inputs, that says little.
    pub(super) fn least_service_us(&self) -> u64 {
        (self.done_us - STRAYS * self.strays_us).max(0.0) as u64
    }

    /// What the next one of so many items will cost its tenant.
    pub(super) fn charge_us(&self, items: u32) -> i64 {
        if self.finished == 0 { GUESS_US } else { ((self.cpu_us * f64::from(items)) as i64).max(1) }
    }
}

fn item_us(spent: Spent) -> f64 {
    run_of(spent) as f64 / f64::from(spent.items.max(1))
}

/// How long a job has held its slot.
pub(super) fn run_of(spent: Spent) -> u64 {
    spent.run_us.min(MOST_US)
}

/// What a job has cost its tenant. At least a microsecond, so that nothing is free.
pub(super) fn cpu_of(spent: Spent) -> i64 {
    spent.cpu_us.clamp(1, MOST_US) as i64
}
