//! Medians and percentiles of what was measured. Pure.

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The smallest value that at least `share` of them do not exceed. `sorted` begins with the smallest; of none, it is
/// not a number.
pub(crate) fn percentile(sorted: &[f32], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |&value| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn one_round_that_was_disturbed_does_not_move_the_median() {
        assert_eq!(median([0.7, 0.1, 0.72, 0.71, 0.73]), 0.71);
        assert_eq!(median([3.0]), 3.0);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f32> = (1..=100_u8).map(f32::from).collect();
        assert_eq!(percentile(&hundred, 0.5), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&hundred, 1.0), 100.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert!(percentile(&[], 0.99).is_nan());
    }
}
