//! Random walks beside a scheduler that is slow and plainly right: it looks at every job for every decision.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::scheduler::{
    Grant, Job, JobId, Lane, Limits, MethodId, Scheduler, Spent, Submitted, TenantId, WorkerId,
};

#[derive(Clone, Debug)]
enum Step {
    Submit(u32, bool, u32, Option<u64>),
    Cancel(usize),
    Join(u64, u32, usize),
    Resize(u64, u32),
    Leave(u64),
    Finish(usize, Option<u64>, Option<u32>),
    Limit(u32, Option<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    let cost = prop_oneof![4 => Just(Some(100)), 1 => Just(Some(7_000)), 1 => (0..5_000u64).prop_map(Some), 1 => Just(None)];
    prop_oneof![
        12 => (0..3u32, any::<bool>(), 0..3u32, prop::option::weighted(0.2, 0..4u64))
            .prop_map(|(method, batch, tenant, not_at)| Step::Submit(method, batch, tenant, not_at)),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => (0..4u64, 0..4u32, 0..3usize).prop_map(|(worker, slots, kind)| Step::Join(worker, slots, kind)),
        1 => (0..4u64, 0..4u32).prop_map(|(worker, slots)| Step::Resize(worker, slots)),
        1 => (0..4u64).prop_map(Step::Leave),
        10 => (any::<usize>(), cost, prop::option::weighted(0.2, 0..3u32))
            .prop_map(|(which, cost, prefetch)| Step::Finish(which, cost, prefetch)),
        1 => (0..3u32, prop::option::of(0..3u32)).prop_map(|(method, limit)| Step::Limit(method, limit)),
    ]
}

fn methods(kind: usize) -> Vec<MethodId> {
    let kinds: [&[u32]; 3] = [&[0, 1, 2], &[0, 1], &[2]];
    kinds[kind].iter().copied().map(MethodId).collect()
}

#[derive(Clone, Copy)]
struct Placed {
    job: Job,
    worker: WorkerId,
    visit: u64,
    /// Which of the classes that ever were.
    class: u64,
    charged: i64,
    contended: bool,
}

struct Worker {
    visit: u64,
    slots: u32,
    prefetch: u32,
    outstanding: u32,
    class: u64,
}

#[derive(Default)]
struct Class {
    methods: Vec<MethodId>,
    owed: f64,
    clock: [i64; 2],
    accounts: [BTreeMap<TenantId, i64>; 2],
}

struct Model {
    limits: Limits,
    last: u64,
    waiting: BTreeMap<JobId, Job>,
    placed: BTreeMap<JobId, Placed>,
    workers: BTreeMap<WorkerId, Worker>,
    classes: BTreeMap<u64, Class>,
    limit: BTreeMap<MethodId, u32>,
    cpu: BTreeMap<MethodId, f64>,
    count: u64,
}

impl Model {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            last: 0,
            waiting: BTreeMap::new(),
            placed: BTreeMap::new(),
            workers: BTreeMap::new(),
            classes: BTreeMap::new(),
            limit: BTreeMap::new(),
            cpu: BTreeMap::new(),
            count: 0,
        }
    }

    fn is_open(&self, method: MethodId) -> bool {
        let placed = self.placed.values().filter(|placed| placed.job.method == method).count();
        self.limit.get(&method).is_none_or(|limit| placed < *limit as usize)
    }

    fn best(&self, method: MethodId, not_at: Option<WorkerId>) -> Option<WorkerId> {
        let serves = |worker: &&Worker| self.classes[&worker.class].methods.contains(&method);
        let room = |worker: &&Worker| worker.outstanding < worker.slots + worker.prefetch;
        let workers = self.workers.iter().filter(|(_, worker)| serves(worker) && room(worker));
        let rank = |worker: &Worker| i64::from(worker.outstanding) - i64::from(worker.slots);
        workers
            .filter(|(id, _)| self.is_open(method) && Some(**id) != not_at)
            .map(|(id, worker)| (rank(worker), *id))
            .min()
            .map(|(_, id)| id)
    }

    fn submit(&mut self, job: Job) -> Submitted {
        let best = self.best(job.method, job.not_at);
        if best.is_none() && self.best(job.method, None).is_some() {
            return Submitted::NoOther;
        }
        if best.is_none() && self.waiting.len() >= self.limits.waiting {
            return Submitted::Full { waiting: self.waiting.len() };
        }
        self.last += 1;
        let id = JobId(self.last);
        if let Some(worker) = best {
            self.place(id, job, worker, false);
            return Submitted::Granted(Grant { job: id, worker });
        }
        for class in self.classes.values_mut().filter(|class| class.methods.contains(&job.method)) {
            let here = self.waiting.values().filter(|other| {
                other.lane == job.lane && other.tenant == job.tenant && class.methods.contains(&other.method)
            });
            let limited: BTreeSet<bool> = here.map(|other| self.limit.contains_key(&other.method)).collect();
            if limited.is_empty() || (!self.limit.contains_key(&job.method) && !limited.contains(&false)) {
                class.lift(job);
            }
        }
        self.waiting.insert(id, job);
        Submitted::Waiting(id)
    }

    fn place(&mut self, id: JobId, job: Job, worker: WorkerId, contended: bool) {
        let charged = self.cpu.get(&job.method).map_or(1_000, |cpu| (*cpu as i64).max(1));
        let known = self.workers.get_mut(&worker).unwrap();
        known.outstanding += 1;
        let placed = Placed { job, worker, visit: known.visit, class: known.class, charged, contended };
        let class = self.classes.get_mut(&known.class).unwrap();
        if contended {
            class.count(job.lane, charged, self.limits.batch_share);
        } else if job.lane == Lane::Calls {
            class.owed = class.owed.min(0.0);
        }
        let same = |other: &Job| other.lane == job.lane && other.tenant == job.tenant;
        if !self.waiting.values().any(|other| same(other) && class.methods.contains(&other.method)) {
            class.lift(job);
        }
        let account = class.accounts[job.lane as usize].entry(job.tenant).or_insert(0);
        let clock = &mut class.clock[job.lane as usize];
        *clock = (*clock).max(*account);
        *account += charged;
        self.placed.insert(id, placed);
    }

    /// Where nobody waits or runs, nobody is owed anything.
    fn forget(&mut self) {
        for (id, class) in &mut self.classes {
            for lane in [Lane::Calls, Lane::Batch] {
                let waits = |job: &Job| job.lane == lane && class.methods.contains(&job.method);
                let runs = |placed: &Placed| placed.class == *id && placed.job.lane == lane;
                if !self.waiting.values().any(waits) && !self.placed.values().any(runs) {
                    class.accounts[lane as usize].clear();
                }
            }
        }
    }

    fn next(&self, class: &Class) -> Option<(JobId, bool)> {
        let of = |lane: Lane| {
            let could = |job: &Job| {
                job.lane == lane && class.methods.contains(&job.method) && self.is_open(job.method)
            };
            let account = |job: &Job| class.accounts[lane as usize].get(&job.tenant).copied().unwrap_or(0);
            let could = self.waiting.iter().filter(|(_, job)| could(job));
            could.min_by_key(|(id, job)| (account(job), job.tenant, **id)).map(|(id, _)| *id)
        };
        match (of(Lane::Calls), of(Lane::Batch)) {
            (Some(_), Some(batch)) if class.owed > 0.0 => Some((batch, true)),
            (Some(call), Some(_)) => Some((call, true)),
            (one, other) => one.or(other).map(|job| (job, false)),
        }
    }

    /// Gives the worker what goes next while it has room.
    fn fill(&mut self, id: WorkerId) -> Vec<Grant> {
        let mut grants = Vec::new();
        while let Some(worker) =
            self.workers.get(&id).filter(|worker| worker.outstanding < worker.slots + worker.prefetch)
        {
            let Some((job, contended)) = self.next(&self.classes[&worker.class]) else { break };
            self.place(job, self.waiting[&job], id, contended);
            self.waiting.remove(&job);
            self.forget();
            grants.push(Grant { job, worker: id });
        }
        grants
    }

    fn fill_method(&mut self, method: MethodId) -> Vec<Grant> {
        let mut grants = Vec::new();
        while self.waiting.values().any(|job| job.method == method) {
            let Some(worker) = self.best(method, None) else { break };
            let (job, contended) = self.next(&self.classes[&self.workers[&worker].class]).unwrap();
            self.place(job, self.waiting[&job], worker, contended);
            self.waiting.remove(&job);
            self.forget();
            grants.push(Grant { job, worker });
        }
        grants
    }

    fn join(&mut self, id: WorkerId, slots: u32, methods: Vec<MethodId>) -> Vec<Grant> {
        self.leave(id);
        self.count += 1;
        let known = self.classes.iter().find(|(_, class)| class.methods == methods).map(|(id, _)| *id);
        let class = known.unwrap_or(self.count);
        self.classes.entry(class).or_insert(Class { methods, ..Class::default() });
        self.workers.insert(id, Worker { visit: self.count, slots, prefetch: 0, outstanding: 0, class });
        self.fill(id)
    }

    fn leave(&mut self, id: WorkerId) {
        self.workers.remove(&id);
        self.classes.retain(|id, _| self.workers.values().any(|worker| worker.class == *id));
    }

    fn finish(&mut self, id: JobId, spent: Option<Spent>, prefetch: Option<u32>) -> Vec<Grant> {
        let placed = self.placed.remove(&id).unwrap();
        let (method, lane) = (placed.job.method, placed.job.lane);
        if let Some(spent) = spent {
            let cpu = spent.cpu_us.max(1) as f64;
            let known = self.cpu.entry(method).or_insert(cpu);
            *known += 0.125 * (cpu - *known);
        }
        if let Some(class) = self.classes.get_mut(&placed.class) {
            let more = spent.map_or(0, |spent| spent.cpu_us.max(1) as i64) - placed.charged;
            if placed.contended {
                class.count(lane, more, self.limits.batch_share);
            }
            *class.accounts[lane as usize].get_mut(&placed.job.tenant).unwrap() += more;
        }
        self.forget();
        let mut grants = Vec::new();
        if let Some(worker) =
            self.workers.get_mut(&placed.worker).filter(|worker| worker.visit == placed.visit)
        {
            worker.outstanding -= 1;
            worker.prefetch = prefetch.unwrap_or(worker.prefetch);
            grants = self.fill(placed.worker);
        }
        grants.extend(self.fill_method(method));
        grants
    }
}

impl Class {
    fn lift(&mut self, job: Job) {
        let clock = self.clock[job.lane as usize];
        let account = self.accounts[job.lane as usize].entry(job.tenant).or_insert(clock);
        *account = (*account).max(clock);
    }

    fn count(&mut self, lane: Lane, cpu: i64, share: f64) {
        let part = if lane == Lane::Calls { share } else { share - 1.0 };
        self.owed += part * cpu as f64;
    }
}

struct Both {
    scheduler: Scheduler,
    model: Model,
}

impl Both {
    fn apply(&mut self, step: Step) {
        let Self { scheduler, model } = self;
        match step {
            Step::Submit(method, batch, tenant, not_at) => {
                let lane = if batch { Lane::Batch } else { Lane::Calls };
                let (method, tenant, not_at) = (MethodId(method), TenantId(tenant), not_at.map(WorkerId));
                let job = Job { lane, tenant, not_at, ..Job::call(method) };
                assert_eq!(scheduler.submit(job), model.submit(job));
            }
            Step::Cancel(which) => {
                let job = model.waiting.keys().nth(which % model.waiting.len().max(1)).copied();
                if let Some(job) = job {
                    model.waiting.remove(&job);
                    model.forget();
                    assert!(scheduler.cancel(job));
                }
            }
            Step::Join(worker, slots, kind) => {
                let (worker, methods) = (WorkerId(worker), methods(kind));
                assert_eq!(
                    scheduler.join(worker, slots, methods.clone()),
                    model.join(worker, slots, methods)
                );
            }
            Step::Resize(worker, slots) => {
                let id = WorkerId(worker);
                model.workers.get_mut(&id).into_iter().for_each(|worker| worker.slots = slots);
                assert_eq!(scheduler.resize(id, slots), model.fill(id));
            }
            Step::Leave(worker) => {
                scheduler.leave(WorkerId(worker));
                model.leave(WorkerId(worker));
            }
            Step::Finish(which, cost, prefetch) => {
                let job = model.placed.keys().nth(which % model.placed.len().max(1)).copied();
                if let Some(job) = job {
                    let spent = cost.map(|us| Spent { run_us: us, cpu_us: us, items: 1, done: true });
                    assert_eq!(scheduler.finish(job, spent, prefetch), model.finish(job, spent, prefetch));
                }
            }
            Step::Limit(method, limit) => {
                let method = MethodId(method);
                model.limit.retain(|other, _| *other != method);
                model.limit.extend(limit.map(|limit| (method, limit)));
                assert_eq!(scheduler.limit(method, limit), model.fill_method(method));
            }
        }
        assert_eq!(scheduler.waiting(), model.waiting.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn decides_as_the_plain_one_does(
        share in prop::sample::select(vec![0.0, 0.25, 0.9]),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let limits = Limits { waiting: 20, batch_share: share };
        let mut both = Both { scheduler: Scheduler::new(limits), model: Model::new(limits) };
        for step in steps {
            both.apply(step);
        }
    }
}
