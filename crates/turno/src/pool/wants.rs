//! Slots that calls wait for and chunks of maps have. A chunk that comes to the end of an item gives way if one is
//! wanted, and has to end then; whoever else ends leaves its slot too.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// How many slots are wanted. Cheap to ask, many thousand times in a chunk.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    any: AtomicBool,
    count: Mutex<Count>,
}

impl Wants {
    /// So many more calls wait.
    pub(crate) fn want(&self, slots: u32) {
        self.change(|count| count.wanted = count.wanted.saturating_add(slots));
    }

    /// Somebody's turn has come when so many slots have become free.
    pub(crate) fn want_at_least(&self, slots: u32) {
        self.change(|count| count.wanted = count.wanted.max(slots.saturating_sub(count.giving_way)));
    }

    /// Asked by a chunk between two items: if it is true, it must end there.
    pub(crate) fn give_way(&self) -> bool {
        self.any.load(Ordering::Relaxed) && self.change(Count::give_way)
    }

    /// A slot has become free.
    pub(crate) fn freed(&self) {
        self.change(Count::freed);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Count) -> T) -> T {
        let mut count = self.count.lock();
        let answer = change(&mut count);
        self.any.store(count.wanted > 0, Ordering::Relaxed);
        answer
    }
}

#[derive(Debug, Default)]
struct Count {
    wanted: u32,
    /// Chunks that end for it, and have not ended yet.
    giving_way: u32,
}

impl Count {
    fn give_way(&mut self) -> bool {
        let gives = self.wanted > 0;
        self.wanted -= u32::from(gives);
        self.giving_way += u32::from(gives);
        gives
    }

    fn freed(&mut self) {
        if self.giving_way > 0 {
            self.giving_way -= 1;
        } else {
            self.wanted = self.wanted.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Wants;

    #[test]
    fn as_many_chunks_give_way_as_slots_are_wanted() {
        let wants = Wants::default();
        assert!(!wants.give_way());
        wants.want(2);
        assert_eq!([wants.give_way(), wants.give_way(), wants.give_way()], [true, true, false]);
        // They end, which wants nothing less.
        wants.want(1);
        wants.freed();
        wants.freed();
        assert_eq!([wants.give_way(), wants.give_way()], [true, false]);
    }

    #[test]
    fn a_slot_that_becomes_free_otherwise_is_one_wanted_less() {
        let wants = Wants::default();
        wants.freed();
        wants.want(2);
        wants.freed();
        assert_eq!([wants.give_way(), wants.give_way()], [true, false]);
    }

    #[test]
    fn who_stands_behind_others_wants_their_slots_too_but_none_twice() {
        let wants = Wants::default();
        wants.want_at_least(1);
        assert!(wants.give_way());
        wants.want_at_least(2);
        wants.want_at_least(2);
        assert_eq!([wants.give_way(), wants.give_way()], [true, false]);
    }
}
