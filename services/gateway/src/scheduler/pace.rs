//! How a worker keeps up with the others of its kind, and how it stands for that. Knows no clock.
//!
//! What is compared is how long each job ran beside what jobs of its method and lane took at about the same time,
//! wherever they ran: as a logarithm, whose mean a few long jobs do not move (`outliers.rs` says how far it strays). So
//! a worker is not accused by inputs that have become smaller since its last jobs, nor by methods or maps of which it
//! has got more than others. Of items that ran together it is their mean. Whoever does most of the work is what is
//! usual, and never slow.
//!
//! Where jobs differ widely by their inputs, so do means of sixteen of them, and a worker is to stray further before that
//! says something: four standard errors. A worker that was slow with its first jobs only, with cold caches, is so no more
//! by what its last four say.

use super::Standing;

const SECOND_US: u64 = 1_000_000;
/// A verdict needs so many jobs.
const JOBS: u64 = 16;
/// The others are asked once in so many jobs of a worker that seems slow: that looks at each of them.
const EVERY: u64 = 4;
/// A slow worker takes so many times as long as the median of the others does,
const TIMES: f64 = 5.0;
/// and so much longer: what is less no caller notices.
const ABOVE_US: f64 = 20_000.0;
/// More is said of nobody.
const MOST_TIMES: f64 = 1_000.0;
/// So many standard errors above the others, at least.
const ERRORS: f64 = 4.0;
/// Weight of what is new, for a worker.
const WEIGHT: f64 = 1.0 / 16.0;
/// And for whether it still is slow.
const WEIGHT_LATELY: f64 = 1.0 / 4.0;
/// For what is usual: of all workers, so it changes sooner than any of them.
const WEIGHT_USUAL: f64 = 1.0 / 64.0;
/// Aside for so long; then twice as long, each time that it is as slow as before when it has come back.
const FIRST_US: u64 = 5 * SECOND_US;
const LONGEST_US: u64 = 60 * SECOND_US;
/// What has been well for so long since it came back has no past.
const FORGIVEN_US: u64 = 60 * SECOND_US;

/// How long jobs of a method run in one lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usual {
    log_us: f64,
    jobs: u64,
}

impl Usual {
    /// An item of a job ran for so long. The plain mean of the first ones, then smoothed.
    pub(super) fn ran(&mut self, us: u64) -> Ran {
        let log_us = (us.max(1) as f64).ln();
        self.jobs += 1;
        smooth(&mut self.log_us, log_us, WEIGHT_USUAL, self.jobs);
        Ran { log_us, beside: log_us - self.log_us }
    }
}

/// What a job says of its worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ran {
    log_us: f64,
    /// Beside what is usual.
    beside: f64,
}

/// A worker's pace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Since it came, or was last set aside.
    jobs: u64,
    beside: f64,
    variance: f64,
    lately: f64,
    log_us: f64,
    standing: Standing,
    /// It is aside until then, or was.
    until_us: u64,
    for_us: u64,
}

impl Pace {
    pub(super) fn is_well(&self) -> bool {
        self.standing == Standing::Well
    }

    /// Until when it is aside.
    pub(super) fn until_us(&self) -> Option<u64> {
        matches!(self.standing, Standing::Aside { .. }).then_some(self.until_us)
    }

    /// How it compares, if it is an example to others.
    pub(super) fn example(&self) -> Option<f64> {
        (self.is_well() && self.jobs >= JOBS).then_some(self.beside)
    }

    /// Also while it is aside: so it may be known already when it comes back.
    pub(super) fn take(&mut self, ran: Ran) {
        self.jobs += 1;
        let off = ran.beside - self.beside;
        smooth(&mut self.beside, ran.beside, WEIGHT, self.jobs);
        // Off the mean that was, times off the one that is now (Welford).
        smooth(&mut self.variance, off * (ran.beside - self.beside), WEIGHT, self.jobs);
        smooth(&mut self.lately, ran.beside, WEIGHT_LATELY, self.jobs);
        smooth(&mut self.log_us, ran.log_us, WEIGHT, self.jobs);
    }

    /// Whether a verdict is to be had now: of one that is well, if it may be slow.
    pub(super) fn is_due(&self) -> bool {
        self.is_well() && self.jobs >= JOBS && self.jobs.is_multiple_of(EVERY) && self.may_be_slow()
    }

    /// It is half as far above what is usual as it would have to be above the others. Who does most of the work is not.
    fn may_be_slow(&self) -> bool {
        self.beside > TIMES.ln() / 2.0 && self.log_us.exp() > ABOVE_US
    }

    /// How many times as long as the others it takes, if that is too long.
    pub(super) fn times_slower(&self, others: f64) -> Option<u32> {
        let (times, mine_us) = ((self.beside.min(self.lately) - others).exp(), self.log_us.exp());
        let error = self.variance.sqrt() / (JOBS as f64).sqrt();
        let is_slow = times > TIMES && self.beside - others > ERRORS * error;
        let is_noticed = mine_us - mine_us / times > ABOVE_US;
        // It is cut to whole ones.
        (is_slow && is_noticed).then_some(times.min(MOST_TIMES) as u32)
    }

    pub(super) fn set_aside(&mut self, times: u32, now_us: u64) {
        let has_no_past = self.for_us == 0 || now_us >= self.until_us.saturating_add(FORGIVEN_US);
        let for_us = if has_no_past { FIRST_US } else { (self.for_us * 2).min(LONGEST_US) };
        let (standing, until_us) = (Standing::Aside { times }, now_us.saturating_add(for_us));
        *self = Self { standing, until_us, for_us, ..Self::default() };
    }

    /// Its time is over.
    pub(super) fn come_back(&mut self) {
        self.standing = Standing::Well;
    }
}

fn smooth(known: &mut f64, sample: f64, weight: f64, samples: u64) {
    *known += weight.max(1.0 / samples as f64) * (sample - *known);
}

#[cfg(test)]
mod tests;
