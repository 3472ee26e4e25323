//! Which waiting job goes to which worker. A plain state machine: no clock, no I/O, no tokio. `queue.rs` feeds it and
//! carries out what it says.
//!
//! A new job goes to the worker with the most free slots, a second attempt to the one of all others; a worker that has
//! room takes what goes next: calls before batch, but for batch's share (`share`); among tenants the one that has had the
//! least CPU time (`fair`); of its jobs the oldest. A method at its limit stands aside (`methods`). What jobs cost is
//! learned (`estimate`) for each size of request (`by_size`), and a job that could not be finished by its deadline, or would wait for long in a queue that
//! stands, is refused when it comes (`forecast`). A worker that is much slower than the others of its kind is chosen last
//! (`aside`).
//!
//! No decision looks at every job, worker or tenant: each costs a few steps in ordered sets, for each class that
//! serves the method and each limited method that the tenant waits for. Only a worker that seems slow is compared with each
//! of its kind, once in four of its jobs. Hash maps are looked into, never walked where the order would matter: the same
//! inputs give the same outputs. Nor does it look at a clock: it is told the time.

mod aside;
mod by_size;
mod chunks;
mod classes;
mod estimate;
mod fair;
mod fifo;
mod forecast;
mod job;
mod methods;
mod pace;
mod share;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use turno_proto::habits::CHUNK_GIVES_WAY;

use by_size::Size;
use classes::{ClassId, Classes, Next};
use methods::Method;
use pace::Ran;

pub use job::{Grant, Job, JobId, Lane, Limits, MethodId, Spent, Standing, Submitted, TenantId, WorkerId};

/// The state of all job queues and workers.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    next_job: u64,
    /// Ordered, though nothing asks for it: who comes and who goes are each near one another in memory, also among
    /// a million.
    waiting: BTreeMap<JobId, Waiting>,
    granted: HashMap<JobId, Granted>,
    methods: HashMap<MethodId, Method>,
    classes: Classes,
    /// See [`Self::take_asked`].
    asked: Vec<WorkerId>,
    /// Workers that are set aside, and until when.
    aside: BTreeSet<(u64, WorkerId)>,
    /// See [`Self::take_verdicts`].
    verdicts: Vec<(WorkerId, Standing)>,
    /// As it was last told.
    now_us: u64,
}

/// A job that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    method: MethodId,
    lane: Lane,
    tenant: TenantId,
    items: u32,
    size: Size,
    /// What was expected when it came.
    service_us: u64,
}

impl Waiting {
    fn is_chunk(&self) -> bool {
        self.lane == Lane::Batch && self.items > 1
    }

    /// How long it may stand before others, once it is at a worker: of a chunk one item runs at least.
    fn stands_us(&self) -> u64 {
        let item_us = self.service_us / u64::from(self.items.max(1));
        if self.is_chunk() {
            item_us.max(CHUNK_GIVES_WAY.as_micros() as u64).min(self.service_us)
        } else {
            self.service_us
        }
    }
}

/// A job that is at a worker.
#[derive(Clone, Copy, Debug)]
struct Granted {
    job: Waiting,
    worker: WorkerId,
    /// The worker's: when it has come back under the same id meanwhile, this job is none of its.
    visit: u64,
    class: ClassId,
    charged_us: i64,
    /// Counted between the lanes.
    contended: bool,
}

impl Scheduler {
    /// Nothing waits, nobody serves.
    pub fn new(limits: Limits) -> Self {
        let (waiting, granted, methods) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self {
            limits,
            next_job: 0,
            waiting,
            granted,
            methods,
            classes: Classes::default(),
            asked: Vec::new(),
            aside: BTreeSet::new(),
            verdicts: Vec::new(),
            now_us: 0,
        }
    }

    /// A job arrives.
    pub fn submit(&mut self, job: Job) -> Submitted {
        if let Some(refused) = self.refused(&job) {
            return refused;
        }
        if let Some(grant) = self.grant_new(&job) {
            return Submitted::Granted(grant);
        }
        // It cannot wait: its turn would come there, at once.
        if job.not_at.is_some() && self.best_worker(job.method, None).is_some() {
            return Submitted::NoOther;
        }
        if self.waiting.len() >= self.limits.waiting {
            return Submitted::Full { waiting: self.waiting.len() };
        }
        let arrived = self.arrived(&job);
        let job = self.new_job();
        self.wait(job, arrived);
        if arrived.lane == Lane::Calls {
            self.ask_for(arrived.method);
        }
        Submitted::Waiting(job)
    }

    /// A job arrives that does not wait: it has a place now, and seems to be done in time, or nothing has happened.
    pub fn submit_now(&mut self, job: &Job) -> Option<Grant> {
        if self.refusal(job).is_some() {
            return None;
        }
        self.grant_new(job)
    }

    /// A waiting job is not wanted any more. False when it does not wait.
    pub fn cancel(&mut self, job: JobId) -> bool {
        self.unwait(job).is_some()
    }

    /// A worker comes, with so many slots for these methods. One that was there under the same id has left.
    pub fn join(&mut self, worker: WorkerId, slots: u32, mut methods: Vec<MethodId>) -> Vec<Grant> {
        self.leave(worker);
        methods.sort_unstable();
        methods.dedup();
        let (class, new) = self.classes.class_of(methods, self.limits.batch_share);
        if new {
            self.open_class(class);
        }
        self.classes.add(worker, class, slots);
        let grants = self.fill(worker);
        self.ask(class);
        grants
    }

    /// A worker has another number of slots now. Below what it holds, it gets nothing until it has finished enough.
    pub fn resize(&mut self, worker: WorkerId, slots: u32) -> Vec<Grant> {
        self.classes.change(worker, |worker| worker.slots = slots);
        let grants = self.fill(worker);
        if let Some(class) = self.classes.worker(worker).map(|worker| worker.class) {
            self.ask(class);
        }
        grants
    }

    /// A worker takes no more work, or is gone. What it has must still be finished.
    pub fn leave(&mut self, worker: WorkerId) {
        let Some(class) = self.classes.worker(worker).map(|worker| worker.class) else { return };
        self.forget_verdict(worker);
        let Some((gone, class)) = self.classes.remove(worker) else {
            // It may have been asked for a slot.
            return self.ask(class);
        };
        for method in &class.methods {
            if let Some(method) = self.methods.get_mut(method) {
                method.classes.retain(|class| *class != gone);
            }
        }
    }

    /// A granted job is over: what it cost, if that is known (else it costs its tenant nothing), and how many jobs its
    /// worker may hold beyond its slots from now on, if that is known.
    pub fn finish(&mut self, job: JobId, spent: Option<Spent>, prefetch: Option<u32>) -> Vec<Grant> {
        let Some(granted) = self.granted.remove(&job) else { return Vec::new() };
        let ran = self.settle(&granted, spent);
        self.release(granted.job);
        let worker = self.classes.worker(granted.worker);
        let is_here = worker.is_some_and(|worker| worker.visit == granted.visit);
        if is_here {
            self.classes.change(granted.worker, |worker| {
                worker.outstanding -= 1;
                worker.service_us = worker.service_us.saturating_sub(granted.job.stands_us());
                worker.prefetch = prefetch.unwrap_or(worker.prefetch);
                worker.chunks -= u32::from(granted.job.is_chunk());
                worker.asked = worker.asked.saturating_sub(1);
                ran.into_iter().for_each(|ran| worker.pace.take(ran));
            });
        }
        if is_here && ran.is_some() {
            self.judge(granted.worker);
        }
        let worker = self.classes.worker(granted.worker).filter(|_| is_here);
        let is_well = worker.is_some_and(|worker| worker.pace.is_well());
        let mut grants = if is_well { self.fill(granted.worker) } else { Vec::new() };
        // The method may have been at its limit, with room elsewhere. One that is set aside leaves it to that.
        grants.extend(self.fill_method(granted.job.method));
        if is_here && !is_well {
            grants.extend(self.fill(granted.worker));
        }
        self.ask(granted.class);
        self.ask_for(granted.job.method);
        grants
    }

    /// At most so many jobs of a method are at workers at once, over all of them.
    pub fn limit(&mut self, method: MethodId, limit: Option<u32>) -> Vec<Grant> {
        let known = self.methods.entry(method).or_insert_with(Method::new);
        let was_open = known.is_open();
        if known.set_limit(limit) {
            for class in &known.classes {
                let class = self.classes.get_mut(*class).expect("a method's classes are there");
                class.set_limited(method, known);
            }
        }
        self.show_limit(method, was_open);
        let grants = self.fill_method(method);
        self.ask_for(method);
        grants
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Waiting jobs that this worker could run, were there room: those of methods at their limit it could not.
    pub fn backlog(&self, worker: WorkerId) -> usize {
        let class = self.classes.worker(worker).and_then(|worker| self.classes.get(worker.class));
        class.map_or(0, |class| class.backlog.iter().sum())
    }

    /// How long a job of this method is expected to run, once one has.
    pub fn service_us(&self, method: MethodId) -> Option<u64> {
        self.methods.get(&method)?.costs.service_us()
    }

    /// Tenants' accounts that are kept, for tests.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.classes.remembered()
    }

    /// A place for a job that has just come, if there is one now.
    fn grant_new(&mut self, job: &Job) -> Option<Grant> {
        let worker = self.best_worker(job.method, job.not_at)?;
        let arrived = self.arrived(job);
        let job = self.new_job();
        self.grant(job, arrived, worker, false);
        Some(Grant { job, worker })
    }

    fn arrived(&mut self, job: &Job) -> Waiting {
        let &Job { method, lane, tenant, items, .. } = job;
        let (known, size) = (self.methods.entry(method).or_insert_with(Method::new), Size::of(job));
        let service_us = known.costs.service_us_of(size).unwrap_or(0).saturating_mul(items.into());
        Waiting { method, lane, tenant, items, size, service_us }
    }

    fn new_job(&mut self) -> JobId {
        self.next_job += 1;
        JobId(self.next_job)
    }

    /// The worker with the most free slots of all, or of all but one, that may take a job of this method now; one that is
    /// set aside only if no other has a free slot. Whoever has room has it because nothing waits that it could run, so
    /// nobody is overtaken.
    fn best_worker(&self, method: MethodId, not_at: Option<WorkerId>) -> Option<WorkerId> {
        let method = self.methods.get(&method).filter(|method| method.is_open())?;
        let best = method.classes.iter().filter_map(|class| self.classes.get(*class)?.best(not_at)).min();
        best.map(|(_, _, worker)| worker)
    }

    /// Gives a worker what goes next, as long as it has room.
    fn fill(&mut self, worker: WorkerId) -> Vec<Grant> {
        let mut grants = Vec::new();
        while let Some(next) = self.next_for(worker) {
            grants.push(self.take(next, worker));
        }
        grants
    }

    /// Gives the jobs of one method to workers with room, as far as its limit allows.
    fn fill_method(&mut self, method: MethodId) -> Vec<Grant> {
        let mut grants = Vec::new();
        while self.methods.get(&method).is_some_and(Method::is_waited_for) {
            let Some(worker) = self.best_worker(method, None) else { break };
            let Some(next) = self.next_for(worker) else { break };
            grants.push(self.take(next, worker));
        }
        grants
    }

    fn next_for(&self, worker: WorkerId) -> Option<Next> {
        let worker = self.classes.worker(worker).filter(|worker| worker.has_room())?;
        self.classes.get(worker.class)?.next()
    }

    /// A job that waits goes to a worker.
    fn take(&mut self, next: Next, worker: WorkerId) -> Grant {
        let Next { job, contended } = next;
        let waiting = *self.waiting.get(&job).expect("what goes next, waits");
        // First the account, then the queue: who has something at work keeps what it is owed.
        self.grant(job, waiting, worker, contended);
        self.unwait(job);
        Grant { job, worker }
    }

    fn grant(&mut self, id: JobId, job: Waiting, worker: WorkerId, contended: bool) {
        let method = self.methods.get_mut(&job.method).expect("a job's method is known");
        let (was_open, charged_us) = (method.is_open(), method.costs.charge_us(job.size, job.items));
        method.granted += 1;
        let tries = method.costs.tries(job.size, job.lane);
        (tries.here, tries.refused) = (tries.here + 1, 0);
        self.show_limit(job.method, was_open);
        self.classes.change(worker, |worker| {
            worker.outstanding += 1;
            worker.service_us = worker.service_us.saturating_add(job.stands_us());
            worker.chunks += u32::from(job.is_chunk());
        });
        let state = self.classes.worker(worker).expect("who has room is there");
        let granted = Granted { job, worker, visit: state.visit, class: state.class, charged_us, contended };
        let class = self.classes.get_mut(granted.class).expect("a worker's class is there");
        if contended {
            class.share.count(job.lane, charged_us);
        } else if job.lane == Lane::Calls {
            class.share.lapse();
        }
        class.lane_mut(job.lane).fair.start(job.tenant, charged_us);
        self.granted.insert(id, granted);
    }

    /// Learns from a finished job, and corrects what it was charged. Answers what it says of its worker.
    fn settle(&mut self, granted: &Granted, spent: Option<Spent>) -> Option<Ran> {
        let Granted { job, class, charged_us, contended, .. } = *granted;
        let method = self.methods.get_mut(&job.method).expect("a job's method is known");
        let ran = spent.and_then(|spent| {
            if method.costs.learn(job.size, spent) {
                method.costs.tries(job.size, job.lane).refused = forecast::REFUSED_IN_A_ROW;
            }
            method.worked(estimate::run_of(spent));
            let item_us = estimate::run_of(spent) / u64::from(spent.items.max(1));
            spent.done.then(|| method.usual[job.lane as usize].ran(item_us))
        });
        let Some(class) = self.classes.get_mut(class) else { return ran };
        class.worked(spent.map_or(0, estimate::run_of));
        let more_us = spent.map_or(0, estimate::cpu_of) - charged_us;
        if contended {
            class.share.count(job.lane, more_us);
        }
        class.lane_mut(job.lane).fair.finish(job.tenant, more_us);
        ran
    }

    fn release(&mut self, job: Waiting) {
        let method = self.methods.get_mut(&job.method).expect("a job's method is known");
        let was_open = method.is_open();
        method.granted -= 1;
        method.costs.tries(job.size, job.lane).here -= 1;
        self.show_limit(job.method, was_open);
    }

    /// Tells the classes that a method has come to its limit, or is below it again.
    fn show_limit(&mut self, id: MethodId, was_open: bool) {
        let method = self.methods.get(&id).expect("called for a known method");
        if method.is_open() == was_open {
            return;
        }
        for class in &method.classes {
            let class = self.classes.get_mut(*class).expect("a method's classes are there");
            class.set_open(id, method.is_open(), method.waiting);
        }
    }

    fn wait(&mut self, id: JobId, job: Waiting) {
        let Waiting { lane, tenant, service_us, .. } = job;
        let method = self.methods.get_mut(&job.method).expect("a job's method is known");
        method.costs.tries(job.size, lane).here += 1;
        let first = method.push(lane, tenant, id, service_us);
        for class in &method.classes {
            let class = self.classes.get_mut(*class).expect("a method's classes are there");
            class.backlog[lane as usize] += usize::from(method.is_open());
            if method.limit.is_none() {
                class.lane_mut(lane).work.add(tenant, service_us);
            }
            if first {
                class.lane_mut(lane).fair.set_first(job.method, tenant, None, Some(id));
            }
        }
        self.waiting.insert(id, job);
    }

    fn unwait(&mut self, id: JobId) -> Option<Waiting> {
        let job = self.waiting.remove(&id)?;
        let Waiting { lane, tenant, service_us, .. } = job;
        let method = self.methods.get_mut(&job.method).expect("a job's method is known");
        method.costs.tries(job.size, lane).here -= 1;
        let first = method.remove(lane, tenant, id, service_us);
        for class in &method.classes {
            let class = self.classes.get_mut(*class).expect("a method's classes are there");
            class.backlog[lane as usize] -= usize::from(method.is_open());
            if method.limit.is_none() {
                class.lane_mut(lane).work.remove(tenant, service_us);
            }
            if let Some(first) = first {
                class.lane_mut(lane).fair.set_first(job.method, tenant, Some(id), first);
            }
        }
        Some(job)
    }

    /// Shows a new class what waits for its methods. Costs a step for each tenant that waits for one of them.
    fn open_class(&mut self, id: ClassId) {
        let class = self.classes.get_mut(id).expect("it has just been made");
        for method in class.methods.clone() {
            let known = self.methods.entry(method).or_insert_with(Method::new);
            known.classes.push(id);
            class.add_method(method, known);
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
