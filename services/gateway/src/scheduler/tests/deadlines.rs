//! What is expected, and who is refused for it.

use std::collections::BTreeMap;

use super::{
    CLASSIFY, Grant, Job, Lane, OTHER, RESIZE, Scheduler, Spent, Submitted, TenantId, WORKER, batch, by,
    call, granted, scheduler, teach, took, waiting,
};

fn within(left_us: u64) -> Job {
    Job { left_us: Some(left_us), ..call(RESIZE) }
}

fn wait_of(scheduler: &Scheduler, tenant: u32) -> Option<u64> {
    scheduler.expected_wait_us(RESIZE, Lane::Calls, TenantId(tenant))
}

fn known(slots: u32) -> Scheduler {
    let mut scheduler = scheduler(1_000);
    scheduler.join(WORKER, slots, vec![RESIZE]);
    teach(&mut scheduler, RESIZE, 8, 100);
    scheduler
}

#[test]
fn nothing_is_expected_of_what_nobody_serves_or_has_seen() {
    let mut scheduler = scheduler(10);
    assert_eq!((wait_of(&scheduler, 0), scheduler.service_us(RESIZE)), (None, None));
    scheduler.join(WORKER, 1, vec![RESIZE]);
    assert_eq!((wait_of(&scheduler, 0), scheduler.service_us(RESIZE)), (Some(0), None));
    teach(&mut scheduler, RESIZE, 1, 80);
    teach(&mut scheduler, RESIZE, 1, 160);
    assert_eq!(scheduler.service_us(RESIZE), Some(90));
}

#[test]
fn the_wait_is_the_work_ahead_by_the_slots() {
    let mut scheduler = known(2);
    assert_eq!(wait_of(&scheduler, 0), Some(0));
    for _ in 0..2 {
        granted(scheduler.submit(call(RESIZE)));
    }
    for _ in 0..6 {
        waiting(scheduler.submit(call(RESIZE)));
    }
    assert_eq!(wait_of(&scheduler, 0), Some(300));
    scheduler.join(OTHER, 0, vec![RESIZE, CLASSIFY]);
    scheduler.resize(OTHER, 1);
    assert_eq!(wait_of(&scheduler, 0), Some(166));
}

#[test]
fn jobs_beyond_the_slots_are_ahead_too() {
    let mut scheduler = known(1);
    let running = granted(scheduler.submit(call(RESIZE))).job;
    waiting(scheduler.submit(call(RESIZE)));
    scheduler.finish(running, took(100), Some(3));
    assert_eq!(wait_of(&scheduler, 0), Some(0));
    granted(scheduler.submit(call(RESIZE)));
    granted(scheduler.submit(call(RESIZE)));
    assert_eq!(wait_of(&scheduler, 0), Some(200));
}

#[test]
fn another_tenants_crowd_is_not_ahead_of_mine() {
    let mut scheduler = known(1);
    granted(scheduler.submit(call(RESIZE)));
    for _ in 0..100 {
        waiting(scheduler.submit(by(1, RESIZE)));
    }
    assert_eq!(wait_of(&scheduler, 2), Some(0));
    waiting(scheduler.submit(by(2, RESIZE)));
    // Its own one, and one of the crowd's.
    assert_eq!(wait_of(&scheduler, 2), Some(200));
    assert_eq!(wait_of(&scheduler, 1), Some(10_100));
}

#[test]
fn calls_are_ahead_of_batch_and_batch_hardly_of_calls() {
    let mut scheduler = known(1);
    granted(scheduler.submit(call(RESIZE)));
    for _ in 0..10 {
        waiting(scheduler.submit(batch(RESIZE)));
    }
    assert_eq!(wait_of(&scheduler, 0), Some(0));
    waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.expected_wait_us(RESIZE, Lane::Batch, TenantId(0)), Some(1_100));
}

#[test]
fn a_limited_methods_crowd_waits_for_itself_alone() {
    let mut scheduler = scheduler(1_000);
    scheduler.join(WORKER, 10, vec![RESIZE, CLASSIFY]);
    teach(&mut scheduler, RESIZE, 8, 100);
    teach(&mut scheduler, CLASSIFY, 8, 100);
    scheduler.limit(CLASSIFY, Some(2));
    for _ in 0..2 {
        granted(scheduler.submit(call(CLASSIFY)));
    }
    for _ in 0..20 {
        waiting(scheduler.submit(call(CLASSIFY)));
    }
    for _ in 0..8 {
        granted(scheduler.submit(call(RESIZE)));
    }
    assert_eq!(wait_of(&scheduler, 0), Some(0));
    assert_eq!(scheduler.expected_wait_us(CLASSIFY, Lane::Calls, TenantId(0)), Some(1_000));
    scheduler.limit(CLASSIFY, None);
    assert_eq!(wait_of(&scheduler, 0), Some(200));
}

#[test]
fn what_cannot_be_done_in_time_is_refused_at_once() {
    let mut scheduler = known(1);
    let alone = Submitted::TooLate { wait_us: 0, service_us: 100 };
    assert_eq!(scheduler.submit(within(99)), alone);
    granted(scheduler.submit(within(100)));
    for _ in 0..5 {
        waiting(scheduler.submit(call(RESIZE)));
    }
    assert_eq!(scheduler.submit(within(599)), Submitted::TooLate { wait_us: 500, service_us: 100 });
    waiting(scheduler.submit(within(600)));
}

#[test]
fn who_has_no_time_left_is_refused_and_who_knows_little_refuses_nobody() {
    let mut scheduler = scheduler(10);
    assert_eq!(scheduler.submit(within(0)), Submitted::TooLate { wait_us: 0, service_us: 0 });
    scheduler.join(WORKER, 1, vec![RESIZE]);
    teach(&mut scheduler, RESIZE, 7, 100);
    granted(scheduler.submit(within(1)));
}

#[test]
fn a_method_that_was_slow_may_show_that_it_is_fast_again() {
    let mut scheduler = known(1);
    let mut refused = 0;
    for _ in 0..1_000 {
        match scheduler.submit(within(50)) {
            Submitted::Granted(grant) => drop(scheduler.finish(grant.job, took(10), None)),
            _ => refused += 1,
        }
    }
    assert!((16..=200).contains(&refused), "{refused} refused");
    granted(scheduler.submit(within(50)));
}

#[test]
fn a_small_input_is_not_refused_for_long_because_large_ones_came_before() {
    let mut scheduler = scheduler(1_000);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    teach(&mut scheduler, RESIZE, 20, 1_000);
    assert_eq!(
        refused_of_a_hundred(&mut scheduler, call(RESIZE)),
        16,
        "until one was let through, which showed it"
    );
}

/// A call with a request of so many bytes.
fn of_size(bytes: u64) -> Job {
    Job { bytes, ..call(RESIZE) }
}

const SMALL: u64 = 3_000;
const LARGE: u64 = 3_000_000;

/// What jobs with small and with large requests take, on one slot.
fn both_sizes_known() -> Scheduler {
    let mut scheduler = scheduler(1_000);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    for _ in 0..8 {
        for (bytes, us) in [(SMALL, 4), (LARGE, 1_000)] {
            let job = granted(scheduler.submit(of_size(bytes))).job;
            scheduler.finish(job, took(us), None);
        }
    }
    scheduler
}

#[test]
fn a_request_is_judged_by_those_of_its_size() {
    let mut scheduler = both_sizes_known();
    let late = Submitted::TooLate { wait_us: 0, service_us: 1_000 };
    assert_eq!(scheduler.submit(Job { left_us: Some(900), ..of_size(LARGE) }), late);
    granted(scheduler.submit(Job { left_us: Some(5), ..of_size(SMALL) }));
    // And so is the work ahead.
    for _ in 0..3 {
        waiting(scheduler.submit(of_size(SMALL)));
    }
    assert_eq!(wait_of(&scheduler, 0), Some(12));
    waiting(scheduler.submit(of_size(LARGE)));
    assert_eq!(wait_of(&scheduler, 0), Some(1_012));
}

#[test]
fn a_size_that_nobody_has_seen_is_judged_by_smaller_ones_alone() {
    let mut scheduler = both_sizes_known();
    assert!(matches!(
        scheduler.submit(Job { left_us: Some(3), ..of_size(100 * SMALL) }),
        Submitted::TooLate { .. }
    ));
    granted(scheduler.submit(Job { left_us: Some(3), ..of_size(SMALL / 100) }));
}

/// How many of a hundred with little time left are refused, where each that is not takes 4 µs.
fn refused_of_a_hundred(scheduler: &mut Scheduler, job: Job) -> usize {
    let refused = (0..100).filter(|_| match scheduler.submit(Job { left_us: Some(200), ..job }) {
        Submitted::Granted(grant) => {
            scheduler.finish(grant.job, took(4), None);
            false
        }
        _ => true,
    });
    refused.count()
}

#[test]
fn a_size_that_is_faster_than_smaller_ones_were_is_soon_believed() {
    let mut scheduler = known(1);
    teach(&mut scheduler, RESIZE, 20, 1_000);
    assert_eq!(refused_of_a_hundred(&mut scheduler, of_size(LARGE)), 16);
}

#[test]
fn a_call_may_show_that_it_is_fast_while_slow_tickets_run() {
    let mut scheduler = both_sizes_known();
    scheduler.resize(WORKER, 2);
    granted(scheduler.submit(Job { lane: Lane::Batch, ..of_size(LARGE) }));
    assert_eq!(refused_of_a_hundred(&mut scheduler, of_size(LARGE)), 16);
}

#[test]
fn a_small_one_may_wait_for_one_large_one() {
    let mut scheduler = both_sizes_known();
    let mut running = granted(scheduler.submit(of_size(LARGE))).job;
    for _ in 0..20 {
        waiting(scheduler.submit(of_size(LARGE)));
        running = scheduler.finish(running, took(1_000), None)[0].job;
    }
    waiting(scheduler.submit(of_size(LARGE)));
    waiting(scheduler.submit(Job { left_us: Some(4_000), ..of_size(SMALL) }));
}

#[test]
fn a_flood_that_comes_before_anything_is_known_is_learned_from() {
    let mut scheduler = scheduler(100_000);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let (mut now, mut until, mut running, mut done) = (0_u64, BTreeMap::new(), None, 0);
    // Ten times as many as can be done, each size as often.
    let mut comes = (0..4_000_u64).map(|turn| (20 * turn, 64 << (2 * (turn % 10)))).peekable();
    while let Some((came, _)) = comes.peek() {
        now = running.map_or(now.max(*came), |_| now);
        while let Some((came, bytes)) = comes.next_if(|(came, _)| *came <= now) {
            let left_us = (came + 1_000).saturating_sub(now);
            let submitted = scheduler.submit(Job { bytes, ..within(left_us) });
            let (Submitted::Granted(Grant { job, .. }) | Submitted::Waiting(job)) = submitted else {
                continue;
            };
            until.insert(job, came + 1_000);
            running = running.or(Some(job));
        }
        let Some(job) = running else { continue };
        let ran_us = (until[&job] - now).min(200);
        let spent = took(ran_us).map(|spent| Spent { done: ran_us == 200, ..spent });
        now += ran_us;
        done += u64::from(now > 40_000 && ran_us == 200);
        until.retain(|waiting, until| *until > now || *waiting == job || !scheduler.cancel(*waiting));
        running = scheduler.finish(job, spent, None).first().map(|grant| grant.job);
    }
    assert!(done >= 190, "{done} of 200");
}

#[test]
fn a_size_that_was_slow_may_show_that_it_is_fast_again_while_others_run() {
    let mut scheduler = both_sizes_known();
    scheduler.resize(WORKER, 2);
    granted(scheduler.submit(of_size(SMALL)));
    assert_eq!(refused_of_a_hundred(&mut scheduler, of_size(LARGE)), 16);
}

#[test]
fn who_was_stopped_or_failed_does_not_make_its_kind_look_brief() {
    let mut scheduler = known(1);
    for _ in 0..100 {
        let failed = took(1).map(|spent| Spent { done: false, ..spent });
        let job = granted(scheduler.submit(call(RESIZE))).job;
        scheduler.finish(job, failed, None);
    }
    assert_eq!(scheduler.submit(within(99)), Submitted::TooLate { wait_us: 0, service_us: 100 });
    // But whoever waits for such waits briefly.
    granted(scheduler.submit(within(100)));
    for _ in 0..5 {
        waiting(scheduler.submit(call(RESIZE)));
    }
    waiting(scheduler.submit(within(110)));
}

#[test]
fn a_job_that_was_stopped_at_its_deadline_has_not_shown_that_it_is_brief() {
    let mut scheduler = scheduler(1_000);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    teach(&mut scheduler, RESIZE, 20, 1_000);
    let tried = (0..68).filter(|_| match scheduler.submit(within(200)) {
        Submitted::Granted(grant) => {
            let stopped = took(200).map(|spent| Spent { done: false, ..spent });
            scheduler.finish(grant.job, stopped, None);
            true
        }
        _ => false,
    });
    assert_eq!(tried.count(), 4, "every 17th");
}

#[test]
fn where_inputs_differ_by_much_nobody_is_refused_for_the_mean() {
    let mut scheduler = scheduler(1_000);
    scheduler.join(WORKER, 2, vec![RESIZE]);
    for _ in 0..10 {
        teach(&mut scheduler, RESIZE, 1, 1_000);
        teach(&mut scheduler, RESIZE, 1, 4);
    }
    let large = granted(scheduler.submit(call(RESIZE)));
    granted(scheduler.submit(within(200)));
    scheduler.finish(large.job, took(1_000), None);
    // And where they hardly differ, whoever has less time than they take is.
    for us in (0..40).map(|turn| 900 + 200 * (turn % 2)) {
        teach(&mut scheduler, RESIZE, 1, us);
    }
    assert!(matches!(scheduler.submit(within(700)), Submitted::TooLate { .. }));
}

/// Ten times more than can be done, for as long as `rounds` jobs take on one slot; answers the longest wait of those
/// that were let in during the last half.
fn flood(scheduler: &mut Scheduler, rounds: u32, job: Job) -> u64 {
    let mut running = granted(scheduler.submit(job)).job;
    let mut longest = 0;
    for round in 0..rounds {
        for _ in 0..10 {
            let wait_us = scheduler.expected_wait_us(job.method, job.lane, job.tenant).unwrap();
            if matches!(scheduler.submit(job), Submitted::Waiting(_)) && round >= rounds / 2 {
                longest = longest.max(wait_us);
            }
        }
        running = scheduler.finish(running, took(100), None).first().expect("the slot is kept busy").job;
    }
    scheduler.finish(running, took(100), None);
    longest
}

#[test]
fn a_burst_may_wait_to_its_deadline_and_a_queue_that_stands_is_short() {
    let mut scheduler = known(1);
    granted(scheduler.submit(within(2_000)));
    for _ in 0..20 {
        waiting(scheduler.submit(within(2_100)));
    }
    let mut scheduler = known(1);
    assert_eq!(flood(&mut scheduler, 200, within(2_000)), 200);
    assert!(scheduler.waiting() > 0);
}

#[test]
fn a_queue_that_was_empty_stands_no_more() {
    let mut scheduler = known(1);
    flood(&mut scheduler, 200, within(2_000));
    let mut granted_last = scheduler.granted.keys().copied().next();
    while let Some(job) = granted_last {
        granted_last = scheduler.finish(job, took(100), None).first().map(|grant| grant.job);
    }
    granted(scheduler.submit(within(2_000)));
    for _ in 0..19 {
        waiting(scheduler.submit(within(2_000)));
    }
}

#[test]
fn who_has_no_deadline_waits_in_a_queue_that_stands() {
    let mut scheduler = known(1);
    let mut running = granted(scheduler.submit(call(RESIZE))).job;
    for _ in 0..100 {
        // Twice as much as can be done, and each waits longer than the one before.
        waiting(scheduler.submit(call(RESIZE)));
        waiting(scheduler.submit(call(RESIZE)));
        running = scheduler.finish(running, took(100), None).first().unwrap().job;
    }
}
