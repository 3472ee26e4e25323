//! Workers that are much slower than the others of their kind are set aside (`pace`): they are chosen last. Nothing
//! waits for another worker while they have a free slot, so that a wrong verdict costs nobody a slot: only the order
//! changes in which free ones are taken. Beyond its slots such a worker holds nothing ready; that would wait for long.
//!
//! It comes back when its time is over, and is measured as any other.

use super::classes::Worker;
use super::{Grant, Scheduler, Standing, WorkerId};

/// Who gets a job first of those that have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// It has a free slot.
    Free,
    /// It has one too, but is set aside.
    FreeAside,
    /// The job would stand there until a slot is free.
    Beyond,
}

impl Worker {
    /// So many jobs at once.
    pub(super) fn may_hold(&self) -> u32 {
        let beyond = if self.pace.is_well() { self.prefetch } else { 0 };
        self.slots.saturating_add(beyond)
    }

    pub(super) fn turn(&self) -> Turn {
        match (self.outstanding < self.slots, self.pace.is_well()) {
            (true, true) => Turn::Free,
            (true, false) => Turn::FreeAside,
            (false, _) => Turn::Beyond,
        }
    }
}

impl Scheduler {
    /// It is so late: workers whose time aside is over come back. To be told now and then.
    pub fn tell_time(&mut self, now_us: u64) -> Vec<Grant> {
        self.now_us = self.now_us.max(now_us);
        let (mut grants, mut classes) = (Vec::new(), Vec::new());
        while let Some((until_us, id)) = self.aside.first().copied()
            && until_us <= self.now_us
        {
            self.aside.pop_first();
            self.classes.change(id, |worker| worker.pace.come_back());
            self.verdicts.push((id, Standing::Well));
            // It may hold some ready again.
            grants.extend(self.fill(id));
            classes.extend(self.classes.worker(id).map(|worker| worker.class));
        }
        // When all are back: the next of them may have room for what the first has none for.
        classes.into_iter().for_each(|class| self.ask(class));
        grants
    }

    /// Verdicts since they were last taken: which worker, and how it stands now.
    pub fn take_verdicts(&mut self) -> Vec<(WorkerId, Standing)> {
        std::mem::take(&mut self.verdicts)
    }

    /// After a job has said something of this worker.
    pub(super) fn judge(&mut self, id: WorkerId) {
        let Some(worker) = self.classes.worker(id).filter(|worker| worker.pace.is_due()) else { return };
        let others = self.classes.typical_but(worker.class, id);
        if let Some(times) = others.and_then(|others| worker.pace.times_slower(others)) {
            self.set_aside(id, times);
        }
    }

    pub(super) fn set_aside(&mut self, id: WorkerId, times: u32) {
        let now_us = self.now_us;
        self.classes.change(id, |worker| worker.pace.set_aside(times, now_us));
        self.aside.extend(self.until_us(id).map(|until_us| (until_us, id)));
        self.verdicts.push((id, Standing::Aside { times }));
    }

    /// A worker leaves.
    pub(super) fn forget_verdict(&mut self, id: WorkerId) {
        if let Some(until_us) = self.until_us(id) {
            self.aside.remove(&(until_us, id));
        }
    }

    fn until_us(&self, id: WorkerId) -> Option<u64> {
        self.classes.worker(id)?.pace.until_us()
    }
}
