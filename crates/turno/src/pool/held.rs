//! Answers that go out together. To tell one at once wakes the writer, which takes the core from a slot and writes a frame
//! for it alone; that costs a tenth of a job of a millisecond, and more than one of some microseconds. So where the next
//! job ends very soon, its answer takes this one along, as a network card gathers packets before it interrupts (interrupt
//! moderation, `rx-usecs`).

use std::time::{Duration, Instant};

use turno_proto::habits::ANSWERS_HELD;

/// What tells that an answer is there, and is not told yet. Deciding, without clock.
#[derive(Debug)]
pub(super) struct Held<B> {
    bells: Vec<B>,
    since: Option<Instant>,
}

impl<B> Default for Held<B> {
    fn default() -> Self {
        Self { bells: Vec::new(), since: None }
    }
}

impl<B> Held<B> {
    /// A job has ended, and may have left a `bell`. `next`: how long the one is expected to take that its slot does now,
    /// if there is one; so many are `waiting` behind it. Answers what is to be rung now.
    ///
    /// None is held for longer than [`ANSWERS_HELD`], if jobs take what they are expected to take. No more are held than
    /// wait: with all that its callers have in flight in one frame, the slots would be idle until the next come.
    pub(super) fn add(
        &mut self,
        bell: Option<B>,
        now: Instant,
        next: Option<Duration>,
        waiting: usize,
    ) -> Vec<B> {
        self.bells.extend(bell);
        if self.bells.is_empty() {
            return Vec::new();
        }
        let since = *self.since.get_or_insert(now);
        let ends_in_time = next.is_some_and(|next| (now - since).saturating_add(next) <= ANSWERS_HELD);
        if ends_in_time && self.bells.len() <= waiting { Vec::new() } else { self.take() }
    }

    /// Those that have been held for too long.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<B> {
        if self.since.is_some_and(|since| now - since > ANSWERS_HELD) { self.take() } else { Vec::new() }
    }

    fn take(&mut self) -> Vec<B> {
        self.since = None;
        std::mem::take(&mut self.bells)
    }
}

#[cfg(test)]
mod tests {
    use super::{ANSWERS_HELD, Held};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const BRIEF: Option<Duration> = Some(Duration::from_micros(10));
    const NONE: [u32; 0] = [];

    #[test]
    fn held_while_brief_jobs_follow_and_rung_together() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert_eq!(held.add(Some(1), now, BRIEF, 9), NONE);
        assert_eq!(held.add(Some(2), now, BRIEF, 9), NONE);
        // One whose time nobody knows follows.
        assert_eq!(held.add(Some(3), now, Some(Duration::MAX), 9), [1, 2, 3]);
        assert_eq!(held.add(Some(4), now, BRIEF, 9), NONE);
        // One that has left none, and nothing follows.
        assert_eq!(held.add(None, now, None, 0), [4]);
        assert_eq!(held.add(None, now, BRIEF, 9), NONE);
        assert_eq!(held.add(Some(5), now + 2 * ANSWERS_HELD, BRIEF, 9), NONE);
    }

    #[test]
    fn rung_when_the_next_would_end_too_late() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert_eq!(held.add(Some(1), now, Some(ANSWERS_HELD), 9), NONE);
        assert_eq!(held.add(Some(2), now + Duration::from_micros(1), Some(ANSWERS_HELD), 9), [1, 2]);
    }

    #[test]
    fn with_few_in_flight_each_is_told_early() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert_eq!(held.add(Some(1), now, BRIEF, 1), NONE);
        assert_eq!(held.add(Some(2), now, BRIEF, 1), [1, 2]);
        assert_eq!(held.add(Some(3), now, BRIEF, 0), [3]);
    }

    #[test]
    fn a_job_that_takes_longer_than_foreseen_does_not_hold_others_answers_for_ever() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert_eq!(held.add(Some(1), now, BRIEF, 9), NONE);
        assert_eq!(held.overdue(now + ANSWERS_HELD), NONE);
        assert_eq!(held.overdue(now + 2 * ANSWERS_HELD), [1]);
        assert_eq!(held.overdue(now + 3 * ANSWERS_HELD), NONE);
    }

    proptest! {
        #[test]
        fn each_is_rung_once_in_order_and_none_stays_when_nothing_follows(
            jobs in prop::collection::vec((0_u64..4_000, prop::option::of(0_u64..4_000), 0_usize..20), 0..200),
        ) {
            let (mut held, mut now, mut rung) = (Held::default(), Instant::now(), Vec::new());
            for (at, (passed, next, waiting)) in jobs.iter().copied().enumerate() {
                now += Duration::from_micros(passed);
                rung.extend(held.add(Some(at), now, next.map(Duration::from_micros), waiting));
                prop_assert!(at + 1 - rung.len() <= waiting);
                if next.is_none() {
                    prop_assert_eq!(rung.len(), at + 1);
                }
            }
            rung.extend(held.overdue(now + 2 * ANSWERS_HELD));
            prop_assert_eq!(rung, (0..jobs.len()).collect::<Vec<_>>());
        }
    }
}
