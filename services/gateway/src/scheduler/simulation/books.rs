//! What the world knows of its jobs and workers, kept in the plainest way.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::scheduler::{
    Grant, Job, JobId, Lane, MethodId, Scheduler, Standing, Submitted, TenantId, WorkerId,
};

pub(super) const METHODS: usize = 4;
pub(super) const TENANTS: usize = 6;

/// The methods of a kind of worker.
pub(super) type Class = Vec<MethodId>;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Waiting,
    Granted { worker: WorkerId, visit: u64, class: Class },
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) method: MethodId,
    pub(super) lane: Lane,
    pub(super) tenant: TenantId,
    pub(super) items: u32,
    not_at: Option<WorkerId>,
    pub(super) state: State,
}

impl Known {
    /// Where it is.
    pub(super) fn worker(&self) -> Option<WorkerId> {
        match self.state {
            State::Waiting => None,
            State::Granted { worker, .. } => Some(worker),
        }
    }

    fn is_chunk(&self) -> bool {
        self.lane == Lane::Batch && self.items > 1
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) methods: Class,
    visit: u64,
    slots: u32,
    prefetch: u32,
    outstanding: u32,
    chunks: usize,
    /// To end so many of them.
    asked: usize,
    standing: Standing,
}

impl Worker {
    fn is_well(&self) -> bool {
        self.standing == Standing::Well
    }

    fn has_free_slot(&self) -> bool {
        self.outstanding < self.slots
    }

    /// One that is set aside holds nothing beyond its slots.
    fn has_room(&self) -> bool {
        let beyond = if self.is_well() { self.prefetch } else { 0 };
        self.outstanding < self.slots + beyond
    }
}

#[derive(Debug, Default)]
pub(super) struct Books {
    most_waiting: usize,
    pub(super) jobs: BTreeMap<JobId, Known>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) limits: HashMap<MethodId, Option<u32>>,
    /// Who waits, in each queue.
    queues: BTreeMap<(Lane, TenantId, MethodId), BTreeSet<JobId>>,
    /// How many wait there.
    pub(super) waiting_in: [[[usize; METHODS]; TENANTS]; 2],
    waiting: usize,
    waiting_of: [usize; METHODS],
    granted_of: [u32; METHODS],
    finished_of: [u32; METHODS],
    all_waiting: Vec<JobId>,
    all_granted: Vec<JobId>,
    visits: u64,
    last: u64,
    pub(super) begun: usize,
    pub(super) ended: usize,
    /// How often a worker was.
    pub(super) set_aside: usize,
}

impl Books {
    pub(super) fn new(most_waiting: usize) -> Self {
        Self { most_waiting, ..Self::default() }
    }

    /// One of the jobs that wait.
    pub(super) fn some_waiting(&self, which: usize) -> Option<JobId> {
        nth(&self.all_waiting, which)
    }

    /// One of the jobs that are at workers.
    pub(super) fn some_granted(&self, which: usize) -> Option<JobId> {
        nth(&self.all_granted, which)
    }

    /// The jobs of a worker that has left.
    pub(super) fn at(&self, gone: WorkerId) -> Vec<JobId> {
        let at = |job: &Known| matches!(job.state, State::Granted { worker, .. } if worker == gone);
        self.jobs.iter().filter(|(_, job)| at(job)).map(|(id, _)| *id).collect()
    }

    pub(super) fn submitted(&mut self, job: &Job, submitted: Submitted, service_us: Option<u64>) {
        let Job { method, lane, tenant, left_us, items, not_at, .. } = *job;
        let known = Known { method, lane, tenant, items, not_at, state: State::Waiting };
        match submitted {
            Submitted::Waiting(id) => self.begin(id, known),
            Submitted::Granted(grant) => {
                assert_ne!(Some(grant.worker), not_at, "the other attempt is there");
                self.begin(grant.job, known);
                self.granted(grant);
            }
            Submitted::NoOther => {
                let could = self.workers.iter().filter(|(_, worker)| worker.has_room());
                let could = could.filter(|(_, worker)| worker.methods.contains(&method)).map(|(id, _)| *id);
                assert!(not_at.is_some() && could.eq(not_at) && self.is_open(method), "refused in vain");
            }
            Submitted::Full { waiting } => {
                assert_eq!((waiting, self.waiting), (self.most_waiting, self.most_waiting));
            }
            Submitted::Standing { wait_us, may_wait_us } => {
                assert!(left_us.is_some() && wait_us > may_wait_us && self.waiting > 0, "refused in vain");
            }
            Submitted::TooLate { wait_us, .. } => {
                let left_us = left_us.expect("refused by a deadline that it has not");
                let alone = service_us.is_some_and(|service| service > left_us);
                assert!(
                    left_us == 0 || self.finished_of[method.0 as usize] >= 8,
                    "refused by what nobody knows"
                );
                assert!(left_us == 0 || alone || wait_us > 0, "refused in vain");
                assert!(wait_us == 0 || self.waiting > 0 || self.granted_of.iter().sum::<u32>() > 0);
            }
        }
    }

    fn begin(&mut self, id: JobId, job: Known) {
        assert!(id.0 > self.last, "an id that was there before");
        self.last = id.0;
        self.begun += 1;
        self.enqueue(&job, 1);
        self.all_waiting.push(id);
        self.queues.entry((job.lane, job.tenant, job.method)).or_default().insert(id);
        self.jobs.insert(id, job);
    }

    fn enqueue(&mut self, job: &Known, more: isize) {
        let method = job.method.0 as usize;
        let here = &mut self.waiting_in[job.lane as usize][job.tenant.0 as usize][method];
        for count in [here, &mut self.waiting, &mut self.waiting_of[method]] {
            *count = count.checked_add_signed(more).unwrap();
        }
    }

    pub(super) fn granted(&mut self, grant: Grant) {
        let job = self.jobs.get_mut(&grant.job).expect("a job that nobody knows, or that has ended");
        assert_eq!(job.state, State::Waiting, "granted twice");
        let queue = self.queues.get_mut(&(job.lane, job.tenant, job.method)).unwrap();
        assert_eq!(queue.pop_first(), Some(grant.job), "overtaken by its own tenant");
        let others = self.workers.iter().filter(|(id, _)| Some(**id) != job.not_at);
        let mut could = others.filter(|(_, worker)| worker.methods.contains(&job.method));
        let is_well_and_free = could.any(|(_, worker)| worker.is_well() && worker.has_free_slot());
        let worker = self.workers.get_mut(&grant.worker).expect("a worker that has left");
        assert!(worker.is_well() || !is_well_and_free, "set aside, and not chosen last");
        assert!(worker.has_room() && worker.methods.contains(&job.method));
        worker.outstanding += 1;
        worker.chunks += usize::from(job.is_chunk());
        job.state =
            State::Granted { worker: grant.worker, visit: worker.visit, class: worker.methods.clone() };
        let method = job.method.0 as usize;
        let job = job.clone();
        self.enqueue(&job, -1);
        take(&mut self.all_waiting, grant.job);
        self.all_granted.push(grant.job);
        self.granted_of[method] += 1;
        let limit = self.limits.get(&MethodId(method as u32)).copied().flatten();
        assert!(limit.is_none_or(|limit| self.granted_of[method] <= limit), "above its limit");
    }

    pub(super) fn is_well(&self, worker: WorkerId) -> bool {
        self.workers[&worker].is_well()
    }

    /// A worker is set aside, or is no longer.
    pub(super) fn stands(&mut self, id: WorkerId, standing: Standing) {
        let Some(worker) = self.workers.get_mut(&id) else { panic!("{id:?} has left") };
        let was_well = worker.is_well();
        worker.standing = standing;
        assert_ne!(worker.is_well(), was_well, "{standing:?} is no news");
        self.set_aside += usize::from(was_well);
    }

    /// A worker was asked to end a chunk for a call that waits: it has one that it was not asked for, and there was reason.
    pub(super) fn asked(&mut self, worker: WorkerId) {
        let methods = self.workers[&worker].methods.clone();
        let (calls, _, asked) = self.chunks_in(&methods);
        assert!(asked < calls, "{worker:?} was asked in vain");
        let worker = self.workers.get_mut(&worker).unwrap();
        worker.asked += 1;
        assert!(worker.asked <= worker.chunks, "more was asked than it has");
    }

    /// Calls that wait for one kind of worker, chunks that are there, and how many of them were asked to end.
    fn chunks_in(&self, class: &Class) -> (usize, usize, usize) {
        let open = class.iter().filter(|method| self.is_open(**method));
        let in_lane = &self.waiting_in[Lane::Calls as usize];
        let calls = open.map(|method| in_lane.iter().map(|of| of[method.0 as usize]).sum::<usize>()).sum();
        let workers = self.workers.values().filter(|worker| worker.methods == *class);
        workers.fold((calls, 0, 0), |(calls, chunks, asked), worker| {
            (calls, chunks + worker.chunks, asked + worker.asked)
        })
    }

    pub(super) fn finished(&mut self, id: JobId, prefetch: Option<u32>) {
        let job = self.jobs.remove(&id).unwrap();
        let State::Granted { worker, visit, .. } = job.state else {
            panic!("finished before it was granted")
        };
        self.ended += 1;
        take(&mut self.all_granted, id);
        self.granted_of[job.method.0 as usize] -= 1;
        self.finished_of[job.method.0 as usize] += 1;
        if let Some(worker) = self.workers.get_mut(&worker).filter(|worker| worker.visit == visit) {
            worker.outstanding -= 1;
            worker.chunks -= usize::from(job.is_chunk());
            worker.asked = worker.asked.saturating_sub(1);
            worker.prefetch = prefetch.unwrap_or(worker.prefetch);
        }
    }

    pub(super) fn cancelled(&mut self, id: JobId) {
        let job = self.jobs.remove(&id).unwrap();
        self.ended += 1;
        self.enqueue(&job, -1);
        take(&mut self.all_waiting, id);
        self.queues.get_mut(&(job.lane, job.tenant, job.method)).unwrap().remove(&id);
    }

    pub(super) fn joined(&mut self, id: WorkerId, slots: u32, methods: Class) {
        self.visits += 1;
        let worker = Worker {
            methods,
            visit: self.visits,
            slots,
            prefetch: 0,
            outstanding: 0,
            chunks: 0,
            asked: 0,
            standing: Standing::Well,
        };
        self.workers.insert(id, worker);
    }

    /// Answers its class, when it was the last of it.
    pub(super) fn left(&mut self, id: WorkerId) -> Option<Class> {
        let gone = self.workers.remove(&id)?.methods;
        let last = self.workers.values().all(|worker| worker.methods != gone);
        last.then_some(gone)
    }

    pub(super) fn resized(&mut self, id: WorkerId, slots: u32) {
        self.workers.get_mut(&id).unwrap().slots = slots;
    }

    fn is_open(&self, method: MethodId) -> bool {
        let limit = self.limits.get(&method).copied().flatten();
        limit.is_none_or(|limit| self.granted_of[method.0 as usize] < limit)
    }

    /// The sums are true, no slot idles while a job that it may run waits, whoever is set aside, and no call waits for a
    /// chunk that was not asked.
    pub(super) fn check(&self, scheduler: &Scheduler) {
        assert_eq!(scheduler.waiting(), self.waiting);
        for (id, worker) in &self.workers {
            let could = worker.methods.iter().filter(|method| self.is_open(**method));
            let backlog: usize = could.map(|method| self.waiting_of[method.0 as usize]).sum();
            assert_eq!(scheduler.backlog(*id), backlog);
            assert!(backlog == 0 || !worker.has_room(), "a slot idles while work for it waits");
            let (calls, chunks, asked) = self.chunks_in(&worker.methods);
            assert!(
                asked >= calls.min(chunks),
                "{calls} calls wait for {chunks} chunks, {asked} of them asked"
            );
        }
    }
}

fn nth(jobs: &[JobId], which: usize) -> Option<JobId> {
    jobs.get(which % jobs.len().max(1)).copied()
}

fn take(jobs: &mut Vec<JobId>, job: JobId) {
    let at = jobs.iter().position(|known| *known == job).unwrap();
    jobs.swap_remove(at);
}
