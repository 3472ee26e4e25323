//! How many threads of a runtime are to be awake: one more as soon as those that are do not come to rest, one fewer
//! after a while in which they did. Whether fewer do is only seen by trying, and what failed is tried again later and
//! later.

/// The threads that are awake, as looks at them say.
#[derive(Debug)]
pub(super) struct Shift {
    most: usize,
    awake: usize,
    /// Looks since the last change.
    looks: u32,
    /// One was sent to sleep at the last change.
    trying: bool,
    /// So many looks until one is sent to sleep.
    patience: u32,
}

/// A look every 5 ms: one second.
const SHORTEST: u32 = 200;
/// Half a minute.
const LONGEST: u32 = 30 * SHORTEST;
/// Fewer have done if they have done for so long.
const TRIAL: u32 = 40;

impl Shift {
    /// Of `most` threads. One is awake.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), awake: 1, looks: 0, trying: false, patience: SHORTEST }
    }

    pub(super) fn awake(&self) -> usize {
        self.awake
    }

    pub(super) fn asleep(&self) -> usize {
        self.most - self.awake
    }

    /// One look more: whether one of those who are awake has rested since the last one.
    pub(super) fn look(&mut self, rested: bool) {
        self.looks += 1;
        if self.trying && self.looks > TRIAL {
            (self.trying, self.patience) = (false, SHORTEST);
        }
        match rested {
            false if self.awake < self.most => {
                if self.trying {
                    self.patience = (2 * self.patience).min(LONGEST);
                }
                self.change(self.awake + 1, false);
            }
            // All are needed.
            false => self.looks = 0,
            true if self.awake > 1 && self.looks >= self.patience => self.change(self.awake - 1, true),
            true => {}
        }
    }

    fn change(&mut self, awake: usize, trying: bool) {
        (self.awake, self.looks, self.trying) = (awake, 0, trying);
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, SHORTEST, Shift, TRIAL};
    use proptest::prelude::any;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    /// How many are asleep after it.
    fn look(shift: &mut Shift, rested: bool) -> usize {
        shift.look(rested);
        shift.asleep()
    }

    /// How often those who were awake did not suffice, in so many looks at work for `needed` threads.
    fn short(shift: &mut Shift, needed: usize, looks: u32) -> u32 {
        let mut short = 0;
        for _ in 0..looks {
            let suffice = shift.awake >= needed;
            short += u32::from(!suffice);
            shift.look(suffice);
        }
        short
    }

    #[test]
    fn who_does_not_come_to_rest_gets_help_at_once() {
        let mut shift = Shift::new(3);
        let asleep: Vec<_> = (0..3).map(|_| look(&mut shift, false)).collect();
        assert_eq!((shift.most - 1, asleep), (2, vec![1, 0, 0]));
    }

    #[test]
    fn after_a_second_with_rest_one_goes_to_sleep() {
        let mut shift = Shift::new(3);
        shift.look(false);
        assert!((1..SHORTEST).all(|_| look(&mut shift, true) == 1));
        assert!((0..10 * SHORTEST).all(|_| look(&mut shift, true) == 2), "the last one stays");
    }

    #[test]
    fn what_failed_is_tried_later_and_later() {
        let mut shift = Shift::new(2);
        let mut waits = Vec::new();
        for _ in 0..8 {
            shift.look(false);
            waits.push((1..).find(|_| look(&mut shift, true) == 1).unwrap());
        }
        assert_eq!(waits[..4], [SHORTEST, 2 * SHORTEST, 4 * SHORTEST, 8 * SHORTEST]);
        assert_eq!(waits[7], LONGEST);
        // Until it does not fail.
        (0..=TRIAL).for_each(|_| shift.look(true));
        shift.look(false);
        assert_eq!((1..).find(|_| look(&mut shift, true) == 1), Some(SHORTEST));
    }

    proptest! {
        #[test]
        fn there_are_never_none_nor_more_than_there_are(
            most in 0..9_usize,
            looks in proptest::collection::vec(any::<bool>(), 0..4000),
        ) {
            let mut shift = Shift::new(most);
            for rested in looks {
                let before = shift.awake;
                shift.look(rested);
                prop_assert!((1..=most.max(1)).contains(&shift.awake));
                prop_assert!(rested || shift.awake > before || before == most.max(1));
            }
        }

        #[test]
        fn work_finds_as_many_as_it_needs(most in 1..9_usize, needed in 0..9_usize) {
            let needed = needed.min(most);
            let mut shift = Shift::new(most);
            // It learns for a while.
            short(&mut shift, needed, 4 * LONGEST);
            let failed = short(&mut shift, needed, 20 * LONGEST);
            prop_assert!(failed <= 21, "too few in {} looks of {}", failed, 20 * LONGEST);
            prop_assert!(shift.awake <= needed.max(1) + 1, "{} awake for {}", shift.awake, needed);
            // And those go to sleep for whom there is no more to do.
            short(&mut shift, 0, LONGEST + u32::try_from(most).unwrap() * SHORTEST);
            prop_assert_eq!(shift.awake, 1);
        }
    }
}
