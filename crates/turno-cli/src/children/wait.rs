//! How long a process that has died waits until it is started again: ever longer where it dies at once. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// One that has run for so long has died of something else than the one before it.
const STEADY: Duration = Duration::from_secs(10);

/// After the wait before it, which is zero if there was none, and how long it ran then.
pub(super) fn next(last: Duration, ran: Duration) -> Duration {
    if ran < STEADY { (last * 2).clamp(FIRST, LONGEST) } else { FIRST }
}

#[cfg(test)]
mod tests {
    use super::{Duration, FIRST, LONGEST, STEADY, next};

    #[test]
    fn who_dies_at_once_waits_ever_longer_and_not_for_ever() {
        let waits = std::iter::successors(Some(Duration::ZERO), |last| Some(next(*last, Duration::ZERO)));
        let waits: Vec<u128> = waits.map(|wait| wait.as_millis()).take(8).collect();
        assert_eq!(waits, [0, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn who_has_run_for_long_is_soon_there_again() {
        assert_eq!(next(LONGEST, STEADY), FIRST);
        assert_eq!(next(LONGEST, STEADY - Duration::from_millis(1)), LONGEST);
    }
}
