//! Who goes next: tenants by CPU time, lanes by share.

use std::collections::BTreeMap;

use super::{
    CLASSIFY, Job, JobId, Limits, MethodId, RESIZE, Scheduler, Spent, WORKER, batch, by, call, granted, jobs,
    scheduler, took, waiting,
};

const HEAVY: MethodId = RESIZE;
const LIGHT: MethodId = CLASSIFY;

/// One slot works through what waits; answers how often each kind went, in so many turns.
fn turns(
    scheduler: &mut Scheduler,
    waiting: &BTreeMap<JobId, (usize, u64)>,
    mut running: JobId,
    turns: usize,
) -> [usize; 3] {
    let mut went = [0; 3];
    for _ in 0..turns {
        let spent =
            waiting.get(&running).map(|(_, us)| Spent { run_us: *us, cpu_us: *us, items: 1, done: true });
        running = scheduler.finish(running, spent, None)[0].job;
        went[waiting[&running].0] += 1;
    }
    went
}

/// Jobs of each kind wait behind a running one.
fn crowd(scheduler: &mut Scheduler, kinds: &[(Job, u64, usize)]) -> (BTreeMap<JobId, (usize, u64)>, JobId) {
    let running = granted(scheduler.submit(by(9, MethodId(9)))).job;
    let mut crowd = BTreeMap::new();
    for (kind, (job, us, count)) in kinds.iter().enumerate() {
        crowd.extend((0..*count).map(|_| (waiting(scheduler.submit(*job)), (kind, *us))));
    }
    (crowd, running)
}

fn one_slot(batch_share: f64) -> Scheduler {
    let mut scheduler = Scheduler::new(Limits { waiting: 10_000, batch_share });
    scheduler.join(WORKER, 1, vec![HEAVY, LIGHT, MethodId(9)]);
    for (method, us) in [(HEAVY, 1_000), (LIGHT, 10)] {
        super::teach(&mut scheduler, method, 1, us);
    }
    scheduler
}

#[test]
fn tenants_share_cpu_time_not_turns() {
    let mut scheduler = one_slot(0.0);
    let (crowd, running) = crowd(&mut scheduler, &[(by(1, HEAVY), 1_000, 100), (by(2, LIGHT), 10, 2_000)]);
    assert_eq!(turns(&mut scheduler, &crowd, running, 1_010), [10, 1_000, 0]);
}

#[test]
fn a_tenant_that_was_away_has_saved_nothing() {
    let mut scheduler = one_slot(0.0);
    let (mut crowd, running) = crowd(&mut scheduler, &[(by(1, HEAVY), 1_000, 100)]);
    turns(&mut scheduler, &crowd, running, 50);
    let running = crowd.keys().copied().nth(49).unwrap();
    for _ in 0..20 {
        crowd.insert(waiting(scheduler.submit(by(2, HEAVY))), (1, 1_000));
    }
    assert_eq!(turns(&mut scheduler, &crowd, running, 20), [10, 10, 0]);
}

#[test]
fn a_tenant_that_goes_away_for_a_moment_still_owes() {
    let mut scheduler = one_slot(0.0);
    scheduler.resize(WORKER, 2);
    let other = granted(scheduler.submit(by(2, LIGHT))).job;
    let dear = granted(scheduler.submit(by(1, HEAVY))).job;
    let cheap = [(); 30].map(|()| waiting(scheduler.submit(by(2, LIGHT))));
    // It has nothing in hand when it comes again.
    assert_eq!(jobs(&scheduler.finish(dear, took(1_000), None)), cheap[..1]);
    let dear = waiting(scheduler.submit(by(1, HEAVY)));
    let mut running = other;
    for next in &cheap[1..] {
        assert_eq!(jobs(&scheduler.finish(running, took(10), None)), [*next]);
        running = *next;
    }
    assert_eq!(jobs(&scheduler.finish(running, took(10), None)), [dear]);
}

#[test]
fn a_tenant_pays_for_what_a_job_really_took() {
    let mut scheduler = one_slot(0.0);
    let (crowd, running) = crowd(&mut scheduler, &[(by(1, LIGHT), 10, 10), (by(2, LIGHT), 10, 10)]);
    let first = scheduler.finish(running, None, None)[0].job;
    assert_eq!(crowd[&first].0, 0);
    // It takes a hundred times what was expected: the next ones are the other tenant's.
    let second = scheduler.finish(first, took(1_000), None)[0].job;
    assert_eq!(crowd[&second].0, 1);
    assert_eq!(turns(&mut scheduler, &crowd, second, 6), [0, 6, 0]);
}

#[test]
fn a_job_that_was_lost_costs_nothing() {
    let mut scheduler = one_slot(0.0);
    let (crowd, running) = crowd(&mut scheduler, &[(by(1, HEAVY), 1_000, 2), (by(2, HEAVY), 1_000, 2)]);
    let first = scheduler.finish(running, None, None)[0].job;
    let second = scheduler.finish(first, None, None)[0].job;
    assert_eq!([crowd[&first].0, crowd[&second].0], [0, 0]);
}

#[test]
fn the_oldest_of_a_tenants_jobs_goes_first_whatever_its_method() {
    let mut scheduler = one_slot(0.0);
    let kinds = [(by(1, LIGHT), 10, 1), (by(1, HEAVY), 10, 1), (by(1, LIGHT), 10, 1)];
    let (crowd, mut running) = crowd(&mut scheduler, &kinds);
    for job in crowd.keys() {
        running = scheduler.finish(running, took(10), None)[0].job;
        assert_eq!(running, *job);
    }
}

#[test]
fn waiting_for_a_limit_saves_nothing_for_other_methods() {
    let mut scheduler = one_slot(0.0);
    scheduler.limit(LIGHT, Some(0));
    let kinds = [(by(1, HEAVY), 1_000, 100), (by(2, LIGHT), 10, 1)];
    let (mut crowd, running) = crowd(&mut scheduler, &kinds);
    turns(&mut scheduler, &crowd, running, 50);
    let running = crowd.keys().copied().nth(49).unwrap();
    for _ in 0..20 {
        crowd.insert(waiting(scheduler.submit(by(2, HEAVY))), (1, 1_000));
    }
    assert_eq!(turns(&mut scheduler, &crowd, running, 20), [10, 10, 0]);
}

#[test]
fn calls_go_before_batch() {
    let mut scheduler = one_slot(0.0);
    let (crowd, running) = crowd(&mut scheduler, &[(batch(HEAVY), 1_000, 3), (call(HEAVY), 1_000, 3)]);
    assert_eq!(turns(&mut scheduler, &crowd, running, 3), [0, 3, 0]);
}

#[test]
fn batch_has_its_share_of_the_cpu_while_it_waits() {
    let mut scheduler = one_slot(0.25);
    let (crowd, running) = crowd(&mut scheduler, &[(batch(LIGHT), 10, 2_000), (call(HEAVY), 1_000, 100)]);
    // 100 light ones for every three heavy ones: a quarter.
    let [batch, calls, _] = turns(&mut scheduler, &crowd, running, 1_030);
    assert!((29..=31).contains(&calls) && (999..=1_001).contains(&batch), "{batch} batch, {calls} calls");
}

#[test]
fn idle_slots_go_to_batch_and_it_owes_nothing_for_them() {
    let mut scheduler = one_slot(0.5);
    let (mut crowd, running) = crowd(&mut scheduler, &[(batch(HEAVY), 1_000, 100)]);
    turns(&mut scheduler, &crowd, running, 50);
    let running = crowd.keys().copied().nth(49).unwrap();
    for _ in 0..20 {
        crowd.insert(waiting(scheduler.submit(call(HEAVY))), (1, 1_000));
    }
    assert_eq!(turns(&mut scheduler, &crowd, running, 20), [10, 10, 0]);
}

#[test]
fn one_batch_job_at_a_time_is_not_one_for_every_call() {
    let mut scheduler = one_slot(0.1);
    let (_, mut running) = crowd(&mut scheduler, &[(by(1, LIGHT), 10, 4_000)]);
    let (mut at_once, mut batches) = (waiting(scheduler.submit(batch(HEAVY))), 0);
    for _ in 0..2_000 {
        let us = if running == at_once { 1_000 } else { 10 };
        let before = running;
        running = scheduler.finish(running, took(us), None)[0].job;
        if before == at_once {
            batches += 1;
            at_once = waiting(scheduler.submit(batch(HEAVY)));
        }
    }
    // 10 µs calls and 1 ms of batch: 900 calls to a batch job.
    assert!((1..=3).contains(&batches), "{batches}");
}

#[test]
fn tenants_are_forgotten() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 2, vec![RESIZE]);
    let long = granted(scheduler.submit(by(0, RESIZE))).job;
    for tenant in 1..20_000 {
        let job = granted(scheduler.submit(by(tenant, RESIZE))).job;
        assert_eq!(jobs(&scheduler.finish(job, took(10), None)), []);
    }
    assert!(scheduler.remembered() <= 4_098, "{}", scheduler.remembered());
    scheduler.finish(long, took(10), None);
    assert_eq!(scheduler.remembered(), 0);
}
