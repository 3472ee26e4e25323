//! What makes the figures of an overload worth less, and what they do not say. Pure.

use std::collections::BTreeMap;

use turno_proto::status::code_name;

use crate::bench::load::{End, Sample};
use crate::bench::overload::figures::Overload;
use crate::bench::overload::knee;

/// A generator may be so late at least: timers count milliseconds, and it shares the cores.
const LATE_MS: f64 = 10.0;

/// In words, for the person who reads the figures.
pub(super) fn doubts(round: &Overload, samples: &[Sample]) -> Vec<String> {
    let Overload { alone_ms, before, during, back_s, .. } = round;
    let mut doubts = Vec::new();
    if !knee::carries(before, 2.0 * knee::most_p99_ms(*alone_ms)) {
        doubts.push("DOUBTFUL: the knee's rate was not carried when it was offered again".to_owned());
    }
    if during.unsent > 0 {
        let (unsent, due) = (during.unsent, during.due);
        doubts.push(format!("NOT HONEST: {unsent} of {due} calls were not sent: too many were in flight"));
    }
    if during.lag_p99_ms > alone_ms.max(LATE_MS) {
        doubts.push(format!("NOT HONEST: the generator was up to {:.0} ms late (p99)", during.lag_p99_ms));
    }
    if back_s.is_none() {
        doubts.push("not back to normal as long as was looked".to_owned());
    }
    doubts.extend(failures(samples));
    doubts
}

/// "3 × UNAVAILABLE": calls that were neither served nor refused, nor too late.
fn failures(samples: &[Sample]) -> Option<String> {
    let mut codes = BTreeMap::<&str, usize>::new();
    for sample in samples {
        if let End::Failed(code) = sample.end {
            *codes.entry(code_name(code)).or_default() += 1;
        }
    }
    let told: Vec<String> = codes.iter().map(|(code, count)| format!("{count} × {code}")).collect();
    (!told.is_empty()).then(|| format!("failed: {}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::{doubts, failures};
    use crate::bench::load::{End, Sample};
    use crate::bench::overload::figures::Overload;
    use crate::bench::overload::summary::{Summary, While};
    use tonic::Code;

    fn sample(due_s: f64, lag_ms: f32, end: End) -> Sample {
        Sample { due_s, lag_ms, took_ms: lag_ms + 10.0, end }
    }

    fn round(samples: &[Sample], back_s: Option<f64>) -> Overload {
        let before = Summary::of(samples, While { from_s: 0.0, to_s: 1.0 });
        let during = Summary::of(samples, While { from_s: 1.0, to_s: 2.0 });
        Overload { knee_per_s: 1.0, alone_ms: 10.0, before, during, back_s }
    }

    #[test]
    fn a_generator_that_kept_up_raises_none() {
        let samples = [sample(0.5, 1.0, End::Served), sample(1.5, 1.0, End::Refused)];
        assert!(doubts(&round(&samples, Some(0.0)), &samples).is_empty());
    }

    #[test]
    fn each_doubt_is_told() {
        let samples = [sample(0.5, 1.0, End::Refused), sample(1.5, 50.0, End::Unsent)];
        let told = doubts(&round(&samples, None), &samples).join("\n");
        for doubt in ["not carried", "1 of 1 calls were not sent", "50 ms late", "not back to normal"] {
            assert!(told.contains(doubt), "{doubt}: {told}");
        }
    }

    #[test]
    fn failures_are_counted_by_their_code() {
        let ends = [End::Served, End::Failed(Code::Internal), End::Late, End::Failed(Code::Internal)];
        assert_eq!(failures(&ends.map(|end| sample(0.0, 0.0, end))).unwrap(), "failed: 2 × INTERNAL");
        assert_eq!(failures(&[sample(0.0, 0.0, End::Refused)]), None);
    }
}
