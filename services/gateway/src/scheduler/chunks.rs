//! Chunks of maps that have slots: long, so that little is lost between two of them, and ended between two items when
//! calls wait. Each kind of worker that could run them is asked for as many slots as calls wait, as long as it has chunks.
//! Any job's end is a slot less that its worker is asked for, here as at the worker: which of its chunks ends, nobody says.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::classes::{ClassId, Worker};
use super::{Lane, MethodId, Scheduler, WorkerId};

/// The chunks at one kind of worker.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    asked: usize,
    /// Workers with chunks that were not asked for. First those where the end of one makes room for another job, and of
    /// these the one with the most.
    unasked: BTreeSet<Rank>,
}

type Rank = (bool, Reverse<u32>, WorkerId);

fn rank(id: WorkerId, worker: &Worker) -> Rank {
    (worker.is_overfull(), Reverse(worker.chunks.saturating_sub(worker.asked)), id)
}

impl Chunks {
    pub(super) fn seat(&mut self, id: WorkerId, worker: &Worker) {
        self.asked += worker.asked as usize;
        if worker.chunks > worker.asked {
            self.unasked.insert(rank(id, worker));
        }
    }

    pub(super) fn unseat(&mut self, id: WorkerId, worker: &Worker) {
        self.asked -= worker.asked as usize;
        self.unasked.remove(&rank(id, worker));
    }
}

impl Scheduler {
    /// Workers that are to end a chunk for calls that have come to wait, once for each slot. They stand here until they
    /// are taken.
    pub fn take_asked(&mut self) -> Vec<WorkerId> {
        std::mem::take(&mut self.asked)
    }

    /// Whether calls wait that the workers of this method could run, were there room.
    pub fn calls_wait(&self, method: MethodId) -> bool {
        let classes = self.methods.get(&method).map(|method| &method.classes);
        let calls =
            |class: &ClassId| self.classes.get(*class).map(|class| class.backlog[Lane::Calls as usize]);
        classes.is_some_and(|classes| classes.iter().filter_map(calls).any(|calls| calls > 0))
    }

    /// After something has changed there: as many slots are asked for as calls wait.
    pub(super) fn ask(&mut self, id: ClassId) {
        while let Some(class) = self.classes.get(id)
            && class.chunks.asked < class.backlog[Lane::Calls as usize]
            && let Some((_, _, worker)) = class.chunks.unasked.first().copied()
        {
            self.classes.change(worker, |worker| worker.asked += 1);
            self.asked.push(worker);
        }
    }

    /// The same at all kinds of worker of a method that somebody waits for.
    pub(super) fn ask_for(&mut self, method: MethodId) {
        let waited_for = self.methods.get(&method).filter(|method| method.is_waited_for());
        let classes = waited_for.map_or(0, |method| method.classes.len());
        for at in 0..classes {
            self.ask(self.methods[&method].classes[at]);
        }
    }
}
