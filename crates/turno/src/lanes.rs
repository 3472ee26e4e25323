//! What waits for a thread, in two lanes: calls pass what is of tickets and maps, as they do at the gateway, but not for
//! ever. Jobs wait so for a slot of the pool, polls of `async fn`s for a place at home. Deciding, without threads.

use std::collections::VecDeque;

/// What one that has no thread yet asks of those that have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Somebody waits for its answer: it passes what is of the batch, and chunks of maps give way.
    Call,
    /// Of a ticket or a map.
    Batch,
}

/// Those before the threads of one kind, each lane in the order in which they came.
#[derive(Debug)]
pub(crate) struct Lanes<J> {
    calls: VecDeque<J>,
    batch: VecDeque<J>,
    /// Calls that have passed the first of the batch.
    passed: usize,
}

/// Then one of the batch has its turn: a tenth, as the gateway's default keeps for it (`batch_share`). A larger share is the
/// gateway's to keep: it sends fewer calls then.
const MOST_PASSED: usize = 9;

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self { calls: VecDeque::new(), batch: VecDeque::new(), passed: 0 }
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

    /// The last of its lane. Answers how many slots have to become free until it has one, if no more come.
    pub(crate) fn push(&mut self, job: J, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Call => {
                self.calls.push_back(job);
                let turns_of_batch = (self.passed + self.calls.len() - 1) / MOST_PASSED;
                self.calls.len() + turns_of_batch.min(self.batch.len())
            }
            Urgency::Batch => {
                self.batch.push_back(job);
                self.len()
            }
        }
    }

    /// Whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<J> {
        let is_turn_of_batch = self.calls.is_empty() || self.passed == MOST_PASSED;
        if is_turn_of_batch && let Some(job) = self.batch.pop_front() {
            self.passed = 0;
            return Some(job);
        }
        self.passed = if self.batch.is_empty() { 0 } else { self.passed + 1 };
        self.calls.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::{Lanes, MOST_PASSED};
    use crate::lanes::Urgency::{self, Batch, Call};
    use proptest::prelude::*;

    fn urgencies() -> impl Strategy<Value = Vec<Urgency>> {
        prop::collection::vec(prop::sample::select(vec![Call, Call, Batch]), 0..60)
    }

    #[test]
    fn calls_pass_the_batch() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.push("map", Batch), 1);
        assert_eq!(lanes.push("ticket", Batch), 2);
        assert_eq!(lanes.push("call", Call), 1);
        assert_eq!(std::array::from_fn(|_| lanes.pop()), [Some("call"), Some("map"), Some("ticket"), None]);
    }

    proptest! {
        /// Whoever is told a turn has it then, with some that came and went before.
        #[test]
        fn each_has_its_turn_and_keeps_its_place_in_its_lane(
            before in urgencies(), popped in 0_usize..60, after in urgencies(),
        ) {
            let mut lanes = Lanes::default();
            for urgency in before {
                lanes.push((urgency, 0, None), urgency);
            }
            for _ in 0..popped {
                lanes.pop();
            }
            for (number, urgency) in after.iter().enumerate() {
                let turn = lanes.push((*urgency, number + 1, None), *urgency);
                if *urgency == Call {
                    lanes.calls.back_mut().unwrap().2 = Some(turn);
                }
            }
            let (mut last, mut passed, waiting) = ([0; 2], 0, lanes.len());
            for at in 1..=waiting {
                let batch_waits = !lanes.batch.is_empty();
                let (urgency, number, turn) = lanes.pop().unwrap();
                let last = &mut last[usize::from(urgency == Call)];
                prop_assert!(number >= *last);
                *last = number;
                // What came into the other lane later may only delay it.
                prop_assert!(turn.is_none_or(|turn| at >= turn));
                passed = if urgency == Call && batch_waits { passed + 1 } else { 0 };
                prop_assert!(passed <= MOST_PASSED);
            }
            prop_assert!(lanes.pop().is_none());
        }

        #[test]
        fn the_turn_that_is_told_is_the_one_it_has(before in urgencies(), popped in 0_usize..60) {
            let mut lanes = Lanes::default();
            for urgency in before {
                lanes.push(false, urgency);
            }
            for _ in 0..popped {
                lanes.pop();
            }
            let turn = lanes.push(true, Call);
            let has_it = std::iter::from_fn(|| lanes.pop()).position(|is_last| is_last).unwrap() + 1;
            prop_assert_eq!(turn, has_it);
        }
    }
}
