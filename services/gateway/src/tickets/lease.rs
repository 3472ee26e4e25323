//! Until when this gateway's lease is sure to last, and what the log has heard of it: each once, until it is renewed. A table.

use std::time::Duration;

use tokio::time::Instant;

/// A gateway that says nothing for so long has lost what it had.
pub(super) const LASTS: Duration = Duration::from_secs(10);

/// This gateway's lease.
pub(super) struct Lease {
    sure_until: Instant,
    told: Told,
}

/// The worst that the log has heard since it was renewed.
#[derive(PartialEq, PartialOrd)]
enum Told {
    Nothing,
    Late,
    Over,
}

impl Lease {
    /// It was asked for then.
    pub(super) fn new(asked: Instant) -> Self {
        Self { sure_until: asked + LASTS, told: Told::Nothing }
    }

    pub(super) fn sure_until(&self) -> Instant {
        self.sure_until
    }

    /// It is renewed, as it was asked for then. Answers whether the log has heard otherwise.
    pub(super) fn renew(&mut self, asked: Instant) -> bool {
        let before = std::mem::replace(self, Self::new(asked));
        before.told != Told::Nothing
    }

    /// It is not renewed yet. Answers whether the log is to hear of it.
    pub(super) fn tell_late(&mut self) -> bool {
        self.is_news(Told::Late)
    }

    /// It is over, as far as this gateway knows. Answers whether the log is to hear of it.
    pub(super) fn tell_over(&mut self) -> bool {
        self.is_news(Told::Over)
    }

    fn is_news(&mut self, what: Told) -> bool {
        let is_news = self.told < what;
        if is_news {
            self.told = what;
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{LASTS, Lease};

    #[test]
    fn the_log_hears_of_each_once_until_it_is_renewed() {
        let now = Instant::now();
        let mut lease = Lease::new(now);
        assert!(!lease.renew(now), "there was nothing to tell");
        for _outage in 0..2 {
            assert!(lease.tell_late());
            assert!(!lease.tell_late());
            assert!(lease.tell_over());
            for _try in 0..23 {
                assert!(!lease.tell_late() && !lease.tell_over());
            }
            assert!(lease.renew(now));
            assert!(!lease.renew(now));
        }
        assert!(lease.tell_over(), "be it that nobody was late");
    }

    #[test]
    fn it_lasts_from_when_it_was_asked_for() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut lease = Lease::new(now);
        lease.tell_over();
        assert_eq!(lease.sure_until(), now + LASTS);
        lease.renew(now + second);
        assert_eq!(lease.sure_until(), now + second + LASTS);
    }
}
