//! Which workers end a chunk of a map for a call.

use super::*;

fn chunk(method: MethodId) -> Job {
    Job { items: 10, ..batch(method) }
}

/// Two workers of one slot each, and a chunk in either.
fn two_chunks() -> Scheduler {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    assert_eq!(granted(scheduler.submit(chunk(RESIZE))).worker, WORKER);
    scheduler.join(OTHER, 1, vec![RESIZE]);
    assert_eq!(granted(scheduler.submit(chunk(RESIZE))).worker, OTHER);
    scheduler
}

#[test]
fn as_many_chunks_are_asked_as_calls_wait() {
    let mut scheduler = two_chunks();
    for asked in [vec![WORKER], vec![OTHER], vec![]] {
        waiting(scheduler.submit(call(RESIZE)));
        assert_eq!(scheduler.take_asked(), asked);
    }
}

#[test]
fn batch_asks_for_nothing_and_a_single_item_is_not_asked() {
    let mut scheduler = two_chunks();
    waiting(scheduler.submit(batch(RESIZE)));
    waiting(scheduler.submit(chunk(RESIZE)));
    assert_eq!(scheduler.take_asked(), []);
    let mut scheduler = super::scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    granted(scheduler.submit(batch(RESIZE)));
    waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.take_asked(), []);
}

#[test]
fn who_is_left_is_asked_instead_of_one_that_has_gone() {
    let mut scheduler = two_chunks();
    waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.take_asked(), [WORKER]);
    scheduler.leave(WORKER);
    assert_eq!(scheduler.take_asked(), [OTHER]);
    waiting(scheduler.submit(call(RESIZE)));
    scheduler.join(WORKER, 0, vec![RESIZE]);
    assert_eq!(scheduler.take_asked(), []);
}

/// Two workers come back from aside at once: the first has room for one more chunk, the second for one of two calls, and for
/// the other call a chunk was asked for before.
#[test]
fn nobody_is_asked_for_a_call_that_is_about_to_have_its_place() {
    let mut scheduler = Scheduler::new(Limits { waiting: 10, batch_share: 0.5 });
    for worker in [WORKER, OTHER] {
        scheduler.join(worker, 1, vec![RESIZE]);
        let only = granted(scheduler.submit(call(RESIZE)));
        assert_eq!(only.worker, worker);
        scheduler.finish(only.job, took(100), Some(1));
        scheduler.set_aside(worker, 10);
    }
    assert_eq!(granted(scheduler.submit(chunk(RESIZE))).worker, WORKER);
    let running = granted(scheduler.submit(call(RESIZE)));
    let next = waiting(scheduler.submit(call(RESIZE)));
    let more = waiting(scheduler.submit(chunk(RESIZE)));
    // Batch is owed something for it, since both wait.
    assert_eq!(jobs(&scheduler.finish(running.job, took(100), Some(1))), [next]);
    let calls = [(); 2].map(|()| waiting(scheduler.submit(call(RESIZE))));
    assert_eq!(scheduler.take_asked(), [WORKER]);
    let grants = scheduler.tell_time(u64::MAX);
    let expected = [Grant { job: more, worker: WORKER }, Grant { job: calls[0], worker: OTHER }];
    assert_eq!((grants.as_slice(), scheduler.take_asked()), (expected.as_slice(), vec![]));
}

/// The first worker holds more than it may by now: what ended there would make no room.
#[test]
fn first_those_are_asked_where_it_makes_room() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 3, vec![RESIZE]);
    for _ in 0..3 {
        granted(scheduler.submit(chunk(RESIZE)));
    }
    scheduler.resize(WORKER, 1);
    scheduler.join(OTHER, 1, vec![RESIZE]);
    granted(scheduler.submit(chunk(RESIZE)));
    waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.take_asked(), [OTHER]);
}

/// Another job of the worker ended for the first call, and the chunk that was asked goes on; the next call asks again.
#[test]
fn a_chunk_that_was_not_needed_in_the_end_can_be_asked_again() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 2, vec![RESIZE]);
    granted(scheduler.submit(chunk(RESIZE)));
    let beside = granted(scheduler.submit(call(RESIZE))).job;
    let first = waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.take_asked(), [WORKER]);
    assert_eq!(jobs(&scheduler.finish(beside, took(100), None)), [first]);
    waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.take_asked(), [WORKER]);
}

/// The chunk that was asked has ended, but the worker may hold less now: the next one is asked.
#[test]
fn a_call_that_has_got_no_place_asks_again() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    let first = granted(scheduler.submit(chunk(RESIZE))).job;
    scheduler.finish(first, took(1_000), Some(1));
    let first = granted(scheduler.submit(chunk(RESIZE))).job;
    granted(scheduler.submit(chunk(RESIZE)));
    waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.take_asked(), [WORKER]);
    assert_eq!(scheduler.finish(first, took(1_000), Some(0)), []);
    assert_eq!(scheduler.take_asked(), [WORKER]);
}

#[test]
fn nothing_ends_for_a_call_that_could_not_run_there() {
    let mut scheduler = two_chunks();
    waiting(scheduler.submit(call(CLASSIFY)));
    assert_eq!(scheduler.take_asked(), []);
    scheduler.limit(RESIZE, Some(2));
    waiting(scheduler.submit(call(RESIZE)));
    assert_eq!(scheduler.take_asked(), []);
    scheduler.limit(RESIZE, None);
    assert_eq!(scheduler.take_asked(), [WORKER]);
}

#[test]
fn a_method_knows_of_the_calls_that_wait_for_its_workers() {
    let mut scheduler = two_chunks();
    waiting(scheduler.submit(batch(RESIZE)));
    assert!(!scheduler.calls_wait(RESIZE));
    waiting(scheduler.submit(call(RESIZE)));
    assert!(scheduler.calls_wait(RESIZE) && !scheduler.calls_wait(CLASSIFY));
}

/// A call with a deadline is not refused for the sake of work that gives way to it.
#[test]
fn a_chunk_stands_before_a_call_for_no_longer_than_it_must_run() {
    let mut scheduler = scheduler(10);
    scheduler.join(WORKER, 1, vec![RESIZE]);
    teach(&mut scheduler, RESIZE, 64, 1_500);
    let running = granted(scheduler.submit(chunk(RESIZE)));
    scheduler.finish(
        running.job,
        Some(Spent { run_us: 15_000, cpu_us: 15_000, items: 10, done: true }),
        Some(1),
    );
    granted(scheduler.submit(chunk(RESIZE)));
    granted(scheduler.submit(chunk(RESIZE)));
    let wait = scheduler.expected_wait_us(RESIZE, Lane::Calls, TenantId(0));
    assert_eq!(wait, Some(1_500));
    let soon = Job { left_us: Some(4_000), ..call(RESIZE) };
    waiting(scheduler.submit(soon));
}
