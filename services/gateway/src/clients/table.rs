//! A client's calls by its own numbers, and which of them has to end first. Pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// The calls in flight, with what is held for each.
pub(crate) struct Table<H> {
    calls: HashMap<u64, Entry<H>>,
    deadlines: BTreeSet<(Instant, u64)>,
    turns: u64,
}

struct Entry<H> {
    turn: Turn,
    deadline: Instant,
    held: H,
}

/// Tells a call from an earlier one of the same number, whose answer may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self { calls: HashMap::new(), deadlines: BTreeSet::new(), turns: 0 }
    }
}

impl<H> Table<H> {
    /// For the call that is inserted next.
    pub(crate) fn next_turn(&mut self) -> Turn {
        self.turns += 1;
        Turn(self.turns)
    }

    /// The number must not be in use.
    pub(crate) fn insert(&mut self, number: u64, turn: Turn, deadline: Instant, held: H) {
        self.calls.insert(number, Entry { turn, deadline, held });
        self.deadlines.insert((deadline, number));
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.calls.contains_key(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u64, turn: Turn) -> Option<&mut H> {
        self.calls.get_mut(&number).filter(|entry| entry.turn == turn).map(|entry| &mut entry.held)
    }

    /// It has its answer.
    pub(crate) fn finish(&mut self, number: u64, turn: Turn) -> Option<H> {
        self.get_mut(number, turn)?;
        self.cancel(number)
    }

    /// Nobody waits for it any more.
    pub(crate) fn cancel(&mut self, number: u64) -> Option<H> {
        let entry = self.calls.remove(&number)?;
        self.deadlines.remove(&(entry.deadline, number));
        Some(entry.held)
    }

    pub(crate) fn first_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A call whose deadline has passed, and when that was.
    pub(crate) fn take_late(&mut self, now: Instant) -> Option<(Instant, u64, H)> {
        let (deadline, number) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        Some((deadline, number, self.cancel(number)?))
    }

    /// Those of which this is something, with what it is.
    pub(crate) fn take_those<T>(&mut self, take: impl Fn(&H) -> Option<T>) -> Vec<(u64, H, T)> {
        let those = self.calls.iter().filter_map(|(number, entry)| Some((*number, take(&entry.held)?)));
        let those: Vec<(u64, T)> = those.collect();
        those.into_iter().filter_map(|(number, taken)| Some((number, self.cancel(number)?, taken))).collect()
    }

    pub(crate) fn take_all(&mut self) -> Vec<H> {
        self.deadlines.clear();
        self.calls.drain().map(|(_, entry)| entry.held).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use std::time::{Duration, Instant};

    #[test]
    fn the_call_that_is_late_first_comes_first() {
        let (mut table, now) = (Table::default(), Instant::now());
        for (number, seconds) in [(1, 30), (2, 10), (3, 20)] {
            let turn = table.next_turn();
            table.insert(number, turn, now + Duration::from_secs(seconds), ());
        }
        assert_eq!(table.first_deadline(), Some(now + Duration::from_secs(10)));
        assert!(table.take_late(now).is_none());
        let later = now + Duration::from_secs(20);
        assert_eq!(table.take_late(later), Some((now + Duration::from_secs(10), 2, ())));
        assert_eq!(table.take_late(later), Some((later, 3, ())));
        assert!(table.take_late(later).is_none());
        assert!(table.contains(1));
    }

    #[test]
    fn some_are_taken_and_the_others_stay() {
        let (mut table, now) = (Table::default(), Instant::now());
        for number in 1..=3 {
            let turn = table.next_turn();
            table.insert(number, turn, now + Duration::from_secs(number), number);
        }
        let taken = table.take_those(|held| (*held == 1).then_some("first"));
        assert_eq!(taken, [(1, 1, "first")]);
        assert!(!table.contains(1) && table.contains(2) && table.contains(3));
        assert_eq!(table.first_deadline(), Some(now + Duration::from_secs(2)));
    }

    #[test]
    fn a_late_answer_is_not_taken_for_that_of_the_next_call_of_its_number() {
        let (mut table, deadline) = (Table::default(), Instant::now());
        let first = table.next_turn();
        table.insert(7, first, deadline, "first");
        assert_eq!(table.cancel(7), Some("first"));
        let second = table.next_turn();
        table.insert(7, second, deadline, "second");
        assert_eq!(table.finish(7, first), None);
        assert_eq!(table.finish(7, second), Some("second"));
        assert!(table.is_empty() && table.first_deadline().is_none());
    }
}
