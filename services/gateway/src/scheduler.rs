//! Which waiting job goes to which worker: first come, first served, to the worker with the most free slots. A plain
//! state machine: no clock, no I/O, no tokio. `queue.rs` feeds it and carries out what it says.

use std::collections::{BTreeSet, HashMap};

/// A job, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// A worker's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// A method that runs as a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodId(pub u32);

/// A job has got a place at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which job.
    pub job: JobId,
    /// At which worker.
    pub worker: WorkerId,
}

/// What becomes of a job that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It goes at once.
    Granted(Grant),
    /// It waits under this id.
    Waiting(JobId),
    /// As many jobs wait as may.
    Full,
}

/// The state of all job queues and workers.
#[derive(Debug)]
pub struct Scheduler {
    limit: usize,
    waiting: usize,
    next_job: u64,
    queues: HashMap<MethodId, Queue>,
    workers: HashMap<WorkerId, Worker>,
    /// Workers that serve the same methods are one class.
    classes: Vec<Class>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: BTreeSet<JobId>,
    classes: Vec<usize>,
}

#[derive(Debug)]
struct Class {
    methods: Vec<MethodId>,
    /// Workers with room, the one with the most free slots first.
    ready: BTreeSet<(i64, WorkerId)>,
}

#[derive(Debug)]
struct Worker {
    class: usize,
    slots: u32,
    prefetch: u32,
    outstanding: u32,
}

impl Worker {
    /// Jobs above its slots; the less, the more of them are free.
    fn load(&self) -> i64 {
        i64::from(self.outstanding) - i64::from(self.slots)
    }

    fn has_room(&self) -> bool {
        self.outstanding < self.slots.saturating_add(self.prefetch)
    }
}

impl Scheduler {
    /// At most `limit` jobs wait.
    pub fn new(limit: usize) -> Self {
        let (queues, workers, classes) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { limit, waiting: 0, next_job: 0, queues, workers, classes }
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// A job of `method` arrives.
    pub fn submit(&mut self, method: MethodId) -> Submitted {
        let best = self.queues.get(&method).and_then(|queue| {
            queue.classes.iter().filter_map(|class| self.classes[*class].ready.first()).min().copied()
        });
        if let Some((_, worker)) = best {
            let job = self.new_job();
            self.load(worker, 1);
            return Submitted::Granted(Grant { job, worker });
        }
        if self.waiting >= self.limit {
            return Submitted::Full;
        }
        let job = self.new_job();
        self.queues.entry(method).or_default().jobs.insert(job);
        self.waiting += 1;
        Submitted::Waiting(job)
    }

    /// A waiting job is not wanted any more. False when it does not wait.
    pub fn cancel(&mut self, method: MethodId, job: JobId) -> bool {
        let removed = self.queues.get_mut(&method).is_some_and(|queue| queue.jobs.remove(&job));
        self.waiting -= usize::from(removed);
        removed
    }

    /// A worker comes, with so many slots for these methods.
    pub fn join(&mut self, worker: WorkerId, slots: u32, mut methods: Vec<MethodId>) -> Vec<Grant> {
        methods.sort_unstable();
        methods.dedup();
        let class = self.class_of(methods);
        self.workers.insert(worker, Worker { class, slots, prefetch: 0, outstanding: 0 });
        self.seat(worker);
        self.fill(worker)
    }

    /// A worker takes no more work, or is gone. What it has is no longer counted.
    pub fn leave(&mut self, worker: WorkerId) {
        self.unseat(worker);
        self.workers.remove(&worker);
    }

    /// A worker has finished a job, and may now hold `prefetch` jobs beyond its slots.
    pub fn finish(&mut self, worker: WorkerId, prefetch: u32) -> Vec<Grant> {
        if !self.workers.contains_key(&worker) {
            return Vec::new();
        }
        self.unseat(worker);
        if let Some(state) = self.workers.get_mut(&worker) {
            state.prefetch = prefetch;
            state.outstanding = state.outstanding.saturating_sub(1);
        }
        self.seat(worker);
        self.fill(worker)
    }

    /// The worker's window as it is now.
    pub fn prefetch(&self, worker: WorkerId) -> u32 {
        self.workers.get(&worker).map_or(0, |state| state.prefetch)
    }

    /// Gives the worker the oldest jobs that it can run, as long as it has room.
    fn fill(&mut self, worker: WorkerId) -> Vec<Grant> {
        let mut grants = Vec::new();
        while self.workers.get(&worker).is_some_and(Worker::has_room) {
            let Some((method, job)) = self.oldest_for(worker) else { break };
            self.cancel(method, job);
            self.load(worker, 1);
            grants.push(Grant { job, worker });
        }
        grants
    }

    fn oldest_for(&self, worker: WorkerId) -> Option<(MethodId, JobId)> {
        let class = &self.classes[self.workers.get(&worker)?.class];
        let heads = class
            .methods
            .iter()
            .filter_map(|method| Some((*method, *self.queues.get(method)?.jobs.first()?)));
        heads.min_by_key(|(_, job)| *job)
    }

    fn load(&mut self, worker: WorkerId, jobs: u32) {
        self.unseat(worker);
        if let Some(state) = self.workers.get_mut(&worker) {
            state.outstanding += jobs;
        }
        self.seat(worker);
    }

    fn unseat(&mut self, worker: WorkerId) {
        if let Some(state) = self.workers.get(&worker) {
            self.classes[state.class].ready.remove(&(state.load(), worker));
        }
    }

    fn seat(&mut self, worker: WorkerId) {
        if let Some(state) = self.workers.get(&worker).filter(|state| state.has_room()) {
            self.classes[state.class].ready.insert((state.load(), worker));
        }
    }

    fn new_job(&mut self) -> JobId {
        self.next_job += 1;
        JobId(self.next_job)
    }

    /// Classes are never removed: there are as many as there are kinds of worker.
    fn class_of(&mut self, methods: Vec<MethodId>) -> usize {
        if let Some(known) = self.classes.iter().position(|class| class.methods == methods) {
            return known;
        }
        let class = self.classes.len();
        for method in &methods {
            self.queues.entry(*method).or_default().classes.push(class);
        }
        self.classes.push(Class { methods, ready: BTreeSet::new() });
        class
    }
}

#[cfg(test)]
mod tests;
