//! Whole meshes by chance: tenants, workers that come, die and change, limits, cancels, deadlines. After every step the
//! scheduler's promises are checked against books that know nothing of how it decides; at the end everything drains.
//!
//! In fair worlds a job's cost is its method's, methods have no limits and nothing is lost: there the shares of tenants
//! and lanes are checked to the job. In wild worlds anything goes, and some workers are slow. In all of them any worker is
//! set aside at any time, which must change neither.
//!
//! The seeds are always the same. But a seed stands for a world only as long as worlds are drawn as they were, so what a
//! world has shown is shrunk to a test of its own. So far that is one: a worker that leaves takes with it what it was
//! asked for, `who_is_left_is_asked_instead_of_one_that_has_gone` in `tests/chunks.rs`.

mod books;
mod dice;
mod shares;

use std::collections::BTreeSet;

use super::{Job, JobId, Lane, Limits, MethodId, Scheduler, Spent, Submitted, TenantId, WorkerId};
use books::{Books, METHODS};
use dice::Dice;
use shares::Shares;

const STEPS: usize = 2_000;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Fair,
    Wild,
}

struct World {
    kind: Kind,
    dice: Dice,
    scheduler: Scheduler,
    books: Books,
    shares: Shares,
    /// What a job of each method costs.
    costs: [u64; METHODS],
    tenants: u64,
    next_worker: u64,
    slow: BTreeSet<WorkerId>,
    now_us: u64,
    /// How often a worker was set aside for nothing.
    accused: usize,
}

/// How many times as slow they are.
const SLOW: u64 = 200;

impl World {
    fn new(kind: Kind, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let batch_share = [0.0, 0.1, 0.25, 0.5, 0.9][dice.below(5) as usize];
        let limits = Limits { waiting: 20 + dice.below(180) as usize, batch_share };
        let costs = std::array::from_fn(|_| 10u64.pow(dice.below(5) as u32) * (1 + dice.below(9)));
        let mut world = Self {
            kind,
            scheduler: Scheduler::new(limits),
            books: Books::new(limits.waiting),
            shares: Shares::new(batch_share, costs),
            costs,
            tenants: 2 + dice.below(4),
            next_worker: 0,
            slow: BTreeSet::new(),
            now_us: 0,
            accused: 0,
            dice,
        };
        world.teach();
        world
    }

    /// One finished job of each method, so that fair worlds charge the right price from the start.
    fn teach(&mut self) {
        let methods: Vec<MethodId> = (0..METHODS as u32).map(MethodId).collect();
        let worker = self.join(1, methods.clone());
        for method in methods {
            self.submit(Job::call(method));
            self.finish(0);
        }
        self.leave(worker, false);
    }

    fn step(&mut self, filling: bool) {
        let submits = if filling { 60 } else { 30 };
        match self.dice.below(100) {
            roll if roll < submits => {
                let job = self.job();
                self.submit(job);
            }
            roll if roll < 88 => {
                let which = self.dice.below(64) as usize;
                self.finish(which);
            }
            88..=90 => self.cancel(),
            91 if self.dice.below(2) == 0 => self.accuse(),
            91 => self.pass_time(),
            92 | 93 => self.join_some(),
            94 => {
                let worker = self.some_worker();
                let dies = self.kind == Kind::Wild && self.dice.below(2) == 0;
                worker.into_iter().for_each(|worker| self.leave(worker, dies));
            }
            95..=97 => self.resize(),
            _ if self.kind == Kind::Wild => self.limit(),
            _ => {}
        }
        self.books.check(&self.scheduler);
        if self.kind == Kind::Fair {
            self.shares.check(&self.books);
        }
    }

    /// Tenant 0 likes the dear methods, the last one the cheap ones; half of the world's jobs are calls.
    fn job(&mut self) -> Job {
        let tenant = self.dice.below(self.tenants) as u32;
        let lane = if self.dice.below(2) == 0 { Lane::Calls } else { Lane::Batch };
        let method = MethodId(self.dice.below(METHODS as u64) as u32);
        let left_us = match self.dice.below(12) {
            0 => Some(self.dice.below(100_000)),
            1 => Some(0),
            _ => None,
        };
        let is_chunk = self.kind == Kind::Wild && lane == Lane::Batch && self.dice.below(2) == 0;
        let items = if is_chunk { 1 + self.dice.below(20) as u32 } else { 1 };
        let is_second = self.kind == Kind::Wild && self.dice.below(6) == 0;
        let not_at = if is_second { self.some_worker() } else { None };
        let order = self.dice.below(24);
        let bytes = self.dice.below(1 << order);
        Job { method, lane, tenant: TenantId(tenant), left_us, items, bytes, not_at }
    }

    fn submit(&mut self, job: Job) {
        let known = self.scheduler.service_us(job.method);
        let submitted = match self.dice.below(4) {
            0 => self.submit_now(&job),
            _ => self.scheduler.submit(job),
        };
        self.books.submitted(&job, submitted, known);
        if let Submitted::Granted(grant) = submitted {
            self.shares.granted(&self.books.jobs[&grant.job]);
        }
        self.asked();
    }

    /// Whoever would have a place has it also without waiting; whoever has not has left no trace.
    fn submit_now(&mut self, job: &Job) -> Submitted {
        let waiting = self.scheduler.waiting();
        match self.scheduler.submit_now(job) {
            Some(grant) => Submitted::Granted(grant),
            None => {
                assert_eq!(self.scheduler.waiting(), waiting);
                let submitted = self.scheduler.submit(*job);
                let may_be_granted = job.left_us.is_some();
                assert!(may_be_granted || !matches!(submitted, Submitted::Granted(_)), "a place was missed");
                submitted
            }
        }
    }

    /// One that is granted, if any is.
    fn finish(&mut self, which: usize) {
        let Some(id) = self.books.some_granted(which) else { return };
        let spent = (self.kind == Kind::Fair || self.dice.below(10) > 0).then(|| self.spent(id));
        let prefetch = (self.dice.below(6) == 0).then(|| self.dice.below(4) as u32);
        self.books.finished(id, prefetch);
        let grants = self.scheduler.finish(id, spent, prefetch);
        self.granted(&grants);
        assert_eq!(self.scheduler.finish(id, spent, Some(100)), [], "finished twice");
    }

    fn spent(&mut self, job: JobId) -> Spent {
        let job = &self.books.jobs[&job];
        let (usual, items) = (self.costs[job.method.0 as usize], job.items);
        let is_slow = job.worker().is_some_and(|worker| self.slow.contains(&worker));
        let cost = if self.kind == Kind::Fair { usual } else { self.dice.below(2 * usual) };
        let cost = if is_slow { SLOW * cost } else { cost };
        let done = self.kind == Kind::Fair || self.dice.below(10) > 0;
        Spent { run_us: cost, cpu_us: cost, items, done }
    }

    fn granted(&mut self, grants: &[super::Grant]) {
        for (worker, standing) in self.scheduler.take_verdicts() {
            self.books.stands(worker, standing);
        }
        for grant in grants {
            self.books.granted(*grant);
            self.shares.granted(&self.books.jobs[&grant.job]);
        }
        self.asked();
    }

    fn asked(&mut self) {
        for worker in self.scheduler.take_asked() {
            self.books.asked(worker);
        }
    }

    fn cancel(&mut self) {
        let which = self.dice.below(1000) as usize;
        let Some(id) = self.books.some_waiting(which) else { return };
        assert!(self.scheduler.cancel(id));
        assert!(!self.scheduler.cancel(id));
        self.books.cancelled(id);
    }

    fn join_some(&mut self) {
        if self.books.workers.len() >= 6 {
            return;
        }
        let (slots, kind) = (self.dice.below(4) as u32, self.dice.below(4));
        // Apart, overlapping, and everything.
        let methods = (0..METHODS as u32).map(MethodId).filter(|method| match kind {
            0 => method.0 < 2,
            1 => method.0 >= 2,
            2 => method.0.is_multiple_of(2),
            _ => true,
        });
        let methods = methods.collect();
        self.join(slots, methods);
    }

    fn join(&mut self, slots: u32, methods: Vec<MethodId>) -> WorkerId {
        // Now and then one comes back under the name that it had.
        self.next_worker += u64::from(self.next_worker == 0 || self.dice.below(3) > 0);
        let worker = WorkerId(self.next_worker);
        self.left(worker);
        self.slow.remove(&worker);
        if self.kind == Kind::Wild && self.dice.below(4) == 0 {
            self.slow.insert(worker);
        }
        self.books.joined(worker, slots, methods.clone());
        let grants = self.scheduler.join(worker, slots, methods);
        self.granted(&grants);
        worker
    }

    fn left(&mut self, worker: WorkerId) {
        let gone = self.books.left(worker);
        gone.into_iter().for_each(|class| self.shares.forget(&class));
    }

    /// With what it has; or it finishes that in peace.
    fn leave(&mut self, worker: WorkerId, dies: bool) {
        self.scheduler.leave(worker);
        self.left(worker);
        self.asked();
        if !dies {
            return;
        }
        for id in self.books.at(worker) {
            let lost = self.books.jobs[&id].clone();
            self.books.finished(id, None);
            let grants = self.scheduler.finish(id, None, None);
            self.granted(&grants);
            if lost.method.0.is_multiple_of(2) {
                // It may be repeated.
                let (lane, tenant, items) = (lost.lane, lost.tenant, lost.items);
                self.submit(Job { lane, tenant, items, ..Job::call(lost.method) });
            }
        }
    }

    fn some_worker(&mut self) -> Option<WorkerId> {
        let which = self.dice.below(self.books.workers.len().max(1) as u64) as usize;
        self.books.workers.keys().nth(which).copied()
    }

    fn resize(&mut self) {
        let (worker, slots) = (self.some_worker(), self.dice.below(5) as u32);
        if let Some(worker) = worker {
            self.books.resized(worker, slots);
            let grants = self.scheduler.resize(worker, slots);
            self.granted(&grants);
        }
    }

    /// A verdict that is wrong, or not.
    fn accuse(&mut self) {
        if let Some(worker) = self.some_worker()
            && self.books.is_well(worker)
        {
            self.scheduler.set_aside(worker, 5);
            self.accused += 1;
            self.granted(&[]);
        }
    }

    fn pass_time(&mut self) {
        self.now_us += self.dice.below(20_000_000);
        let grants = self.scheduler.tell_time(self.now_us);
        self.granted(&grants);
    }

    fn limit(&mut self) {
        let method = MethodId(self.dice.below(METHODS as u64) as u32);
        let limit = (self.dice.below(3) > 0).then(|| self.dice.below(4) as u32);
        self.books.limits.insert(method, limit);
        let grants = self.scheduler.limit(method, limit);
        self.granted(&grants);
    }

    /// Nothing comes any more, somebody serves everything, nothing is limited: everything ends.
    fn drain(&mut self) {
        for method in (0..METHODS as u32).map(MethodId) {
            self.books.limits.insert(method, None);
            let grants = self.scheduler.limit(method, None);
            self.granted(&grants);
        }
        self.next_worker += 1;
        self.join(2, (0..METHODS as u32).map(MethodId).collect());
        while !self.books.jobs.is_empty() {
            assert!(self.books.some_granted(0).is_some(), "jobs wait, and none is at a worker");
            self.finish(7);
            self.books.check(&self.scheduler);
        }
        assert_eq!(self.scheduler.waiting(), 0);
        assert_eq!(self.books.begun, self.books.ended, "a job was lost");
    }
}

fn live(kind: Kind, seeds: std::ops::Range<u64>) {
    let (mut judged, mut accused) = (0, 0);
    for seed in seeds {
        let lived = std::panic::catch_unwind(|| {
            let mut world = World::new(kind, seed);
            for step in 0..STEPS {
                world.step(step / 200 % 3 != 2);
            }
            world.drain();
            (world.books.set_aside - world.accused, world.accused)
        });
        let Ok((slow, for_nothing)) = lived else { panic!("in the world of seed {seed}") };
        (judged, accused) = (judged + slow, accused + for_nothing);
    }
    assert_eq!(judged > 0, kind == Kind::Wild, "{judged} workers were found to be slow");
    assert!(accused > 0, "nobody was set aside for nothing");
}

#[test]
fn fair_worlds() {
    live(Kind::Fair, 0..130);
}

#[test]
fn more_fair_worlds() {
    live(Kind::Fair, 130..260);
}

#[test]
fn wild_worlds() {
    live(Kind::Wild, 0..130);
}

#[test]
fn more_wild_worlds() {
    live(Kind::Wild, 130..260);
}
