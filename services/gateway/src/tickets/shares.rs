//! How much of the hand each queue has. None may have more than is left, so that whoever comes finds some: one queue alone
//! has half, of two each a third. The rule of switches whose ports share a memory, with α = 1 (A. K. Choudhury and
//! E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking 6,
//! 1998). A table, and what is decided by it: no clock, nothing is awaited.

use std::collections::{HashMap, HashSet};

use turno_store::Queue;

/// Places, and kibibytes of requests.
#[derive(Clone, Copy, Default)]
struct Share {
    places: usize,
    memory: usize,
}

/// Who has how much.
pub(super) struct Shares {
    all: Share,
    taken: Share,
    of: HashMap<Queue, Share>,
    /// Have something that waits, and were full when it was passed over. Whoever of them comes now waits behind it, until
    /// the next claim.
    passed_over: HashSet<Queue>,
}

impl Shares {
    pub(super) fn new(places: usize, memory: usize) -> Self {
        let all = Share { places, memory };
        Self { all, taken: Share::default(), of: HashMap::new(), passed_over: HashSet::new() }
    }

    pub(super) fn take(&mut self, queue: &Queue, memory: usize) {
        let share = match self.of.get_mut(queue) {
            Some(share) => share,
            None => self.of.entry(queue.clone()).or_default(),
        };
        for share in [share, &mut self.taken] {
            share.places += 1;
            share.memory += memory;
        }
    }

    /// Answers whether a queue that was passed over has room again: it is time for the next claim.
    pub(super) fn give_back(&mut self, queue: &Queue, memory: usize) -> bool {
        let share = self.of.get_mut(queue).expect("what is given back was taken");
        for share in [&mut *share, &mut self.taken] {
            share.places -= 1;
            share.memory -= memory;
        }
        if share.places == 0 {
            self.of.remove(queue);
        }
        self.passed_over.iter().any(|queue| !self.is_full(queue))
    }

    /// Whether a queue may have something at once.
    pub(super) fn has_room(&self, queue: &Queue) -> bool {
        !self.is_full(queue) && !self.passed_over.contains(queue)
    }

    /// Something of a queue waits. Answers whether the next claim takes care of it without being told: what is full now
    /// has its claim when it has room.
    pub(super) fn wait(&mut self, queue: &Queue) -> bool {
        let is_passed_over = self.passed_over.contains(queue);
        if !is_passed_over && self.is_full(queue) {
            self.passed_over.insert(queue.clone());
            return true;
        }
        is_passed_over
    }

    fn is_full(&self, queue: &Queue) -> bool {
        self.of.get(queue).is_some_and(|share| self.is_over(*share))
    }

    /// The queues that are full: a claim passes them over.
    pub(super) fn pass_over(&mut self) -> Vec<Queue> {
        let full = self.of.iter().filter(|(_, share)| self.is_over(**share));
        let full: Vec<_> = full.map(|(queue, _)| queue.clone()).collect();
        self.passed_over = full.iter().cloned().collect();
        full
    }

    fn is_over(&self, share: Share) -> bool {
        let left = |all: usize, taken: usize| all.saturating_sub(taken);
        share.places >= left(self.all.places, self.taken.places)
            || share.memory > 0 && share.memory >= left(self.all.memory, self.taken.memory)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::{Queue, Shares};

    fn queue(number: usize) -> Queue {
        Queue { tenant: "me".into(), method: number.to_string() }
    }

    /// Fills the hand with tickets of so many queues by turns; answers how many each has.
    fn filled(shares: &mut Shares, queues: usize) -> Vec<usize> {
        let mut taken = vec![0; queues];
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for (number, taken) in taken.iter_mut().enumerate() {
                if shares.taken.places < shares.all.places && !shares.is_full(&queue(number)) {
                    shares.take(&queue(number), 0);
                    *taken += 1;
                    goes_on = true;
                }
            }
        }
        taken
    }

    #[test]
    fn queues_that_want_all_leave_as_much_as_each_has() {
        for (queues, each) in [(1, 500), (2, 333), (3, 250), (9, 100)] {
            let taken = filled(&mut Shares::new(1_000, 0), queues);
            assert!(taken.iter().all(|taken| taken.abs_diff(each) <= 1), "{taken:?}");
        }
    }

    #[test]
    fn the_smallest_hand_holds_one() {
        assert_eq!(filled(&mut Shares::new(1, 0), 2), [1, 0]);
    }

    #[test]
    fn large_requests_fill_a_queue_as_many_do() {
        let mut shares = Shares::new(1_000, 100);
        shares.take(&queue(0), 30);
        assert!(!shares.is_full(&queue(0)));
        shares.take(&queue(0), 30);
        assert!(shares.is_full(&queue(0)) && !shares.is_full(&queue(1)));
        assert_eq!(shares.pass_over(), [queue(0)]);
        assert!(shares.give_back(&queue(0), 30));
        assert_eq!(shares.pass_over(), []);
        assert!(!shares.give_back(&queue(0), 30));
    }

    #[test]
    fn what_waits_while_its_queue_is_full_has_its_claim() {
        let mut shares = Shares::new(2, 0);
        assert!(!shares.wait(&queue(0)), "it could begin: somebody has to be told");
        shares.take(&queue(0), 0);
        assert!(shares.wait(&queue(0)), "though no claim has passed it over yet");
        assert!(shares.give_back(&queue(0), 0));
        assert!(!shares.has_room(&queue(0)), "who comes now waits behind it");
        assert_eq!(shares.pass_over(), []);
        assert!(shares.has_room(&queue(0)));
    }

    proptest! {
        /// Whatever comes and goes: what is known is what there is, and what waits hears of room.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0_usize..4, 0_usize..4, 0_usize..9), 0..200)) {
            let mut shares = Shares::new(20, 60);
            let (mut taken, mut waiting) = (HashMap::<usize, Vec<usize>>::new(), HashSet::new());
            for (step, number, memory) in steps {
                let mine = taken.entry(number).or_default();
                match step {
                    0 if shares.taken.places < 20 && shares.has_room(&queue(number)) => {
                        shares.take(&queue(number), memory);
                        mine.push(memory);
                    }
                    1 => {
                        if let Some(memory) = mine.pop() {
                            let is_time = shares.give_back(&queue(number), memory);
                            let could_begin = waiting.iter().any(|number| !shares.is_full(&queue(*number)));
                            prop_assert!(is_time || !could_begin);
                            if is_time {
                                waiting.retain(|number| shares.is_full(&queue(*number)));
                                shares.pass_over();
                            }
                        }
                    }
                    2 => {
                        if shares.wait(&queue(number)) {
                            waiting.insert(number);
                        } else {
                            waiting.clear();
                            waiting.extend((0..4).filter(|number| shares.is_full(&queue(*number))));
                            shares.pass_over();
                        }
                    }
                    _ => {}
                }
                let places: usize = taken.values().map(Vec::len).sum();
                prop_assert!(places <= 20);
                prop_assert_eq!(shares.taken.places, places);
                prop_assert_eq!(shares.taken.memory, taken.values().flatten().sum::<usize>());
                prop_assert_eq!(shares.of.len(), taken.values().filter(|mine| !mine.is_empty()).count());
            }
        }
    }
}
