//! One tenant's waiting jobs for one method, first come, first served. They lie side by side in memory, which a million
//! of them need more than they need a tree: what is cancelled is marked, and skipped when its turn comes.

use std::collections::VecDeque;

use super::JobId;

/// Jobs in the order of arrival, which is that of their ids.
#[derive(Debug, Default)]
pub(super) struct Fifo {
    /// With whether it is still wanted. The first and the last are.
    jobs: VecDeque<(JobId, bool)>,
    unwanted: usize,
}

/// Fewer are not worth tidying up.
const FEW: usize = 32;

impl Fifo {
    pub(super) fn first(&self) -> Option<JobId> {
        self.jobs.front().map(|(job, _)| *job)
    }

    /// The youngest comes last.
    pub(super) fn push(&mut self, job: JobId) {
        debug_assert!(self.jobs.back().is_none_or(|(last, _)| *last < job), "ids count up");
        self.jobs.push_back((job, true));
    }

    /// False when it is not here. Costs a search by halves, and at times, for as many as were cancelled since, a tidying.
    pub(super) fn remove(&mut self, job: JobId) -> bool {
        let Ok(at) = self.jobs.binary_search_by_key(&job, |(job, _)| *job) else { return false };
        if !std::mem::replace(&mut self.jobs[at].1, false) {
            return false;
        }
        self.unwanted += 1;
        while self.jobs.pop_front_if(|(_, wanted)| !*wanted).is_some() {
            self.unwanted -= 1;
        }
        while self.jobs.pop_back_if(|(_, wanted)| !*wanted).is_some() {
            self.unwanted -= 1;
        }
        if self.unwanted > FEW.max(self.jobs.len() / 2) {
            self.jobs.retain(|(_, wanted)| *wanted);
            self.unwanted = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{FEW, Fifo, JobId};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_is_a_set_in_the_order_of_arrival(steps in prop::collection::vec(prop::option::of(0..400u64), 1..800)) {
            let (mut fifo, mut plain) = (Fifo::default(), BTreeSet::new());
            for (id, step) in (0..).map(JobId).zip(steps) {
                match step.map(JobId) {
                    None => {
                        fifo.push(id);
                        plain.insert(id);
                    }
                    Some(job) => assert_eq!(fifo.remove(job), plain.remove(&job)),
                }
                assert_eq!(fifo.first(), plain.first().copied());
                assert!(fifo.jobs.len() <= 2 * plain.len() + 2 * FEW);
            }
        }
    }
}
