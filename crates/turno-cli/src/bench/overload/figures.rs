//! What a bench of overload says: the overload beside the knee.

use anyhow::Result;

use crate::bench::figure::{Figure, median};
use crate::bench::overload::summary::Summary;
use crate::bench::report::{Report, Wanted};
use crate::bench::rounds::Case;

/// One round: at the knee, and far above it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overload {
    pub(super) knee_per_s: f64,
    /// What a call takes when it is the only one.
    pub(super) alone_ms: f64,
    pub(super) before: Summary,
    pub(super) during: Summary,
    /// How long after the overload all was normal again, if it was in the time that was looked at.
    pub(super) back_s: Option<f64>,
}

const BENCH: &str = "overload";

/// Adds the figures of one case.
pub(super) fn add(report: &mut Report, case: &str, rounds: &[Overload]) -> Result<()> {
    let sides: Vec<_> = rounds.iter().map(|round| (round.during, round.before)).collect();
    let both = Case { bench: BENCH, case: case.to_owned(), rounds: &sides };
    let share = |metric, of: fn(&Summary) -> usize| {
        both.alone(metric, "%", |during| 100.0 * of(during) as f64 / during.due as f64)
    };
    let of_round = |metric, unit, of: fn(&Overload) -> f64| Figure {
        value: median(rounds.iter().map(of)),
        ..both.alone(metric, unit, |_| 0.0)
    };
    report.add(&of_round("knee", "calls/s", |round| round.knee_per_s), None)?;
    let goodput = both.figure("goodput", "calls/s", |side| side.goodput_per_s);
    report.add(&goodput, Some(Wanted::RatioAtLeast(0.90)))?;
    let admitted = both.figure("admitted p99", "ms", |side| side.admitted_p99_ms);
    report.add(&admitted, Some(Wanted::RatioAtMost(3.0)))?;
    report.add(&share("admitted in vain", |during| during.lost), None)?;
    report.add(&share("refused", |during| during.refused), None)?;
    let refused = both.alone("refusals p99", "ms", |during| during.refused_p99_ms);
    report.add(&refused, Some(Wanted::AtMost(10.0)))?;
    let back = of_round("back to normal after", "s", |round| round.back_s.unwrap_or(f64::NAN));
    report.add(&back, Some(Wanted::AtMost(2.0)))?;
    report.add(&share("not sent by the generator", |during| during.unsent), None)?;
    report.add(&both.alone("generator's lag p99", "ms", |during| during.lag_p99_ms), None)
}
