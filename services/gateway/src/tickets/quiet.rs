//! Until when nothing is due, as the store has said. To find that out it may have to look through all queues that are passed
//! over, so that it is not asked again before, unless there is news. Pure.

use std::time::{Duration, Instant};

/// Another gateway's word may have been lost.
pub(super) const LONGEST: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Quiet(Option<Instant>);

impl Quiet {
    /// How long it still is; `None` if the store is to be asked.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        self.0?.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// The store has said when something is due next. Answers how long it is quiet.
    pub(super) fn begin(&mut self, now: Instant, next: Option<Duration>) -> Duration {
        let quiet = next.map_or(LONGEST, |next| next.min(LONGEST));
        self.0 = Some(now + quiet);
        quiet
    }

    /// There is news.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LONGEST, Quiet};

    #[test]
    fn the_store_is_not_asked_again_before_what_it_has_said_is_over() {
        let (mut quiet, now, second) = (Quiet::default(), Instant::now(), Duration::from_secs(1));
        assert_eq!(quiet.left(now), None);
        assert_eq!(quiet.begin(now, Some(2 * second)), 2 * second);
        assert_eq!(quiet.left(now + second), Some(second));
        assert_eq!(quiet.left(now + 2 * second), None, "something is due");
        for next in [None, Some(100 * second)] {
            assert_eq!(quiet.begin(now, next), LONGEST);
            assert_eq!((quiet.left(now), quiet.left(now + LONGEST)), (Some(LONGEST), None));
        }
        quiet.end();
        assert_eq!(quiet.left(now), None);
    }
}
