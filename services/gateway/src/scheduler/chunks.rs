//! Chunks of maps that have slots: long, so that little is lost between two of them, and ended between two items when
//! calls wait. For each call that waits one chunk is asked, as long as there are any where it could run. Any job's end is
//! a slot less that its worker is asked for, here as at the worker: which of its chunks ends, nobody says.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::classes::ClassId;
use super::{Lane, Scheduler, WorkerId};

/// A chunk has run so long at least when it ends for a call.
pub(super) const GIVES_WAY_AFTER_US: u64 = 1_000;

/// The chunks at one kind of worker.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    asked: usize,
    /// Workers with chunks that were not asked for, the one with the most of them first.
    unasked: BTreeSet<(Reverse<u32>, WorkerId)>,
}

impl Chunks {
    pub(super) fn seat(&mut self, worker: WorkerId, chunks: u32, asked: u32) {
        self.asked += asked as usize;
        if chunks > asked {
            self.unasked.insert((Reverse(chunks - asked), worker));
        }
    }

    pub(super) fn unseat(&mut self, worker: WorkerId, chunks: u32, asked: u32) {
        self.asked -= asked as usize;
        self.unasked.remove(&(Reverse(chunks.saturating_sub(asked)), worker));
    }
}

impl Scheduler {
    /// Workers that are to end a chunk for calls that have come to wait, once for each slot. They stand here until they
    /// are taken.
    pub fn take_asked(&mut self) -> Vec<WorkerId> {
        std::mem::take(&mut self.asked)
    }

    /// Whether calls wait that the workers of this method could run, were there room.
    pub fn calls_wait(&self, method: super::MethodId) -> bool {
        let classes = self.methods.get(&method).map(|method| &method.classes);
        let calls =
            |class: &ClassId| self.classes.get(*class).map(|class| class.backlog[Lane::Calls as usize]);
        classes.is_some_and(|classes| classes.iter().filter_map(calls).any(|calls| calls > 0))
    }

    /// After something has changed there: as many slots are asked for as calls wait.
    pub(super) fn ask(&mut self, id: ClassId) {
        while let Some(class) = self.classes.get(id)
            && class.chunks.asked < class.backlog[Lane::Calls as usize]
            && let Some((_, worker)) = class.chunks.unasked.first().copied()
        {
            self.classes.change(worker, |worker| worker.asked += 1);
            self.asked.push(worker);
        }
    }

    pub(super) fn ask_for(&mut self, method: super::MethodId) {
        let classes = self.methods.get(&method).map_or(0, |method| method.classes.len());
        for at in 0..classes {
            self.ask(self.methods[&method].classes[at]);
        }
    }
}
