//! How many calls one I/O node may hold: no limit until its threads are the bottleneck, then as many as keep them
//! busy without a standing queue. Knows no clock.
//!
//! The signal is not latency, since a method that waits a minute for its database is not overload, but the time from
//! a call's arrival at the node to the first poll of its task: the node's own queue. That it is long says little (a
//! burst does that); that it *stays* long does: CoDel (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue
//! 2012; RFC 8289), whose target and interval serve here too.
//!
//! CoDel drops from the queue, and we decide before it, so the delay is translated into calls by Little's law: a node
//! that answers X calls a second, and let a call that was sent as the Nth wait q, would have let it wait d as number
//! `N − X × (q − d)`. Calls that wait for something else are in N, not in q, and so never counted as queue; and since
//! N is that of the time of sending, an answer that comes late does not mislead, it only comes late.
//!
//! - *Alarm*, without a limit: no call answered within `ALARM_US` had waited less than the target, while calls in
//!   flight grew by a quarter; or within twice the interval, and they did not shrink. The limit becomes the number for
//!   a delay of `5 × TARGET_US`: enough for what chance brings at 90 % of what the node can do, so that a false alarm
//!   refuses nobody.
//! - *Tighten*, once an interval: calls were refused, and the least delay was above the target. The delay that the
//!   limit allows is halved, down to the target.
//! - *Grow*, once an interval: calls were refused, and there was a delay below the target. By 1/16, then 1/8, then 1/4
//!   (TCP's additive increase is too slow for a limit that may be off by an order of magnitude).
//! - *Lift*: nobody was refused for `LIFT_US`.

use std::cmp::min;

/// A queue below this is no trouble.
const TARGET_US: u64 = 10_000;
/// A queue that stands so long does not go away by itself.
const INTERVAL_US: u64 = 100_000;
/// At ten times of what a node can do a tenth of a second is a second of queue: too long to wait for certainty.
const ALARM_US: u64 = 20_000;
/// Fewer answers tell nothing.
const ALARM_ANSWERS: u32 = 8;
/// What the first limit allows, in targets.
const GENEROUS: u64 = 5;
/// And at least a queue of so many calls, which chance brings at 90 %, however long they take.
const GENEROUS_CALLS: f64 = 64.0;
/// A limit that refuses nobody for so long is not needed.
const LIFT_US: u64 = 500_000;
/// A node gets at least so many: one call less than its threads would leave one idle.
const FLOOR: u32 = 16;

/// A call that is back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// From its arrival at the node to its first poll.
    pub(crate) queue_us: u64,
    /// Calls at the node when it was sent, itself included.
    pub(crate) sent_as: u32,
    /// Calls at the node now, itself not included.
    pub(crate) in_flight: u32,
}

/// The limit of one link.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    /// Since when every call had waited, as long as there is no limit.
    standing: Option<Standing>,
    held: Option<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    since_us: u64,
    in_flight: u32,
    answers: u32,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    limit: u32,
    /// The delay for which it was made.
    delay_us: u64,
    refused_us: u64,
    /// How often it grew in a row.
    grown: u32,
    interval: Interval,
}

#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    began_us: u64,
    answers: u32,
    refused: bool,
    /// The least delay of a call, and as which that was sent.
    least: Option<(u64, u32)>,
}

impl Limit {
    /// The limit, if there is one.
    pub(crate) fn now(&self) -> Option<u32> {
        self.held.map(|held| held.limit)
    }

    /// Whether a call may be sent, when `in_flight` are at the node. A refusal is noted. Below [`Limit::now`] this is
    /// always true, and need not be asked.
    pub(crate) fn allows(&mut self, now_us: u64, in_flight: u32) -> bool {
        let Some(held) = &mut self.held else { return true };
        if in_flight < held.limit {
            return true;
        }
        if now_us.saturating_sub(held.refused_us) >= LIFT_US {
            self.lift();
            return true;
        }
        held.refused_us = held.refused_us.max(now_us);
        held.interval.refused = true;
        false
    }

    /// A call is back.
    pub(crate) fn observe(&mut self, now_us: u64, answered: Answered) {
        match &mut self.held {
            None => self.watch(now_us, answered),
            Some(held) if now_us.saturating_sub(held.refused_us) >= LIFT_US => self.lift(),
            Some(held) => held.take(now_us, answered),
        }
    }

    fn lift(&mut self) {
        (self.held, self.standing) = (None, None);
    }

    /// Without a limit: whether one is needed.
    fn watch(&mut self, now_us: u64, answered: Answered) {
        if answered.queue_us <= TARGET_US {
            self.standing = None;
            return;
        }
        let fresh = Standing { since_us: now_us, in_flight: answered.in_flight, answers: 0 };
        let standing = self.standing.get_or_insert(fresh);
        standing.answers = standing.answers.saturating_add(1);
        let for_us = now_us.saturating_sub(standing.since_us);
        if for_us < ALARM_US || standing.answers < ALARM_ANSWERS {
            return;
        }
        let (before, now) = (standing.in_flight, answered.in_flight);
        let grows = now >= before.saturating_add(before / 4).saturating_add(4);
        if grows || (for_us >= 2 * INTERVAL_US && now >= before) {
            let a_second = rate(standing.answers, for_us);
            let delay_us = (GENEROUS * TARGET_US).max((GENEROUS_CALLS * 1e6 / a_second) as u64);
            self.held = Some(Held {
                limit: number_for(delay_us, a_second, answered.queue_us, answered.sent_as),
                delay_us,
                refused_us: now_us,
                grown: 0,
                interval: Interval { began_us: now_us, ..Interval::default() },
            });
        } else if for_us >= 2 * INTERVAL_US {
            // It shrinks: a burst that is being worked off.
            self.standing = Some(fresh);
        }
    }
}

impl Held {
    fn take(&mut self, now_us: u64, answered: Answered) {
        let Answered { queue_us, sent_as, .. } = answered;
        self.interval.answers = self.interval.answers.saturating_add(1);
        let least = self.interval.least.get_or_insert((queue_us, sent_as));
        *least = min(*least, (queue_us, sent_as));
        let for_us = now_us.saturating_sub(self.interval.began_us);
        if for_us < INTERVAL_US {
            return;
        }
        if self.interval.refused {
            match self.interval.least {
                Some((queue_us, sent_as)) if queue_us > TARGET_US => {
                    self.tighten(rate(self.interval.answers, for_us), queue_us, sent_as);
                }
                _ => self.grow(),
            }
        }
        self.interval = Interval { began_us: now_us, ..Interval::default() };
    }

    fn tighten(&mut self, a_second: f64, queue_us: u64, sent_as: u32) {
        self.delay_us = (self.delay_us / 2).max(TARGET_US);
        self.limit = self.limit.min(number_for(self.delay_us, a_second, queue_us, sent_as));
        self.grown = 0;
    }

    fn grow(&mut self) {
        let by = (self.limit / 16) << min(self.grown, 2);
        self.limit = self.limit.saturating_add(by);
        self.grown = self.grown.saturating_add(1);
    }
}

fn rate(answers: u32, for_us: u64) -> f64 {
    f64::from(answers) * 1e6 / for_us.max(1) as f64
}

/// As which number a call would have waited `delay_us`, when the one sent as `sent_as` waited `queue_us`.
fn number_for(delay_us: u64, a_second: f64, queue_us: u64, sent_as: u32) -> u32 {
    let more = a_second * (delay_us as f64 - queue_us as f64) / 1e6;
    // A float out of range becomes the nearest integer.
    ((f64::from(sent_as) + more) as u32).max(FLOOR)
}

#[cfg(test)]
mod tests;
