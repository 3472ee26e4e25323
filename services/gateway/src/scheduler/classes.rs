//! Workers that serve the same methods are one class. A class knows which of its workers have room, and what goes next
//! to them.

use std::collections::{BTreeSet, HashMap};

use super::aside::Turn;
use super::chunks::Chunks;
use super::fair::Fair;
use super::methods::Method;
use super::pace::Pace;
use super::share::Share;
use super::work::Work;
use super::{JobId, Lane, MethodId, WorkerId};

/// Counted up; an id is not used again, so that what is left of a class that has gone finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClassId(pub(super) u32);

/// A kind of worker.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) methods: Vec<MethodId>,
    /// Jobs that wait and could run here, in each lane: those of methods at their limit could not.
    pub(super) backlog: [usize; 2],
    pub(super) share: Share,
    pub(super) chunks: Chunks,
    lanes: [ClassLane; 2],
    /// Workers with room, in the order in which they get what comes.
    ready: BTreeSet<Rank>,
    pub(super) load: Load,
    workers: Vec<WorkerId>,
}

/// Among workers with room: its turn, jobs above its slots (the less, the more of them are free), and who it is.
pub(super) type Rank = (Turn, i64, WorkerId);

#[derive(Debug)]
pub(super) struct ClassLane {
    pub(super) fair: Fair,
    /// Waiting work of methods without a limit.
    pub(super) work: Work,
}

/// What one worker holds, or all of a class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) slots: u64,
    pub(super) outstanding: u64,
    /// Jobs that stand beyond the slots.
    pub(super) beyond: u64,
    /// Service that was expected of all outstanding jobs.
    pub(super) service_us: u64,
}

/// A worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) class: ClassId,
    /// Which of those that ever came it is: a worker may come back under the same id.
    pub(super) visit: u64,
    pub(super) slots: u32,
    pub(super) prefetch: u32,
    pub(super) outstanding: u32,
    pub(super) service_us: u64,
    /// Chunks that it has.
    pub(super) chunks: u32,
    /// Slots that it was asked for, and has not left yet.
    pub(super) asked: u32,
    pub(super) pace: Pace,
}

impl Worker {
    pub(super) fn has_room(&self) -> bool {
        self.outstanding < self.may_hold()
    }

    /// Not even with the next slot that it is not asked for yet it would have room.
    pub(super) fn is_overfull(&self) -> bool {
        self.outstanding.saturating_sub(self.asked) > self.may_hold()
    }

    fn rank(&self, id: WorkerId) -> Rank {
        (self.turn(), i64::from(self.outstanding) - i64::from(self.slots), id)
    }

    fn load(&self) -> Load {
        Load {
            slots: self.slots.into(),
            outstanding: self.outstanding.into(),
            beyond: self.outstanding.saturating_sub(self.slots).into(),
            service_us: self.service_us,
        }
    }
}

/// What goes next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    pub(super) job: JobId,
    /// The other lane has a job too.
    pub(super) contended: bool,
}

impl Class {
    fn new(methods: Vec<MethodId>, batch_share: f64) -> Self {
        let lane = || ClassLane { fair: Fair::default(), work: Work::new() };
        Self {
            methods,
            backlog: [0, 0],
            share: Share::new(batch_share),
            chunks: Chunks::default(),
            lanes: [lane(), lane()],
            ready: BTreeSet::new(),
            load: Load::default(),
            workers: Vec::new(),
        }
    }

    /// The job that goes next to whichever of its workers has room.
    pub(super) fn next(&self) -> Option<Next> {
        match Lane::ALL.map(|lane| self.lane(lane).fair.next()) {
            [Some(call), Some(batch)] => {
                let job = if self.share.next() == Lane::Batch { batch } else { call };
                Some(Next { job, contended: true })
            }
            [one, other] => one.or(other).map(|job| Next { job, contended: false }),
        }
    }

    /// The worker for a job that has just come: the second, if the first is not to be.
    pub(super) fn best(&self, not_at: Option<WorkerId>) -> Option<Rank> {
        self.ready.iter().find(|(_, _, worker)| Some(*worker) != not_at).copied()
    }

    pub(super) fn lane(&self, lane: Lane) -> &ClassLane {
        &self.lanes[lane as usize]
    }

    pub(super) fn lane_mut(&mut self, lane: Lane) -> &mut ClassLane {
        &mut self.lanes[lane as usize]
    }

    /// One of its slots has worked for so long.
    pub(super) fn worked(&mut self, us: u64) {
        self.lanes.iter_mut().for_each(|lane| lane.work.worked(us));
    }

    pub(super) fn set_open(&mut self, method: MethodId, open: bool, waiting: [usize; 2]) {
        for ((lane, backlog), waiting) in self.lanes.iter_mut().zip(&mut self.backlog).zip(waiting) {
            *backlog = if open { *backlog + waiting } else { *backlog - waiting };
            lane.fair.set_open(method, open);
        }
    }

    /// A method gets a limit, or has lost it: its work stands in nobody's way now, or does so again.
    pub(super) fn set_limited(&mut self, id: MethodId, method: &Method) {
        for name in Lane::ALL {
            let lane = self.lane_mut(name);
            if method.limit.is_some() {
                let firsts = method.firsts(name).map(|(tenant, job, _)| (tenant, job));
                lane.fair.form_line(id, method.is_open(), firsts);
            } else {
                lane.fair.break_line(id);
            }
            for (tenant, _, service_us) in method.firsts(name) {
                if method.limit.is_some() {
                    lane.work.remove(tenant, service_us);
                } else {
                    lane.work.add(tenant, service_us);
                }
            }
        }
    }

    /// A method of its own, with what waits for it when the class comes up.
    pub(super) fn add_method(&mut self, id: MethodId, method: &Method) {
        let (open, limited) = (method.is_open(), method.limit.is_some());
        for name in Lane::ALL {
            self.backlog[name as usize] += if open { method.waiting[name as usize] } else { 0 };
            let lane = self.lane_mut(name);
            if limited {
                lane.fair.add_line(id, open);
            }
            for (tenant, job, service_us) in method.firsts(name) {
                lane.fair.set_first(id, tenant, None, Some(job));
                if !limited {
                    lane.work.add(tenant, service_us);
                }
            }
        }
    }

    /// Counts a worker as it is now.
    fn seat(&mut self, id: WorkerId, worker: &Worker) {
        let load = worker.load();
        self.load.slots += load.slots;
        self.load.outstanding += load.outstanding;
        self.load.beyond += load.beyond;
        self.load.service_us = self.load.service_us.saturating_add(load.service_us);
        if worker.has_room() {
            self.ready.insert(worker.rank(id));
        }
        self.chunks.seat(id, worker);
    }

    /// Takes back what [`Self::seat`] counted.
    fn unseat(&mut self, id: WorkerId, worker: &Worker) {
        let load = worker.load();
        self.load.slots -= load.slots;
        self.load.outstanding -= load.outstanding;
        self.load.beyond -= load.beyond;
        self.load.service_us = self.load.service_us.saturating_sub(load.service_us);
        self.ready.remove(&worker.rank(id));
        self.chunks.unseat(id, worker);
    }
}

/// All workers, by class.
#[derive(Debug, Default)]
pub(super) struct Classes {
    classes: HashMap<ClassId, Class>,
    by_methods: HashMap<Vec<MethodId>, ClassId>,
    workers: HashMap<WorkerId, Worker>,
    next_class: u32,
    next_visit: u64,
}

impl Classes {
    pub(super) fn get(&self, class: ClassId) -> Option<&Class> {
        self.classes.get(&class)
    }

    pub(super) fn get_mut(&mut self, class: ClassId) -> Option<&mut Class> {
        self.classes.get_mut(&class)
    }

    pub(super) fn worker(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        let lanes = self.classes.values().flat_map(|class| &class.lanes);
        lanes.map(|lane| lane.fair.remembered()).sum()
    }

    /// The class of workers that serve exactly these methods; whether it is a new one.
    pub(super) fn class_of(&mut self, methods: Vec<MethodId>, batch_share: f64) -> (ClassId, bool) {
        if let Some(known) = self.by_methods.get(&methods) {
            return (*known, false);
        }
        self.next_class += 1;
        let class = ClassId(self.next_class);
        self.by_methods.insert(methods.clone(), class);
        self.classes.insert(class, Class::new(methods, batch_share));
        (class, true)
    }

    pub(super) fn add(&mut self, id: WorkerId, class: ClassId, slots: u32) {
        self.next_visit += 1;
        let visit = self.next_visit;
        let worker = Worker {
            class,
            visit,
            slots,
            prefetch: 0,
            outstanding: 0,
            service_us: 0,
            chunks: 0,
            asked: 0,
            pace: Pace::default(),
        };
        let class = self.classes.get_mut(&class).expect("a worker's class is there");
        class.workers.push(id);
        class.seat(id, &worker);
        self.workers.insert(id, worker);
    }

    /// Answers the class that has gone with its last worker.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<(ClassId, Class)> {
        let worker = self.workers.remove(&id)?;
        let class = self.classes.get_mut(&worker.class).expect("a worker's class is there");
        class.unseat(id, &worker);
        class.workers.retain(|other| *other != id);
        if !class.workers.is_empty() {
            return None;
        }
        let class = self.classes.remove(&worker.class)?;
        self.by_methods.remove(&class.methods);
        Some((worker.class, class))
    }

    /// How those workers of a class compare that are well, in the median of all but one. Looks at each of them.
    pub(super) fn typical_but(&self, class: ClassId, but: WorkerId) -> Option<f64> {
        let others = self.classes.get(&class)?.workers.iter().filter(|id| **id != but);
        let mut examples: Vec<f64> = others.filter_map(|id| self.workers.get(id)?.pace.example()).collect();
        examples.sort_unstable_by(f64::total_cmp);
        // Of an even number the slower of the two in the middle: the other may be the one that is broken.
        examples.get(examples.len() / 2).copied()
    }

    /// Changes a worker, and what its class knows of it.
    pub(super) fn change(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let class = self.classes.get_mut(&worker.class).expect("a worker's class is there");
        class.unseat(id, worker);
        change(worker);
        class.seat(id, worker);
    }
}
