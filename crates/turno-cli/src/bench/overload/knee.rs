//! The knee: the highest rate that a server carries before its callers wait. Pure.
//!
//! The closed loop says what the server can do at most; the open loop is then tried at shares of that, and the knee is
//! the highest of these rates at which next to nobody is turned away and the 99th percentile of the latency stays within
//! five times that of a call alone.

use crate::bench::overload::summary::Summary;

/// The shares of the closed loop's rate that are tried.
pub(super) const SHARES: [f64; 7] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
const MOST_TIMES_ALONE: f64 = 5.0;
/// One in a thousand may be turned away: limits that learn try a little.
const MOST_REFUSED: f64 = 0.001;

/// The longest 99th percentile that is no queue yet.
pub(super) fn most_p99_ms(alone_ms: f64) -> f64 {
    alone_ms * MOST_TIMES_ALONE
}

/// Whether a server carries what it was offered.
pub(super) fn carries(step: &Summary, most_p99_ms: f64) -> bool {
    let turned_away = (step.refused + step.lost + step.unsent) as f64;
    turned_away <= MOST_REFUSED * step.due as f64 && step.admitted_p99_ms <= most_p99_ms
}

/// Of rates and what came of them: the highest that was carried. One below it that was not was disturbed.
pub(super) fn knee(steps: &[(f64, Summary)], most_p99_ms: f64) -> Option<f64> {
    let carried = steps.iter().filter(|(_, step)| carries(step, most_p99_ms));
    carried.map(|&(per_s, _)| per_s).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::{knee, most_p99_ms};
    use crate::bench::overload::summary::Summary;

    fn step(p99_ms: f64, refused: usize) -> Summary {
        Summary {
            due: 1000,
            goodput_per_s: 1000.0,
            admitted_p99_ms: p99_ms,
            refused,
            refused_p99_ms: 1.0,
            lost: 0,
            unsent: 0,
            lag_p99_ms: 1.0,
        }
    }

    #[test]
    fn it_is_the_highest_rate_at_which_nobody_waits_long() {
        let most = most_p99_ms(10.0);
        let steps = [(100.0, step(12.0, 0)), (200.0, step(49.0, 1)), (300.0, step(51.0, 0))];
        assert_eq!(knee(&steps, most), Some(200.0));
    }

    #[test]
    fn a_rate_at_which_calls_are_refused_is_above_it() {
        assert_eq!(knee(&[(100.0, step(12.0, 0)), (200.0, step(12.0, 2))], 50.0), Some(100.0));
        assert_eq!(knee(&[(100.0, step(60.0, 0))], 50.0), None);
    }

    #[test]
    fn a_disturbed_step_is_passed_over() {
        let steps = [(100.0, step(12.0, 0)), (200.0, step(90.0, 0)), (300.0, step(20.0, 0))];
        assert_eq!(knee(&steps, 50.0), Some(300.0));
    }

    #[test]
    fn of_no_calls_nothing_is_known() {
        assert_eq!(knee(&[(100.0, step(f64::NAN, 0))], 50.0), None);
    }
}
