//! What waits for a thread, in two lanes: calls pass what is of tickets and maps, as they do at the gateway, but for the share
//! that is kept for these. Jobs wait so for a slot of the pool, polls of `async fn`s for a place at home. Deciding, without
//! threads.

use std::collections::VecDeque;

/// What one that has no thread yet asks of those that have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Somebody waits for its answer: it passes what is of the batch, and chunks of maps give way.
    Call,
    /// Of a ticket or a map.
    Batch,
}

/// The part of the turns that is the batch's while calls wait too, in millionths: a tenth has to come out even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchShare(u32);

/// A turn, in the same.
const TURN: u32 = 1_000_000;

impl BatchShare {
    /// As a gateway says it (`batch_share`).
    pub(crate) fn new(share: f64) -> Self {
        // What is no number is none.
        Self::of_millionths((share * f64::from(TURN)).round() as u32)
    }

    /// Nine tenths at most, as at the gateway.
    pub(crate) fn of_millionths(share: u32) -> Self {
        Self(share.min(TURN / 10 * 9))
    }

    pub(crate) fn millionths(self) -> u32 {
        self.0
    }
}

/// The gateway's own default, for those that do not say theirs.
impl Default for BatchShare {
    fn default() -> Self {
        Self::of_millionths(TURN / 10)
    }
}

/// Those before the threads of one kind, each lane in the order in which they came.
#[derive(Debug)]
pub(crate) struct Lanes<J> {
    calls: VecDeque<J>,
    batch: VecDeque<J>,
    share: BatchShare,
    /// What of its share the batch has not had since it waits, in millionths of a turn: less than one.
    saved: u32,
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self { calls: VecDeque::new(), batch: VecDeque::new(), share: BatchShare::default(), saved: 0 }
    }
}

impl<J> Lanes<J> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.calls.len() + self.batch.len()
    }

    /// Forgets those who do not wait any more.
    pub(crate) fn retain(&mut self, waits: impl Fn(&J) -> bool) {
        self.calls.retain(&waits);
        self.batch.retain(&waits);
    }

    /// The last of its lane; from now on the batch has this `share`. Answers how many slots have to become free until it has
    /// one, if no more come.
    pub(crate) fn push(&mut self, job: J, urgency: Urgency, share: BatchShare) -> usize {
        self.share = share;
        match urgency {
            Urgency::Call => {
                let turns_of_batch = self.turns_of_batch(self.calls.len());
                self.calls.push_back(job);
                self.calls.len() + turns_of_batch
            }
            Urgency::Batch => {
                if self.batch.is_empty() {
                    self.saved = 0;
                }
                self.batch.push_back(job);
                self.len()
            }
        }
    }

    /// Those of the batch that go before the call that comes after so many.
    fn turns_of_batch(&self, calls: usize) -> usize {
        let share = self.share.millionths();
        let saved = u64::from(self.saved) + calls as u64 * u64::from(share);
        let turns = saved / u64::from(TURN - share);
        usize::try_from(turns).unwrap_or(usize::MAX).min(self.batch.len())
    }

    /// Whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<J> {
        if self.batch.is_empty() {
            return self.calls.pop_front();
        }
        let saved = self.saved + self.share.millionths();
        if saved >= TURN || self.calls.is_empty() {
            self.saved = saved.saturating_sub(TURN);
            return self.batch.pop_front();
        }
        self.saved = saved;
        self.calls.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchShare, Lanes, TURN};
    use crate::lanes::Urgency::{self, Batch, Call};
    use proptest::prelude::*;

    const TENTH: BatchShare = BatchShare(TURN / 10);

    fn urgencies() -> impl Strategy<Value = Vec<Urgency>> {
        prop::collection::vec(prop::sample::select(vec![Call, Call, Batch]), 0..60)
    }

    fn shares() -> impl Strategy<Value = BatchShare> {
        prop_oneof![Just(0_u32), Just(TURN / 10), 0..=TURN].prop_map(BatchShare::of_millionths)
    }

    /// How many of one lane, of the batch and of calls, may go in a row while the other waits.
    fn most_in_a_row(BatchShare(share): BatchShare) -> [u32; 2] {
        let calls = if share == 0 { u32::MAX } else { TURN.div_ceil(share) - 1 };
        [(TURN - 1) / (TURN - share), calls]
    }

    #[test]
    fn a_share_is_as_the_gateway_takes_it() {
        let shares = [f64::NAN, -1.0, 0.0, 0.1, 0.9, 1.0].map(BatchShare::new);
        assert_eq!(shares.map(BatchShare::millionths), [0, 0, 0, 100_000, 900_000, 900_000]);
        assert_eq!(BatchShare::default(), TENTH);
        assert_eq!([TENTH, BatchShare::new(0.9)].map(most_in_a_row), [[1, 9], [9, 1]]);
    }

    #[test]
    fn calls_pass_the_batch() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.push("map", Batch, TENTH), 1);
        assert_eq!(lanes.push("ticket", Batch, TENTH), 2);
        assert_eq!(lanes.push("call", Call, TENTH), 1);
        assert_eq!(std::array::from_fn(|_| lanes.pop()), [Some("call"), Some("map"), Some("ticket"), None]);
    }

    #[test]
    fn the_share_is_what_was_said_last() {
        let mut lanes = Lanes::default();
        lanes.push("map", Batch, BatchShare::new(0.0));
        lanes.push("call", Call, BatchShare::new(0.0));
        assert_eq!(lanes.push("next", Call, BatchShare::new(0.5)), 3);
        assert_eq!(std::array::from_fn(|_| lanes.pop()), [Some("call"), Some("map"), Some("next"), None]);
    }

    #[test]
    fn what_the_batch_has_saved_is_lost_when_it_does_not_wait() {
        let (mut lanes, most) = (Lanes::default(), BatchShare::new(0.9));
        for _ in 0..5 {
            lanes.push(Call, Call, most);
        }
        for _ in 0..2 {
            lanes.push(Batch, Batch, most);
            assert_eq!([lanes.pop(), lanes.pop()], [Some(Call), Some(Batch)]);
        }
    }

    proptest! {
        /// Whoever is told a turn has it then, with some that came and went before.
        #[test]
        fn each_has_its_turn_and_keeps_its_place_in_its_lane(
            share in shares(), before in urgencies(), popped in 0_usize..60, after in urgencies(),
        ) {
            let mut lanes = Lanes::default();
            for urgency in before {
                lanes.push((urgency, 0, None), urgency, share);
            }
            for _ in 0..popped {
                lanes.pop();
            }
            for (number, urgency) in after.iter().enumerate() {
                let turn = lanes.push((*urgency, number + 1, None), *urgency, share);
                if *urgency == Call {
                    lanes.calls.back_mut().unwrap().2 = Some(turn);
                }
            }
            let (mut last, mut in_a_row, waiting) = ([0; 2], [0; 2], lanes.len());
            for at in 1..=waiting {
                let both_wait = !lanes.calls.is_empty() && !lanes.batch.is_empty();
                let (urgency, number, turn) = lanes.pop().unwrap();
                let (lane, other) = (usize::from(urgency == Call), usize::from(urgency == Batch));
                prop_assert!(number >= last[lane]);
                last[lane] = number;
                // What came into the other lane later may only delay it.
                prop_assert!(turn.is_none_or(|turn| at >= turn));
                in_a_row[lane] = if both_wait { in_a_row[lane] + 1 } else { 0 };
                in_a_row[other] = 0;
                prop_assert!(in_a_row[lane] <= most_in_a_row(share)[lane]);
            }
            prop_assert!(lanes.pop().is_none());
        }

        #[test]
        fn the_turn_that_is_told_is_the_one_it_has(
            share in shares(), before in urgencies(), popped in 0_usize..60,
        ) {
            let mut lanes = Lanes::default();
            for urgency in before {
                lanes.push(false, urgency, share);
            }
            for _ in 0..popped {
                lanes.pop();
            }
            let turn = lanes.push(true, Call, share);
            let has_it = std::iter::from_fn(|| lanes.pop()).position(|is_last| is_last).unwrap() + 1;
            prop_assert_eq!(turn, has_it);
        }

        #[test]
        fn while_both_wait_the_batch_has_its_share(share in shares(), turns in 0_u32..200) {
            let mut lanes = Lanes::default();
            for _ in 0..turns {
                lanes.push(Call, Call, share);
                lanes.push(Batch, Batch, share);
            }
            let of_the_batch = (0..turns).filter(|_| lanes.pop() == Some(Batch)).count();
            prop_assert_eq!(of_the_batch, (turns * share.millionths() / TURN) as usize);
        }
    }
}
