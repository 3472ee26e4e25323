use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Batch, FLOOR, GROWS_US, HEARD_EVERY_US, INTERVAL_US, Line, TARGET_US, TOO_LONG_US};

/// As many as may enter at this moment.
fn fill(batch: &mut Batch, now_us: u64) -> u32 {
    let before = batch.entered;
    while batch.enter(now_us, 1) {}
    batch.entered - before
}

fn with(entered: u32) -> Batch {
    Batch { entered, ..Batch::default() }
}

fn wait(wait_us: u64) -> Line {
    Line { wait_us, calls: None }
}

#[test]
fn those_that_only_wait_elsewhere_are_sent_in_thousands() {
    let (mut batch, mut now) = (Batch::default(), 0);
    assert_eq!(fill(&mut batch, now), FLOOR);
    while batch.entered < 10_000 {
        now += GROWS_US;
        fill(&mut batch, now);
        assert!(now < 1_000_000, "{batch:?}");
    }
}

#[test]
fn a_long_line_shrinks_it_to_half_at_most_and_once_in_an_interval() {
    let mut batch = Batch { window: 1000, ..with(1000) };
    batch.heard(INTERVAL_US, wait(1_000_000));
    assert_eq!(batch.window, 500);
    batch.leave(500);
    batch.heard(2 * INTERVAL_US - 1, wait(1_000_000));
    assert_eq!(batch.window, 500);
    batch.heard(2 * INTERVAL_US, wait(TARGET_US / 3 * 4));
    assert_eq!(batch.window, 375, "in proportion");
}

#[test]
fn of_a_line_that_is_counted_it_shrinks_by_what_is_too_much() {
    let mut batch = Batch { window: 1000, ..with(1000) };
    batch.heard(INTERVAL_US, Line { wait_us: 4 * TARGET_US, calls: Some(80) });
    assert_eq!(batch.window, 940, "nine hundred wait for something else");
    let mut batch = Batch { window: 1000, ..with(200) };
    batch.heard(INTERVAL_US, Line { wait_us: 2 * TARGET_US, calls: Some(900) });
    assert_eq!(batch.window, 100, "seven hundred of them are others'");
}

#[test]
fn it_does_not_shrink_again_before_what_was_above_it_has_ended() {
    let mut batch = Batch { window: 1000, ..with(1000) };
    batch.heard(INTERVAL_US, wait(1_000_000));
    batch.heard(10 * INTERVAL_US, wait(1_000_000));
    assert_eq!(batch.window, 500);
}

#[test]
fn what_was_not_used_is_not_counted_on() {
    let mut batch = Batch { window: 1000, ..with(200) };
    batch.heard(INTERVAL_US, wait(2 * TARGET_US));
    assert_eq!(batch.window, 100, "two hundred have made the line, not the window");
}

#[test]
fn it_does_not_grow_while_nobody_waits_for_room() {
    let mut batch = Batch::default();
    for now in 0..100 {
        assert!(batch.enter(now * GROWS_US, 1));
        batch.leave(1);
    }
    assert_eq!(batch.window, FLOOR);
}

#[test]
fn a_chunk_goes_where_there_is_room_for_one() {
    let mut batch = with(FLOOR - 1);
    assert!(batch.enter(0, 1000));
    assert!(!batch.enter(0, 1));
    batch.leave(1000);
    assert!(batch.enter(0, 1));
}

#[test]
fn what_is_called_by_the_batch_passes_until_the_line_is_too_long() {
    let mut batch = with(10 * FLOOR);
    assert!(batch.may_pass(0));
    batch.heard(0, wait(TOO_LONG_US + 1000));
    assert!(!batch.may_pass(0));
    assert!(batch.may_pass(HEARD_EVERY_US + 2000), "what is not heard of drains by itself");
}

/// A node whose threads do so many calls of the batch a second, one after another; each waits elsewhere first.
struct Node {
    waits_us: u64,
    call_us: u64,
    /// When those that are there come to its threads.
    coming: VecDeque<u64>,
    free_at: u64,
    idle_us: u64,
    /// Also when nothing has ended.
    tells_always: bool,
}

impl Node {
    fn of(call_us: u64) -> Self {
        Self { waits_us: 0, call_us, coming: VecDeque::new(), free_at: 0, idle_us: 0, tells_always: false }
    }

    fn take(&mut self, now: u64, calls: u32) {
        self.coming.extend((0..calls).map(|_| now + self.waits_us));
    }

    /// What has ended by now; and what who comes now waits.
    fn run(&mut self, now: u64) -> (u32, Line) {
        let mut ended = 0;
        while let Some(&ready) = self.coming.front() {
            let begins = ready.max(self.free_at);
            if begins + self.call_us > now {
                break;
            }
            self.idle_us += begins - self.free_at;
            self.free_at = begins + self.call_us;
            self.coming.pop_front();
            ended += 1;
        }
        let calls = self.coming.iter().filter(|ready| **ready <= now).count() as u32;
        (ended, Line { wait_us: u64::from(calls) * self.call_us, calls: Some(calls) })
    }
}

/// A backlog that never ends, for a while that counts after one that does not: the part of the time for which the node's
/// threads idle, and the line that is exceeded one time in twenty.
fn beside_a_backlog(
    batch: &mut Batch,
    node: &mut Node,
    tick_us: u64,
    uncounted_us: u64,
    counted_us: u64,
) -> (f64, u64) {
    let mut now = node.free_at;
    let (warm, end) = (now + uncounted_us, now + uncounted_us + counted_us);
    let (mut idle_before, mut lines) = (0, Vec::new());
    while now < end {
        let entered = fill(batch, now);
        node.take(now, entered);
        now += tick_us;
        let (ended, line) = node.run(now);
        batch.leave(ended);
        if ended > 0 || node.tells_always {
            batch.heard(now, line);
        }
        if now < warm {
            idle_before = node.idle_us;
        } else {
            lines.push(line.wait_us);
        }
    }
    lines.sort_unstable();
    ((node.idle_us - idle_before) as f64 / counted_us as f64, lines[lines.len() * 95 / 100])
}

proptest! {
    /// The node's threads are busy, and its line is short, whatever a call takes of its threads.
    #[test]
    fn the_line_is_short_and_never_empty(call_us in 20_u64..20_000, waits_us in 0_u64..20_000, tick_us in 200_u64..2000) {
        let (mut batch, mut node) = (Batch::default(), Node { waits_us, ..Node::of(call_us) });
        let (idle, most) = beside_a_backlog(&mut batch, &mut node, tick_us, 3_000_000, 3_000_000);
        prop_assert!(idle < 0.1, "idle for {idle:.3} of the time, {batch:?}");
        // No fewer than the least window are sent, however long they take.
        let least = u64::from(FLOOR) * call_us;
        prop_assert!(most <= (4 * TARGET_US).max(least), "{most} us, {batch:?}");
    }

    /// Thousands that wait long are there already, and take nothing of the threads: those that crunch have a short line
    /// beside them, and busy threads.
    #[test]
    fn those_that_wait_long_do_not_blind_it(call_us in 500_u64..3000, sleepers in 1000_u32..10_000) {
        let (mut batch, mut now) = (Batch::default(), 0);
        while batch.entered < sleepers {
            now += GROWS_US;
            fill(&mut batch, now);
        }
        let mut node = Node { free_at: now, tells_always: true, ..Node::of(call_us) };
        let (idle, most) = beside_a_backlog(&mut batch, &mut node, 1000, 8_000_000, 8_000_000);
        prop_assert!(idle < 0.1, "idle for {idle:.3} of the time, {batch:?}");
        prop_assert!(most <= 6 * TARGET_US, "{most} us, {batch:?}");
    }

    #[test]
    fn whoever_leaves_has_entered(steps in prop::collection::vec((0_u8..3, 1_u32..100, 0_u64..200_000), 0..200)) {
        let (mut batch, mut now, mut there) = (Batch::default(), 0, Vec::new());
        for (step, calls, time) in steps {
            now += time;
            match step {
                0 => if batch.enter(now, calls) { there.push(calls) },
                1 => if let Some(calls) = there.pop() { batch.leave(calls) },
                _ => batch.heard(now, Line { wait_us: time, calls: Some(calls) }),
            }
            prop_assert_eq!(batch.entered, there.iter().sum::<u32>());
            prop_assert!(batch.window >= FLOOR);
        }
        there.drain(..).for_each(|calls| batch.leave(calls));
        now += 20 * INTERVAL_US;
        prop_assert!(fill(&mut batch, now) >= FLOOR, "it is open again");
    }
}
