//! Which lane goes next on one kind of worker while both wait. Batch is owed its share of all CPU time that is spent
//! while both lanes wait; it goes as soon as something is owed, and then owes what it took above its share.

use super::Lane;

/// The account between the lanes. What runs while only one lane waits takes nothing from the other, and is not counted.
#[derive(Clone, Debug)]
pub(super) struct Share {
    batch: f64,
    owed_us: f64,
}

/// Batch is never owed more than this: what was charged too little for calls shows only when they finish, and must
/// not come back as a burst.
const MOST_OWED_US: f64 = 60e6;

impl Share {
    pub(super) fn new(batch: f64) -> Self {
        let batch = if batch.is_finite() { batch.clamp(0.0, 0.9) } else { 0.0 };
        Self { batch, owed_us: 0.0 }
    }

    /// The lane that goes next when both wait.
    pub(super) fn next(&self) -> Lane {
        if self.owed_us > 0.0 { Lane::Batch } else { Lane::Calls }
    }

    /// CPU time of a job that went while both lanes waited; negative to correct what was counted too much.
    pub(super) fn count(&mut self, lane: Lane, cpu_us: i64) {
        let cpu = cpu_us as f64;
        let owed = match lane {
            Lane::Calls => self.batch * cpu,
            Lane::Batch => (self.batch - 1.0) * cpu,
        };
        self.owed_us = (self.owed_us + owed).min(MOST_OWED_US);
    }

    /// Batch does not wait: it needed nothing more. What it owes stays owed, or one batch job at a time would get a
    /// turn for every call.
    pub(super) fn lapse(&mut self) {
        self.owed_us = self.owed_us.min(0.0);
    }

    /// Batch's part of the CPU while both wait.
    pub(super) fn batch(&self) -> f64 {
        self.batch
    }
}
