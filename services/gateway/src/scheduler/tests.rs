//! The scheduler's promises, by example and by random walks against a plain model.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::{Grant, JobId, MethodId, Scheduler, Submitted, WorkerId};

const RESIZE: MethodId = MethodId(1);
const CLASSIFY: MethodId = MethodId(2);

fn waiting(submitted: Submitted) -> JobId {
    match submitted {
        Submitted::Waiting(job) => job,
        other => panic!("expected it to wait: {other:?}"),
    }
}

fn granted(submitted: Submitted) -> WorkerId {
    match submitted {
        Submitted::Granted(grant) => grant.worker,
        other => panic!("expected a grant: {other:?}"),
    }
}

#[test]
fn jobs_spread_over_free_slots_before_anybody_gets_a_second() {
    let mut scheduler = Scheduler::new(10);
    scheduler.join(WorkerId(1), 2, vec![RESIZE]);
    scheduler.join(WorkerId(2), 2, vec![RESIZE]);
    let first = granted(scheduler.submit(RESIZE));
    let second = granted(scheduler.submit(RESIZE));
    assert_ne!(first, second);
}

#[test]
fn the_oldest_job_goes_to_the_first_slot_that_comes_free() {
    let mut scheduler = Scheduler::new(10);
    scheduler.join(WorkerId(1), 1, vec![RESIZE, CLASSIFY]);
    granted(scheduler.submit(RESIZE));
    let older = waiting(scheduler.submit(CLASSIFY));
    let younger = waiting(scheduler.submit(RESIZE));
    assert_eq!(scheduler.finish(WorkerId(1), 0), [Grant { job: older, worker: WorkerId(1) }]);
    assert_eq!(scheduler.finish(WorkerId(1), 0), [Grant { job: younger, worker: WorkerId(1) }]);
}

#[test]
fn a_job_goes_only_to_a_worker_that_serves_it() {
    let mut scheduler = Scheduler::new(10);
    scheduler.join(WorkerId(1), 4, vec![RESIZE]);
    let job = waiting(scheduler.submit(CLASSIFY));
    let grants = scheduler.join(WorkerId(2), 1, vec![CLASSIFY]);
    assert_eq!(grants, [Grant { job, worker: WorkerId(2) }]);
}

#[test]
fn a_full_house_refuses_and_a_cancelled_job_makes_room() {
    let mut scheduler = Scheduler::new(1);
    let job = waiting(scheduler.submit(RESIZE));
    assert_eq!(scheduler.submit(RESIZE), Submitted::Full);
    assert!(scheduler.cancel(RESIZE, job));
    assert!(!scheduler.cancel(RESIZE, job));
    waiting(scheduler.submit(RESIZE));
}

#[test]
fn prefetch_lets_a_worker_hold_more_than_its_slots() {
    let mut scheduler = Scheduler::new(10);
    scheduler.join(WorkerId(1), 1, vec![RESIZE]);
    granted(scheduler.submit(RESIZE));
    let (a, b) = (waiting(scheduler.submit(RESIZE)), waiting(scheduler.submit(RESIZE)));
    let jobs: Vec<JobId> = scheduler.finish(WorkerId(1), 1).into_iter().map(|grant| grant.job).collect();
    assert_eq!(jobs, [a, b]);
}

#[test]
fn nothing_is_given_to_a_worker_that_has_left() {
    let mut scheduler = Scheduler::new(10);
    scheduler.join(WorkerId(1), 1, vec![RESIZE]);
    granted(scheduler.submit(RESIZE));
    waiting(scheduler.submit(RESIZE));
    scheduler.leave(WorkerId(1));
    assert_eq!(scheduler.finish(WorkerId(1), 0), []);
    assert_eq!(scheduler.waiting(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Submit(u32),
    Cancel(usize),
    Join(u64, u32, bool),
    Leave(u64),
    Finish(usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u32).prop_map(Step::Submit),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (0..6_u64, 1..4_u32, any::<bool>()).prop_map(|(worker, slots, all)| Step::Join(worker, slots, all)),
        1 => (0..6_u64).prop_map(Step::Leave),
        4 => (any::<usize>(), 0..3_u32).prop_map(|(which, prefetch)| Step::Finish(which, prefetch)),
    ]
}

/// What is true, kept in the plainest way.
#[derive(Default)]
struct Model {
    waiting: HashMap<JobId, MethodId>,
    workers: HashMap<WorkerId, (u32, u32, HashSet<MethodId>)>,
    running: Vec<(JobId, WorkerId)>,
    ever_granted: HashSet<JobId>,
}

impl Model {
    fn grant(&mut self, grant: Grant, method: MethodId) {
        assert!(self.ever_granted.insert(grant.job), "{:?} was given twice", grant.job);
        let (slots, prefetch, methods) = &self.workers[&grant.worker];
        assert!(methods.contains(&method), "a worker was given what it does not serve");
        self.running.push((grant.job, grant.worker));
        let held = self.running.iter().filter(|(_, worker)| *worker == grant.worker).count();
        assert!(held <= (slots + prefetch) as usize, "above the window");
    }

    fn grants(&mut self, grants: Vec<Grant>) {
        for grant in grants {
            let method = self.waiting.remove(&grant.job).expect("only what waits is given");
            let older = self.waiting.iter().find(|(job, other)| **other == method && **job < grant.job);
            assert!(older.is_none(), "an older job of the method was passed over");
            self.grant(grant, method);
        }
    }

    fn no_slot_idles_while_its_work_waits(&self) {
        for (worker, (slots, _, methods)) in &self.workers {
            let held = self.running.iter().filter(|(_, other)| other == worker).count();
            let could = self.waiting.values().any(|method| methods.contains(method));
            assert!(held >= *slots as usize || !could, "{worker:?} idles");
        }
    }
}

fn methods(all: bool) -> Vec<MethodId> {
    if all { (0..3).map(MethodId).collect() } else { vec![MethodId(0)] }
}

fn apply(step: Step, scheduler: &mut Scheduler, model: &mut Model) {
    match step {
        Step::Submit(method) => match scheduler.submit(MethodId(method)) {
            Submitted::Granted(grant) => model.grant(grant, MethodId(method)),
            Submitted::Waiting(job) => drop(model.waiting.insert(job, MethodId(method))),
            Submitted::Full => assert_eq!(model.waiting.len(), 20),
        },
        Step::Cancel(which) => {
            let Some((job, method)) = nth(model.waiting.iter().map(|(job, method)| (*job, *method)), which)
            else {
                return;
            };
            assert!(scheduler.cancel(method, job));
            model.waiting.remove(&job);
        }
        Step::Join(worker, slots, all) => {
            if model.workers.contains_key(&WorkerId(worker)) {
                return;
            }
            model.workers.insert(WorkerId(worker), (slots, 0, methods(all).into_iter().collect()));
            let grants = scheduler.join(WorkerId(worker), slots, methods(all));
            model.grants(grants);
        }
        Step::Leave(worker) => {
            scheduler.leave(WorkerId(worker));
            model.workers.remove(&WorkerId(worker));
            model.running.retain(|(_, other)| other.0 != worker);
        }
        Step::Finish(which, prefetch) => {
            if model.running.is_empty() {
                return;
            }
            let (_, worker) = model.running.swap_remove(which % model.running.len());
            if let Some(state) = model.workers.get_mut(&worker) {
                state.1 = prefetch;
            }
            let grants = scheduler.finish(worker, prefetch);
            model.grants(grants);
        }
    }
}

fn nth<T: Ord>(items: impl Iterator<Item = T>, which: usize) -> Option<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    if items.is_empty() { None } else { Some(items.swap_remove(which % items.len())) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_job_is_lost_or_given_twice_and_no_slot_idles(steps in prop::collection::vec(step(), 1..400)) {
        let (mut scheduler, mut model) = (Scheduler::new(20), Model::default());
        for step in steps {
            apply(step, &mut scheduler, &mut model);
            assert_eq!(scheduler.waiting(), model.waiting.len());
            model.no_slot_idles_while_its_work_waits();
        }
    }
}
