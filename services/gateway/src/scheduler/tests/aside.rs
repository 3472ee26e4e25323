//! Workers that are much slower than the others of their kind.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    Grant, Job, JobId, OTHER, RESIZE, Scheduler, Spent, Standing, Submitted, WORKER, WorkerId, batch, call,
    granted, jobs, not_at, scheduler, took, waiting,
};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000_000;

/// Two workers of a slot each.
fn two_workers() -> Scheduler {
    let mut scheduler = scheduler(1_000);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    scheduler.join(OTHER, 1, vec![RESIZE]);
    scheduler
}

/// A call at either of two workers that are free takes so long.
fn at_both(scheduler: &mut Scheduler, worker_us: u64, other_us: u64) {
    for Grant { job, worker } in [(); 2].map(|()| granted(scheduler.submit(call(RESIZE)))) {
        scheduler.finish(job, took(if worker == WORKER { worker_us } else { other_us }), None);
    }
}

/// [`WORKER`] is twenty times as slow as [`OTHER`], and set aside. Answers how slow it is said to be.
fn slow_one() -> (Scheduler, u32) {
    let mut scheduler = two_workers();
    let times = until_aside(&mut scheduler);
    (scheduler, times)
}

fn until_aside(scheduler: &mut Scheduler) -> u32 {
    for _ in 0..64 {
        at_both(scheduler, SECOND, 50 * MS);
        match scheduler.take_verdicts().as_slice() {
            [] => {}
            [(WORKER, Standing::Aside { times })] => return *times,
            other => panic!("{other:?}"),
        }
    }
    panic!("it was not set aside")
}

#[test]
fn a_slow_worker_gets_what_no_other_has_a_free_slot_for() {
    let (mut scheduler, times) = slow_one();
    assert!((15..=20).contains(&times), "{times} times as slow");
    let first = granted(scheduler.submit(call(RESIZE)));
    let second = granted(scheduler.submit(call(RESIZE)));
    assert_eq!((first.worker, second.worker), (OTHER, WORKER));
    scheduler.finish(first.job, took(50 * MS), None);
    assert_eq!(granted(scheduler.submit(call(RESIZE))).worker, OTHER);
    let next = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.finish(second.job, took(SECOND), None), [Grant { job: next, worker: WORKER }]);
}

#[test]
fn nothing_stands_at_another_worker_while_it_has_a_free_slot_and_nothing_at_it() {
    let (mut scheduler, _) = slow_one();
    let running = granted(scheduler.submit(call(RESIZE))).job;
    scheduler.finish(running, took(50 * MS), Some(1));
    let mut worker = || granted(scheduler.submit(call(RESIZE))).worker;
    assert_eq!([worker(), worker(), worker()], [OTHER, WORKER, OTHER]);
    let next = waiting(scheduler.submit(call(RESIZE)));
    // Its own prefetch is for later.
    let held = scheduler.granted.iter().find(|(_, granted)| granted.worker == WORKER).map(|(job, _)| *job);
    assert_eq!(jobs(&scheduler.finish(held.unwrap(), took(SECOND), Some(1))), [next]);
    let held = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.tell_time(5 * SECOND), [Grant { job: held, worker: WORKER }]);
}

/// Of a method that may run once at a time: its end is what makes it wait for a slot again.
#[test]
fn it_does_not_keep_to_itself_what_another_has_a_free_slot_for() {
    let (mut scheduler, _) = slow_one();
    let [one, two] = [(); 2].map(|()| granted(scheduler.submit(call(RESIZE))));
    assert_eq!(two.worker, WORKER);
    scheduler.limit(RESIZE, Some(1));
    scheduler.finish(one.job, took(50 * MS), None);
    let job = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.finish(two.job, took(SECOND), None), [Grant { job, worker: OTHER }]);
}

#[test]
fn a_second_attempt_goes_there_if_only_the_first_ones_worker_has_another_slot() {
    let (mut scheduler, _) = slow_one();
    assert_eq!(granted(scheduler.submit(not_at(OTHER, RESIZE))).worker, WORKER);
    assert_eq!(granted(scheduler.submit(not_at(WORKER, RESIZE))).worker, OTHER);
}

#[test]
fn it_comes_back_when_its_time_is_over() {
    let (mut scheduler, _) = slow_one();
    scheduler.tell_time(5 * SECOND - 1);
    assert_eq!(scheduler.take_verdicts(), []);
    scheduler.tell_time(5 * SECOND);
    assert_eq!(scheduler.take_verdicts(), [(WORKER, Standing::Well)]);
    assert_eq!(granted(scheduler.submit(call(RESIZE))).worker, WORKER);
}

#[test]
fn it_is_aside_for_longer_if_it_is_as_slow_as_before() {
    let (mut scheduler, _) = slow_one();
    let mut now = 0;
    for seconds in [5, 10, 20, 40, 60, 60] {
        scheduler.tell_time(now + seconds * SECOND - 1);
        assert_eq!(scheduler.take_verdicts(), []);
        now += seconds * SECOND;
        scheduler.tell_time(now);
        assert_eq!(scheduler.take_verdicts(), [(WORKER, Standing::Well)]);
        until_aside(&mut scheduler);
    }
    scheduler.tell_time(now + 60 * SECOND);
    // It has been well for a minute: that is forgotten.
    now += 120 * SECOND;
    scheduler.tell_time(now);
    scheduler.take_verdicts();
    until_aside(&mut scheduler);
    scheduler.tell_time(now + 5 * SECOND);
    assert_eq!(scheduler.take_verdicts(), [(WORKER, Standing::Well)]);
}

/// What it does while it is aside tells.
#[test]
fn who_has_been_slow_meanwhile_is_set_aside_again_soon() {
    let (mut scheduler, _) = slow_one();
    for _ in 0..20 {
        at_both(&mut scheduler, SECOND, 50 * MS);
    }
    assert_eq!(scheduler.take_verdicts(), []);
    scheduler.tell_time(5 * SECOND);
    for _ in 0..4 {
        at_both(&mut scheduler, SECOND, 50 * MS);
    }
    let verdicts = scheduler.take_verdicts();
    assert!(matches!(verdicts[..], [(WORKER, Standing::Well), (WORKER, Standing::Aside { .. })]));
}

#[test]
fn who_leaves_while_it_is_aside_comes_back_as_any_other() {
    let (mut scheduler, _) = slow_one();
    scheduler.leave(WORKER);
    scheduler.tell_time(5 * SECOND);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    assert_eq!(scheduler.take_verdicts(), []);
    assert_eq!(granted(scheduler.submit(call(RESIZE))).worker, WORKER);
}

#[test]
fn nobody_is_slow_with_brief_jobs() {
    let mut scheduler = two_workers();
    for _ in 0..200 {
        // A hundred times the other, and still nothing that a caller would notice.
        at_both(&mut scheduler, 10 * MS, 100);
    }
    assert_eq!(scheduler.take_verdicts(), []);
}

/// One has had no job since.
#[test]
fn inputs_that_become_smaller_accuse_nobody() {
    let mut scheduler = two_workers();
    for _ in 0..31 {
        at_both(&mut scheduler, SECOND, SECOND);
    }
    let held = granted(scheduler.submit(call(RESIZE)));
    assert_eq!(held.worker, WORKER);
    for _ in 0..400 {
        let job = granted(scheduler.submit(call(RESIZE))).job;
        scheduler.finish(job, took(5 * MS), None);
    }
    scheduler.finish(held.job, took(5 * MS), None);
    assert_eq!(scheduler.take_verdicts(), []);
}

/// One fails at once, and has nobody set aside for that; nor is it an example.
#[test]
fn who_fails_accuses_nobody() {
    let mut scheduler = two_workers();
    for _ in 0..64 {
        for Grant { job, worker } in [(); 2].map(|()| granted(scheduler.submit(call(RESIZE)))) {
            let (us, done) = if worker == WORKER { (SECOND, true) } else { (MS, false) };
            scheduler.finish(job, Some(Spent { run_us: us, cpu_us: us, items: 1, done }), None);
        }
    }
    assert_eq!(scheduler.take_verdicts(), []);
}

/// Four workers that always have work, the first of them so many times as slow. What a job takes is drawn.
fn four_at_work(jobs: usize, times: u64, draw: fn(u64) -> u64) -> Vec<(WorkerId, Standing)> {
    let mut scheduler = scheduler(10);
    for worker in 0..4 {
        scheduler.join(WorkerId(worker), 1, vec![RESIZE]);
    }
    let mut chance = 1_u64;
    let mut begin = |now: u64, Grant { job, worker }: Grant| {
        // The generator of Knuth's MMIX, by its upper bits.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let us = draw(chance >> 33) * if worker == WorkerId(0) { times } else { 1 };
        (now + us, worker, job, us)
    };
    let mut running = BTreeSet::new();
    for _ in 0..4 {
        running.insert(begin(0, granted(scheduler.submit(call(RESIZE)))));
    }
    for _ in 0..jobs {
        let (now, _, job, us) = running.pop_first().expect("all have work");
        waiting(scheduler.submit(call(RESIZE)));
        let grants = scheduler.finish(job, took(us), None);
        running.extend(grants.into_iter().map(|grant| begin(now, grant)));
    }
    scheduler.take_verdicts()
}

#[test]
fn inputs_by_chance_accuse_nobody_and_hide_nobody() {
    let short_or_long = |chance: u64| if chance.is_multiple_of(2) { 2 * MS } else { SECOND };
    let wide = |chance: u64| MS << (chance % 12);
    for draw in [short_or_long as fn(u64) -> u64, wide] {
        assert_eq!(four_at_work(20_000, 1, draw), []);
        let verdicts = four_at_work(4_000, 20, draw);
        assert!(matches!(verdicts[..], [(WorkerId(0), Standing::Aside { .. })]), "{verdicts:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Submit(bool),
    Finish(usize),
    Accuse(u64),
    Time(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(Step::Submit),
        6 => any::<usize>().prop_map(Step::Finish),
        2 => (0..4u64).prop_map(Step::Accuse),
        1 => (0..20 * SECOND).prop_map(Step::Time),
    ]
}

/// A scheduler, and what is at its workers.
struct Mesh {
    scheduler: Scheduler,
    running: BTreeSet<JobId>,
}

impl Mesh {
    fn new(slots: [u32; 4]) -> Self {
        let mut scheduler = scheduler(30);
        for (worker, slots) in (0..).zip(slots) {
            scheduler.join(WorkerId(worker), slots, vec![RESIZE]);
        }
        Self { scheduler, running: BTreeSet::new() }
    }

    fn submit(&mut self, job: Job) {
        if let Submitted::Granted(grant) = self.scheduler.submit(job) {
            self.running.insert(grant.job);
        }
    }

    fn finish(&mut self, which: usize) {
        let Some(job) = self.running.iter().nth(which % self.running.len().max(1)).copied() else { return };
        self.running.remove(&job);
        let grants = self.scheduler.finish(job, took(MS), None);
        self.running.extend(jobs(&grants));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// At every moment the same jobs run as if nobody had been set aside: elsewhere, but not later.
    #[test]
    fn a_wrong_verdict_costs_no_throughput(
        slots in prop::array::uniform4(0..3u32),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let [mut plain, mut accused] = [(); 2].map(|()| Mesh::new(slots));
        let mut now = 0;
        for step in steps {
            match step {
                Step::Submit(is_batch) => {
                    let job = if is_batch { batch(RESIZE) } else { call(RESIZE) };
                    for mesh in [&mut plain, &mut accused] {
                        mesh.submit(job);
                    }
                }
                Step::Finish(which) => {
                    for mesh in [&mut plain, &mut accused] {
                        mesh.finish(which);
                    }
                }
                Step::Accuse(worker) => {
                    let worker = WorkerId(worker);
                    if accused.scheduler.classes.worker(worker).is_some_and(|worker| worker.pace.is_well()) {
                        accused.scheduler.set_aside(worker, 5);
                    }
                }
                Step::Time(us) => {
                    now += us;
                    prop_assert!(accused.scheduler.tell_time(now).is_empty());
                }
            }
            prop_assert_eq!(&plain.running, &accused.running);
            prop_assert_eq!(plain.scheduler.waiting(), accused.scheduler.waiting());
        }
    }
}
