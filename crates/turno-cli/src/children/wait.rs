//! Whether a process that has ended is started again, and how long it waits until then: ever longer where it dies at once.
//! Pure.

use std::process::ExitStatus;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// One that has run for so long has died of something else than the one before it.
const STEADY: Duration = Duration::from_secs(10);

/// Of a command that has failed, and of a command line that is wrong.
const FAILED: i32 = 1;
const WRONG: i32 = 2;

/// Whether it would be started again in vain. A role that is up does not fail any more: it dies, or is asked to end. So one that
/// fails has not come up; but where one before it has, what it lacks may come again: a store that is away, a port that somebody
/// has taken meanwhile.
pub(super) fn is_hopeless(status: ExitStatus, is_first: bool) -> bool {
    is_first && matches!(status.code(), Some(FAILED | WRONG))
}

/// After the wait before it, which is zero if there was none, and how long it ran then.
pub(super) fn next(last: Duration, ran: Duration) -> Duration {
    if ran < STEADY { (last * 2).clamp(FIRST, LONGEST) } else { FIRST }
}

#[cfg(test)]
mod tests {
    use super::{Duration, ExitStatus, FIRST, LONGEST, STEADY, is_hopeless, next};
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn who_dies_is_started_again_and_who_cannot_start_is_not() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let (panicked, killed) = (exit(101), ExitStatus::from_raw(9));
        for (status, hopeless_at_first, hopeless_later) in [
            (killed, false, false),
            (panicked, false, false),
            (exit(0), false, false),
            (exit(1), true, false),
            (exit(2), true, false),
        ] {
            assert_eq!(is_hopeless(status, true), hopeless_at_first, "{status}");
            assert_eq!(is_hopeless(status, false), hopeless_later, "{status}");
        }
    }

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
