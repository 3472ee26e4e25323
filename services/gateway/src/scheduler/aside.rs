//! Workers that are much slower than the others of their kind are set aside (`pace`), and used where that is quicker all
//! the same ("the slow server problem", Lin and Kumar 1984: the slower of two servers gets work when the queue is longer
//! than a threshold, and else nothing):
//!
//! - While one that is well has room, a worker that is aside gets nothing.
//! - While none has, what comes waits for one of them, unless so much waits that the last of it would wait for longer
//!   than a slow worker takes beyond the others: if it is ten times as slow, nine jobs for each of the others' slots. What
//!   goes there is then what goes next, as anywhere. Calls wait behind calls, batch behind both: a long backlog of tickets
//!   sends no call to a slow worker.
//! - After a while it is on probation: a job at a time goes there as soon as anything waits. They say whether it is well.
//!
//! Half of a kind stays at least. Where none of those has a slot, standings mean nothing.

use super::classes::{ClassId, Worker};
use super::{Grant, MethodId, Scheduler, Standing, WorkerId};

/// Of who is on probation and has nothing.
const ON_PROBATION: u32 = 1;

impl Worker {
    /// Those of a smaller one get work first: 0 if it is well, else how many times as slow it is.
    pub(super) fn order(&self) -> u32 {
        match self.pace.standing {
            Standing::Well => 0,
            Standing::OnProbation { .. } if self.outstanding == 0 => ON_PROBATION,
            Standing::OnProbation { times } | Standing::Aside { times } => times,
        }
    }
}

/// Whether a worker of this order takes a job that would wait else.
pub(super) fn takes_the_first(order: u32) -> bool {
    order <= ON_PROBATION
}

/// So many jobs it leaves to those that are well and have so many slots.
pub(super) fn leaves_to_others(order: u32, slots: u64) -> u64 {
    u64::from(order.saturating_sub(1)).saturating_mul(slots)
}

impl Scheduler {
    /// After jobs of a method have come to wait: gives workers that are aside what waits for too long.
    pub fn spill(&mut self, method: MethodId) -> Vec<Grant> {
        let classes = self.methods.get(&method).map_or(0, |method| method.classes.len());
        let mut grants = Vec::new();
        for at in 0..classes {
            grants.extend(self.spill_in(self.methods[&method].classes[at]));
        }
        grants
    }

    /// Verdicts since they were last taken: which worker, and how it stands now.
    pub fn take_verdicts(&mut self) -> Vec<(WorkerId, Standing)> {
        std::mem::take(&mut self.verdicts)
    }

    /// The same in one class. If its least slow worker with room gets nothing, none does.
    pub(super) fn spill_in(&mut self, class: ClassId) -> Vec<Grant> {
        let mut grants = Vec::new();
        while let Some(worker) = self.classes.get(class).and_then(|class| class.first_if_any_is_aside())
            && let Some(next) = self.next_for(worker)
        {
            grants.push(self.take(next, worker));
        }
        grants
    }

    /// After a job of this worker has ended.
    pub(super) fn judge(&mut self, id: WorkerId) {
        let Some(worker) = self.classes.worker(id).filter(|worker| worker.pace.is_due()) else { return };
        let Some(class) = self.classes.get(worker.class) else { return };
        let is_well = worker.pace.is_well();
        let may_go = !is_well || class.may_set_aside_another();
        let clock = class.clock_without(if is_well { worker.slots } else { 0 });
        match self.times_slower(id, worker) {
            Some(times) if may_go => self.stand(id, |worker| worker.pace.set_aside(times, clock)),
            None if !is_well => self.stand(id, |worker| worker.pace.acquit(clock)),
            _ => {}
        }
    }

    /// Those whose time is over are on probation.
    pub(super) fn try_again(&mut self, class: ClassId) {
        while let Some(worker) = self.classes.get(class).and_then(|class| class.is_over()) {
            self.stand(worker, |worker| worker.pace.begin_probation());
        }
    }

    fn stand(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        self.classes.change(id, change);
        self.verdicts.extend(self.classes.worker(id).map(|worker| (id, worker.pace.standing)));
    }

    fn times_slower(&self, id: WorkerId, worker: &Worker) -> Option<u32> {
        worker.pace.times_slower(self.classes.typical_but(worker.class, id)?)
    }
}
