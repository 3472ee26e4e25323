//! Who gets which place: workers, slots, prefetch, limits.

use super::{
    CLASSIFY, Grant, OTHER, RESIZE, Submitted, WORKER, WorkerId, call, granted, jobs, not_at, scheduler,
    took, waiting,
};

#[test]
fn jobs_spread_over_free_slots_before_anybody_gets_a_second() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 2, vec![RESIZE]);
    scheduler.join(OTHER, 2, vec![RESIZE, CLASSIFY]);
    let first = granted(scheduler.submit(call(RESIZE))).worker;
    let second = granted(scheduler.submit(call(RESIZE))).worker;
    assert_ne!(first, second);
}

#[test]
fn a_second_attempt_goes_to_the_best_of_the_others() {
    const THIRD: WorkerId = WorkerId(3);
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 4, vec![RESIZE]);
    scheduler.join(OTHER, 2, vec![RESIZE]);
    scheduler.join(THIRD, 3, vec![RESIZE, CLASSIFY]);
    assert_eq!(granted(scheduler.submit(call(RESIZE))).worker, WORKER);
    // The first still has as many free slots as any other.
    let mut second = || granted(scheduler.submit(not_at(WORKER, RESIZE))).worker;
    assert_eq!([second(), second(), second()], [THIRD, OTHER, THIRD]);
    assert_eq!(scheduler.submit_now(&not_at(WORKER, RESIZE)).map(|grant| grant.worker), Some(OTHER));
    assert_eq!(granted(scheduler.submit(not_at(OTHER, RESIZE))).worker, WORKER);
}

#[test]
fn a_second_attempt_does_not_wait_while_the_first_ones_worker_has_room() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 2, vec![RESIZE]);
    scheduler.join(OTHER, 1, vec![RESIZE]);
    assert_eq!(granted(scheduler.submit(call(RESIZE))).worker, WORKER);
    let beside = granted(scheduler.submit(not_at(WORKER, RESIZE))).job;
    assert_eq!(scheduler.submit(not_at(WORKER, RESIZE)), Submitted::NoOther);
    assert_eq!(scheduler.submit_now(&not_at(WORKER, RESIZE)), None);
    assert_eq!(scheduler.waiting(), 0);
    // Where nobody has room it waits as any other, and has its turn wherever it comes.
    assert_eq!(granted(scheduler.submit(call(RESIZE))).worker, WORKER);
    let job = waiting(scheduler.submit(not_at(WORKER, RESIZE)));
    assert_eq!(scheduler.finish(beside, None, None), [Grant { job, worker: OTHER }]);
}

#[test]
fn the_oldest_job_goes_to_the_first_slot_that_comes_free() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE, CLASSIFY]);
    let running = granted(scheduler.submit(call(RESIZE))).job;
    let older = waiting(scheduler.submit(call(CLASSIFY)));
    let younger = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.finish(running, None, None), [Grant { job: older, worker: WORKER }]);
    assert_eq!(scheduler.finish(older, None, None), [Grant { job: younger, worker: WORKER }]);
}

#[test]
fn a_job_goes_only_to_a_worker_that_serves_it() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 4, vec![RESIZE]);
    let job = waiting(scheduler.submit(call(CLASSIFY)));
    assert_eq!(scheduler.join(OTHER, 1, vec![CLASSIFY]), [Grant { job, worker: OTHER }]);
}

#[test]
fn a_full_house_refuses_and_a_cancelled_job_makes_room() {
    let mut scheduler = scheduler(1);
    let job = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.submit(call(RESIZE)), Submitted::Full { waiting: 1 });
    assert!(scheduler.cancel(job));
    assert!(!scheduler.cancel(job));
    waiting(scheduler.submit(call(RESIZE)));
}

#[test]
fn what_runs_is_not_cancelled() {
    let mut scheduler = scheduler(1);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let job = granted(scheduler.submit(call(RESIZE))).job;
    assert!(!scheduler.cancel(job));
}

#[test]
fn prefetch_lets_a_worker_hold_more_than_its_slots() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let running = granted(scheduler.submit(call(RESIZE))).job;
    let (a, b) = (waiting(scheduler.submit(call(RESIZE))), waiting(scheduler.submit(call(RESIZE))));
    assert_eq!(jobs(&scheduler.finish(running, None, Some(1))), [a, b]);
    let c = waiting(scheduler.submit(call(RESIZE)));
    // What is not said again stays.
    assert_eq!(jobs(&scheduler.finish(a, None, None)), [c]);
}

#[test]
fn fewer_slots_than_jobs_get_nothing_until_there_is_room() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 2, vec![RESIZE]);
    let running = [(); 2].map(|()| granted(scheduler.submit(call(RESIZE))).job);
    let next = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.resize(WORKER, 1), []);
    assert_eq!(scheduler.finish(running[0], None, None), []);
    assert_eq!(jobs(&scheduler.resize(WORKER, 2)), [next]);
}

#[test]
fn nothing_is_given_to_a_worker_that_has_left() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let running = granted(scheduler.submit(call(RESIZE))).job;
    waiting(scheduler.submit(call(RESIZE)));
    scheduler.leave(WORKER);
    assert_eq!(scheduler.finish(running, None, None), []);
    assert_eq!((scheduler.waiting(), scheduler.backlog(WORKER)), (1, 0));
}

#[test]
fn a_job_of_a_former_life_frees_no_slot() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let former = granted(scheduler.submit(call(RESIZE))).job;
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let running = granted(scheduler.submit(call(RESIZE))).job;
    let next = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.finish(former, None, Some(5)), []);
    assert_eq!(jobs(&scheduler.finish(running, None, None)), [next]);
}

#[test]
fn a_method_at_its_limit_stands_aside() {
    let mut scheduler = scheduler(10);
    scheduler.limit(RESIZE, Some(1));
    scheduler.join(WORKER, 2, vec![RESIZE, CLASSIFY]);
    let running = granted(scheduler.submit(call(RESIZE))).job;
    let next = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!((scheduler.waiting(), scheduler.backlog(WORKER)), (1, 0));
    let aside = granted(scheduler.submit(call(CLASSIFY))).job;
    assert_eq!(jobs(&scheduler.finish(running, None, None)), [next]);
    waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.finish(aside, None, None), []);
}

#[test]
fn a_limit_holds_over_all_workers_also_those_that_have_left() {
    let mut scheduler = scheduler(10);
    scheduler.limit(RESIZE, Some(1));
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let running = granted(scheduler.submit(call(RESIZE))).job;
    let next = waiting(scheduler.submit(call(RESIZE)));
    scheduler.leave(WORKER);
    assert_eq!(scheduler.join(OTHER, 1, vec![RESIZE]), []);
    assert_eq!(scheduler.finish(running, None, None), [Grant { job: next, worker: OTHER }]);
}

#[test]
fn a_higher_limit_lets_more_go_and_a_lower_one_takes_nothing_back() {
    let mut scheduler = scheduler(10);
    scheduler.limit(RESIZE, Some(0));
    scheduler.join(WORKER, 3, vec![RESIZE]);
    let all = [(); 4].map(|()| waiting(scheduler.submit(call(RESIZE))));
    assert_eq!(jobs(&scheduler.limit(RESIZE, Some(2))), all[..2]);
    assert_eq!(scheduler.limit(RESIZE, Some(1)), []);
    assert_eq!(scheduler.finish(all[0], None, None), []);
    assert_eq!(jobs(&scheduler.limit(RESIZE, None)), all[2..]);
}

#[test]
fn what_nobody_knows_is_ignored() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let job = granted(scheduler.submit(call(RESIZE))).job;
    scheduler.finish(job, took(5), None);
    assert_eq!(scheduler.finish(job, took(1_000_000), Some(9)), []);
    assert_eq!(scheduler.service_us(RESIZE), Some(5));
    scheduler.leave(WorkerId(77));
    assert_eq!(scheduler.resize(WorkerId(77), 4), []);
}
