//! Patience with gateways that are not there, or do not take what they are sent: how long it goes on, with pauses that grow
//! and are never the same for two.

use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;
use tonic::Status;

use crate::node::dialer::{LONGEST_WAIT, waits};

/// Counts the time without a gateway, from the first question on that was not answered.
pub(crate) struct Trouble {
    patience: Duration,
    since: Option<Instant>,
    waits: Waits,
}

type Waits = Box<dyn Iterator<Item = Duration> + Send>;

/// A question that has stood for so long had a gateway to stand at: what dials gives up sooner.
const STOOD: Duration = Duration::from_secs(3);

impl Trouble {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, since: None, waits: Box::new(waits()) }
    }

    /// A gateway was there.
    pub(crate) fn over(&mut self) {
        *self = Self::new(self.patience);
    }

    /// A question has ended without an answer after so long.
    pub(crate) fn over_if_it_stood(&mut self, so_long: Duration) {
        if so_long >= STOOD {
            self.over();
        }
    }

    /// What is left of patience, for a gateway to come.
    pub(crate) fn left(&self) -> Duration {
        self.left_at(Instant::now())
    }

    fn left_at(&self, now: Instant) -> Duration {
        let without = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.patience.saturating_sub(without)
    }

    /// What came of a question that had its time. A gateway that has said nothing by then has fallen silent, and was none
    /// from when it was asked.
    pub(crate) fn heard<T>(
        &mut self,
        asked: Instant,
        answered: Result<crate::Result<T>, Elapsed>,
    ) -> crate::Result<T> {
        answered.unwrap_or_else(|_| {
            self.since = self.since.or(Some(asked));
            Err(Status::unavailable("the gateway has fallen silent"))
        })
    }

    /// Waits before a gateway is asked again, a little longer each time.
    ///
    /// # Errors
    /// What the last one said, when this has gone on for too long.
    pub(crate) async fn pause(&mut self, status: Status) -> crate::Result<()> {
        let Some(pause) = self.next(Instant::now()) else { return Err(status) };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The next pause; `None` when patience is at its end.
    fn next(&mut self, now: Instant) -> Option<Duration> {
        self.since = self.since.or(Some(now));
        let left = self.left_at(now);
        let pause = self.waits.next().unwrap_or(LONGEST_WAIT);
        (!left.is_zero()).then(|| pause.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, STOOD, Status, Trouble};
    use tonic::Code;

    /// When patience is at its end, and how often it was asked until then.
    fn exhaust(trouble: &mut Trouble, mut now: Instant) -> (Instant, u32) {
        let mut asked = 1;
        while let Some(pause) = trouble.next(now) {
            (now, asked) = (now + pause, asked + 1);
        }
        (now, asked)
    }

    const PATIENCE: Duration = Duration::from_secs(3);

    #[test]
    fn patience_has_an_end() {
        let mut trouble = Trouble::new(PATIENCE);
        let began = Instant::now();
        let (ended, asked) = exhaust(&mut trouble, began);
        assert_eq!(ended - began, PATIENCE);
        assert!(asked > 4, "asked {asked} times");
    }

    #[test]
    fn what_waits_for_a_gateway_has_what_is_left_of_patience() {
        let (mut trouble, began) = (Trouble::new(PATIENCE), Instant::now());
        assert_eq!(trouble.left_at(began + PATIENCE), PATIENCE, "every gateway has answered so far");
        trouble.next(began).unwrap();
        assert_eq!(trouble.left_at(began + PATIENCE / 3), PATIENCE - PATIENCE / 3);
        assert_eq!(trouble.left_at(began + 2 * PATIENCE), Duration::ZERO);
        trouble.over();
        assert_eq!(trouble.left_at(began + 2 * PATIENCE), PATIENCE);
    }

    #[tokio::test]
    async fn silence_counts_from_the_question_on() {
        let (mut trouble, asked) = (Trouble::new(PATIENCE), Instant::now());
        let silent = tokio::time::timeout(Duration::ZERO, std::future::pending::<Result<(), Status>>()).await;
        assert_eq!(trouble.heard(asked, silent).unwrap_err().code(), Code::Unavailable);
        assert_eq!(trouble.left_at(asked + PATIENCE / 3), PATIENCE - PATIENCE / 3);
        assert_eq!(trouble.next(asked + PATIENCE), None);
    }

    #[test]
    fn a_question_that_stood_begins_it_anew() {
        let mut trouble = Trouble::new(PATIENCE);
        let (now, _) = exhaust(&mut trouble, Instant::now());
        trouble.over_if_it_stood(Duration::ZERO);
        assert_eq!(trouble.next(now), None);
        trouble.over_if_it_stood(STOOD);
        assert_eq!(exhaust(&mut trouble, now).0 - now, PATIENCE);
    }
}
