//! What became of the calls of a while: how many were served, how fast, and how fast the others were told. Pure.

use crate::bench::load::{End, Sample};
use crate::bench::stats::percentile;

/// From when until when, in seconds since the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct While {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
}

impl While {
    fn holds(self, at_s: f64) -> bool {
        self.from_s <= at_s && at_s < self.to_s
    }

    fn seconds(self) -> f64 {
        self.to_s - self.from_s
    }
}

/// A while in figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    /// Calls that were due.
    pub(super) due: usize,
    /// Calls that were served, by when their answer came: what is due now and answered in an hour is no goodput of now.
    pub(super) goodput_per_s: f64,
    /// Of all that were let in, whether they were served in the end or not.
    pub(super) admitted_p99_ms: f64,
    pub(super) refused: usize,
    pub(super) refused_p99_ms: f64,
    /// Let in, and neither served in time nor refused.
    pub(super) lost: usize,
    /// Not sent: too many were in flight.
    pub(super) unsent: usize,
    /// How late the generator was.
    pub(super) lag_p99_ms: f64,
}

impl Summary {
    pub(super) fn of(samples: &[Sample], time: While) -> Self {
        let due = || samples.iter().filter(|sample| time.holds(sample.due_s));
        let count = |end: fn(End) -> bool| due().filter(|sample| end(sample.end)).count();
        let p99_ms = |end: fn(End) -> bool| {
            p99(due().filter(|sample| end(sample.end)).map(|sample| sample.took_ms).collect())
        };
        let served = samples.iter().filter(|sample| {
            sample.end == End::Served && time.holds(sample.due_s + f64::from(sample.took_ms) / 1e3)
        });
        Self {
            due: due().count(),
            goodput_per_s: served.count() as f64 / time.seconds(),
            admitted_p99_ms: p99_ms(|end| !matches!(end, End::Refused | End::Unsent)),
            refused: count(|end| end == End::Refused),
            refused_p99_ms: p99_ms(|end| end == End::Refused),
            lost: count(|end| matches!(end, End::Late | End::Failed(_))),
            unsent: count(|end| end == End::Unsent),
            lag_p99_ms: p99(due().map(|sample| sample.lag_ms).collect()),
        }
    }

    /// Nobody was turned away or let down, and nobody waited longer than that.
    pub(super) fn is_normal(&self, most_p99_ms: f64) -> bool {
        self.refused + self.lost + self.unsent == 0 && self.admitted_p99_ms <= most_p99_ms
    }
}

fn p99(mut values: Vec<f32>) -> f64 {
    values.sort_by(f32::total_cmp);
    percentile(&values, 0.99)
}

const WINDOW_S: f64 = 1.0;
const STEP_S: f64 = 0.1;

/// How long after the beginning of `time` the first second begins in which all is normal, looking ten times a second.
pub(super) fn back_to_normal_s(samples: &[Sample], time: While, most_p99_ms: f64) -> Option<f64> {
    let after: Vec<Sample> = samples.iter().filter(|sample| time.holds(sample.due_s)).copied().collect();
    let windows = ((time.seconds() - WINDOW_S) / STEP_S).floor() as u32;
    (0..=windows).map(|step| f64::from(step) * STEP_S).find(|begins_s| {
        let from_s = time.from_s + begins_s;
        Summary::of(&after, While { from_s, to_s: from_s + WINDOW_S }).is_normal(most_p99_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::{Summary, While, back_to_normal_s};
    use crate::bench::load::{End, Sample};

    fn sample(due_s: f64, took_ms: f32, end: End) -> Sample {
        Sample { due_s, lag_ms: 0.5, took_ms, end }
    }

    #[test]
    fn goodput_counts_when_the_answer_came() {
        let samples = [
            sample(0.9, 200.0, End::Served),
            sample(1.1, 300.0, End::Served),
            sample(1.9, 200.0, End::Served),
            sample(1.5, 100.0, End::Late),
        ];
        let summary = Summary::of(&samples, While { from_s: 1.0, to_s: 2.0 });
        assert_eq!((summary.due, summary.goodput_per_s, summary.lost), (3, 2.0, 1));
        assert_eq!(summary.admitted_p99_ms, 300.0);
        assert!(summary.refused_p99_ms.is_nan());
    }

    #[test]
    fn refusals_are_not_the_latency_of_those_who_were_let_in() {
        let samples = [
            sample(0.1, 5.0, End::Served),
            sample(0.2, 2.0, End::Refused),
            sample(0.3, 80.0, End::Failed(tonic::Code::Internal)),
            sample(0.4, 0.0, End::Unsent),
        ];
        let summary = Summary::of(&samples, While { from_s: 0.0, to_s: 1.0 });
        assert_eq!((summary.refused, summary.lost, summary.unsent), (1, 1, 1));
        assert_eq!((summary.refused_p99_ms, summary.admitted_p99_ms), (2.0, 80.0));
        assert!(!summary.is_normal(100.0));
    }

    #[test]
    fn normal_is_a_whole_second_without_refusals_and_with_short_waits() {
        let mut samples: Vec<Sample> =
            (0..500_u16).map(|at| sample(f64::from(at) / 100.0, 10.0, End::Served)).collect();
        let all = While { from_s: 0.0, to_s: 5.0 };
        assert_eq!(back_to_normal_s(&samples, all, 20.0), Some(0.0));
        samples[49].end = End::Refused;
        // Two, so that the 99th of a hundred is one of them.
        samples[120].took_ms = 90.0;
        samples[121].took_ms = 90.0;
        let back = back_to_normal_s(&samples, all, 20.0).unwrap();
        assert!((1.15..=1.35).contains(&back), "{back}");
        assert_eq!(back_to_normal_s(&samples, all, 5.0), None);
    }
}
