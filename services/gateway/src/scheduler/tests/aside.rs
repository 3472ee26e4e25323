//! Workers that are much slower than the others of their kind.

use super::{
    Grant, OTHER, RESIZE, Scheduler, Standing, Submitted, WORKER, WorkerId, batch, call, granted, jobs,
    not_at, scheduler, took, waiting,
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
    for _ in 0..64 {
        at_both(&mut scheduler, SECOND, 50 * MS);
        match scheduler.take_verdicts().as_slice() {
            [] => {}
            [(WORKER, Standing::Aside { times })] => return (scheduler, *times),
            other => panic!("{other:?}"),
        }
    }
    panic!("it was not set aside")
}

/// [`OTHER`] works until the time of [`WORKER`] is over. Answers for how long.
fn wait_out(scheduler: &mut Scheduler) -> u64 {
    for jobs in 1..10_000 {
        let Grant { job, worker } = granted(scheduler.submit(call(RESIZE)));
        assert_eq!(worker, OTHER);
        scheduler.finish(job, took(50 * MS), None);
        match scheduler.take_verdicts().as_slice() {
            [] => {}
            [(WORKER, Standing::OnProbation { .. })] => return jobs * 50 * MS,
            other => panic!("{other:?}"),
        }
    }
    panic!("it is aside for ever")
}

/// Four jobs on probation take so long.
fn probation(scheduler: &mut Scheduler, us: u64) {
    for _ in 0..4 {
        assert_eq!(scheduler.take_verdicts(), []);
        let other = granted(scheduler.submit(call(RESIZE)));
        let probe = granted(scheduler.submit(call(RESIZE)));
        assert_eq!((other.worker, probe.worker), (OTHER, WORKER));
        scheduler.finish(probe.job, took(us), None);
        scheduler.finish(other.job, took(50 * MS), None);
    }
}

#[test]
fn a_slow_worker_gets_only_what_would_wait_longer_than_it_takes_beyond_the_others() {
    let (mut scheduler, times) = slow_one();
    assert!((15..=20).contains(&times), "{times} times as slow");
    let running = granted(scheduler.submit(call(RESIZE)));
    assert_eq!(running.worker, OTHER);
    let mut wait = Vec::new();
    for _ in 1..times {
        wait.push(waiting(scheduler.submit(call(RESIZE))));
        assert_eq!((scheduler.spill(RESIZE), scheduler.backlog(WORKER)), (vec![], 0));
    }
    wait.push(waiting(scheduler.submit(call(RESIZE))));
    assert_eq!(scheduler.backlog(WORKER), times as usize);
    assert_eq!(scheduler.spill(RESIZE), [Grant { job: wait[0], worker: WORKER }]);
    assert_eq!(scheduler.finish(running.job, took(50 * MS), None), [Grant { job: wait[1], worker: OTHER }]);
}

#[test]
fn a_long_backlog_of_batch_goes_there_and_takes_no_call_along() {
    let (mut scheduler, times) = slow_one();
    let running = granted(scheduler.submit(call(RESIZE))).job;
    let first_call = waiting(scheduler.submit(call(RESIZE)));
    let first = waiting(scheduler.submit(batch(RESIZE)));
    let mut grants = scheduler.spill(RESIZE);
    for _ in 0..times {
        if grants.is_empty() {
            waiting(scheduler.submit(batch(RESIZE)));
            grants = scheduler.spill(RESIZE);
        }
    }
    assert_eq!(grants, [Grant { job: first, worker: WORKER }]);
    assert_eq!(scheduler.finish(running, took(50 * MS), None), [Grant { job: first_call, worker: OTHER }]);
}

#[test]
fn a_second_attempt_does_not_go_there() {
    let (mut scheduler, _) = slow_one();
    assert_eq!(scheduler.submit(not_at(OTHER, RESIZE)), Submitted::NoOther);
    assert_eq!(granted(scheduler.submit(not_at(WORKER, RESIZE))).worker, OTHER);
}

#[test]
fn it_comes_back_when_it_is_as_fast_as_the_others() {
    let (mut scheduler, _) = slow_one();
    let waited = wait_out(&mut scheduler);
    assert!((4_900 * MS..=5 * SECOND).contains(&waited), "{waited} µs");
    probation(&mut scheduler, 50 * MS);
    assert_eq!(scheduler.take_verdicts(), [(WORKER, Standing::Well)]);
    assert_eq!(granted(scheduler.submit(call(RESIZE))).worker, WORKER);
}

#[test]
fn it_is_aside_for_longer_if_it_is_as_slow_as_before() {
    let (mut scheduler, _) = slow_one();
    wait_out(&mut scheduler);
    for seconds in [10, 20, 40, 60, 60] {
        probation(&mut scheduler, SECOND);
        assert!(matches!(scheduler.take_verdicts()[..], [(WORKER, Standing::Aside { .. })]));
        let waited = wait_out(&mut scheduler);
        assert!((seconds * SECOND - 100 * MS..=seconds * SECOND).contains(&waited), "{waited} µs");
    }
}

#[test]
fn on_probation_it_has_a_job_at_a_time_and_only_if_the_others_have_no_room() {
    let (mut scheduler, _) = slow_one();
    scheduler.resize(WORKER, 4);
    wait_out(&mut scheduler);
    assert_eq!(granted(scheduler.submit(call(RESIZE))).worker, OTHER);
    let probe = granted(scheduler.submit(call(RESIZE)));
    assert_eq!(probe.worker, WORKER);
    let next = [(); 2].map(|()| waiting(scheduler.submit(call(RESIZE))));
    assert_eq!(scheduler.spill(RESIZE), []);
    assert_eq!(jobs(&scheduler.finish(probe.job, took(SECOND), None)), next[..1]);
}

#[test]
fn what_waits_goes_there_when_the_last_of_the_others_leaves() {
    let (mut scheduler, _) = slow_one();
    granted(scheduler.submit(call(RESIZE)));
    let job = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.spill(RESIZE), []);
    assert_eq!(scheduler.leave(OTHER), [Grant { job, worker: WORKER }]);
    scheduler.finish(job, took(SECOND), None);
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

#[test]
fn who_gets_the_large_inputs_by_chance_is_not_accused() {
    let mut chance = 1_u64;
    for _ in 0..20 {
        let mut scheduler = scheduler(10);
        for worker in 0..4 {
            scheduler.join(WorkerId(worker), 1, vec![RESIZE]);
        }
        for _ in 0..200 {
            for Grant { job, .. } in [(); 4].map(|()| granted(scheduler.submit(call(RESIZE)))) {
                // The generator of Knuth's MMIX, by its upper bits: 30 ms to a second.
                chance =
                    chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                scheduler.finish(job, took((30 * MS) << ((chance >> 33) % 6)), None);
            }
        }
        assert_eq!(scheduler.take_verdicts(), []);
    }
}
