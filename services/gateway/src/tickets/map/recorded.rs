//! Which items have their results. They come nearly in order, so that runs of them are few: no more than there are items
//! under way at a time. Pure.

use std::collections::BTreeMap;

/// Numbers, as runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded {
    /// By their firsts: where each ends. They neither meet nor touch.
    runs: BTreeMap<u64, u64>,
}

impl Recorded {
    /// `count` numbers from `first` on.
    pub(super) fn add(&mut self, first: u64, count: u64) {
        let (mut first, mut end) = (first, first.saturating_add(count));
        if first == end {
            return;
        }
        while let Some((&known, &known_end)) =
            self.runs.range(..=end).next_back().filter(|(_, known_end)| **known_end >= first)
        {
            (first, end) = (first.min(known), end.max(known_end));
            self.runs.remove(&known);
        }
        self.runs.insert(first, end);
    }

    /// The first that is not in it.
    pub(super) fn first_missing(&self) -> u64 {
        self.runs.get(&0).copied().unwrap_or(0)
    }

    /// Whether `at` is in it, and how many from there on are the same, up to `end`.
    pub(super) fn run(&self, at: u64, end: u64) -> (bool, u64) {
        let within = self.runs.range(..=at).next_back().filter(|(_, known_end)| **known_end > at);
        let until = match within {
            Some((_, known_end)) => *known_end,
            None => self.runs.range(at..).next().map_or(end, |(first, _)| *first),
        };
        (within.is_some(), until.min(end) - at)
    }

    /// As first and count, first and count.
    pub(super) fn runs(&self) -> Vec<u64> {
        self.runs.iter().flat_map(|(first, end)| [*first, end - first]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Recorded;

    proptest! {
        #[test]
        fn it_is_a_set(adds in proptest::collection::vec((0_u64..60, 0_u64..8), 0..40)) {
            let (mut recorded, mut model) = (Recorded::default(), BTreeSet::new());
            for (first, count) in adds {
                recorded.add(first, count);
                model.extend(first..first + count);
            }
            prop_assert_eq!(recorded.first_missing(), (0..).find(|at| !model.contains(at)).unwrap());
            let mut at = 0;
            while at < 80 {
                let (is_in, count) = recorded.run(at, 80);
                prop_assert!(count > 0);
                prop_assert!((at..at + count).all(|at| model.contains(&at) == is_in));
                at += count;
            }
            let again = recorded.runs().chunks(2).flat_map(|run| run[0]..run[0] + run[1]).collect::<BTreeSet<_>>();
            prop_assert_eq!(again, model);
            let runs = recorded.runs();
            prop_assert!(runs.chunks(2).zip(runs.chunks(2).skip(1)).all(|(one, next)| one[0] + one[1] < next[0]));
        }
    }
}
