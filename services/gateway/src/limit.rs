//! How many calls a second one I/O node is sent: no limit until its threads are the bottleneck, then as many as they can
//! do. Knows no clock.
//!
//! The signal is not latency, since a method that waits a minute for its database is not overload, but the queue before
//! the node's threads: what a poll would wait that begins to now, as the node says in each frame of outcomes. That it is
//! long says little (a burst does that); that it *stays* long does: CoDel (Nichols and Jacobson, "Controlling Queue
//! Delay", ACM Queue 2012; RFC 8289), whose target and interval serve here too.
//!
//! CoDel drops from the queue, and we decide before it. Nor do we count calls in flight: those that wait for something
//! else come back to the threads later than the queue can tell, and how many a node may have of them depends on what
//! they wait for. But what is sent no faster than it can be done makes no queue, however long it waits on the way; and
//! the node has learned what a call takes of its threads.
//!
//! - *Alarm*, without a limit: the queue was above the target for `ALARM_US`, is above what chance brings
//!   (`CHANCE_CALLS`, and not of `FEW`), and has grown by a quarter; or it was for twice the interval, and did not shrink.
//! - *Steer*, while there is a limit: the rate is what the threads can do, as long as the queue is what is allowed; the
//!   longer it is, the less, and nothing when it is longer by `DRAIN_US`; up to `SPARE` more when it is shorter. So what
//!   came before the alarm drains, what was learned need not be exact, and of several gateways that each send as much as
//!   the node can do none needs to know of the others: the queue tells them all.
//! - *Tighten*: a queue is allowed at first that is more than chance brings, so that a false alarm refuses hardly anybody.
//!   While many are refused and it is not kept it is halved every `ALARM_US`, down to the target; and doubled every
//!   interval when few are, so that an overload that is over is soon forgotten.
//! - *Lift*: nobody was refused for `LIFT_US`.

/// A queue below this is no trouble.
const TARGET_US: u64 = 10_000;
/// A queue that stands so long does not go away by itself.
const INTERVAL_US: u64 = 100_000;
/// At ten times of what a node can do a tenth of a second is a second of queue: too long to wait for certainty.
const ALARM_US: u64 = 10_000;
/// What the first limit allows, in targets.
const GENEROUS: u64 = 5;
/// Where the queue is longer than is allowed: less could not be steered by, and more would be a tail.
const DRAIN_US: f64 = 30_000.0;
/// Where it is shorter: more than what was learned is off, and less than a burst.
const SPARE: f64 = 1.0 / 3.0;
/// What chance brings at 90 % of what a node can do: a queue of so many calls, however long they take.
const CHANCE_CALLS: f64 = 64.0;
/// Fewer at once are no overload, however long they take: so many callers want to be served one after another.
const FEW: u32 = 80;
/// And in a busy node a queue of so many, however long they take.
const BUSY_CALLS: f64 = 8.0;
/// What may be sent at once, however full the queue is: clients send many to a frame.
const AT_ONCE_US: f64 = 2500.0;
/// The share of calls that is many, if they are refused: more than chance does it.
const MANY: f64 = 1.0 / 4.0;
/// The calls that are of late.
const OF_LATE: f64 = 32.0;
/// A limit that refuses nobody for so long is not needed.
const LIFT_US: u64 = 500_000;
/// A node gets at least so many at once: one call less than its threads would leave one idle.
const FLOOR: u32 = 16;

/// The limit of one link.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    /// Since when there is a queue, as long as there is no limit.
    standing: Option<Standing>,
    held: Option<Held>,
}

/// The queue before a node's threads, as it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// What a poll waits that begins to now.
    pub(crate) wait_us: u64,
    /// Between two answers, when all threads are busy. Zero: not known yet.
    pub(crate) call_ns: u64,
    /// Calls at the node, be it that they wait for something else.
    pub(crate) in_flight: u32,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    since_us: u64,
    wait_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    a_second: f64,
    /// The queue that is allowed, and when that was halved or doubled last.
    allowed_us: f64,
    changed_us: u64,
    /// Its most: what was allowed at first.
    generous_us: f64,
    /// The share of calls that are refused, of late.
    refused: f64,
    /// What the node has said last, and when.
    wait_us: u64,
    heard_us: u64,
    bucket: Bucket,
    refused_us: u64,
}

/// Calls that may be sent: a token bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    calls: f64,
    filled_us: u64,
}

impl Limit {
    /// Whether there is a limit.
    pub(crate) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Whether it may be that there is a queue. If not, a node that has none need not be heard.
    pub(crate) fn minds(&self) -> bool {
        self.held.is_some() || self.standing.is_some()
    }

    /// Whether a call may be sent, when `in_flight` are at the node. A refusal is noted.
    pub(crate) fn allows(&mut self, now_us: u64, in_flight: u32) -> bool {
        let Some(held) = &mut self.held else { return true };
        if held.is_over(now_us) {
            self.lift();
            return true;
        }
        held.fill(now_us);
        if in_flight < FLOOR || held.bucket.calls >= 1.0 {
            return true;
        }
        held.refused_us = held.refused_us.max(now_us);
        held.refused += (1.0 - held.refused) / OF_LATE;
        false
    }

    /// A call was sent.
    pub(crate) fn sent(&mut self) {
        if let Some(held) = &mut self.held {
            held.refused -= held.refused / OF_LATE;
            held.bucket.calls = (held.bucket.calls - 1.0).max(-f64::from(FLOOR));
        }
    }

    /// The node says what queue it has.
    pub(crate) fn heard(&mut self, now_us: u64, queue: Queue) {
        match &mut self.held {
            None => self.watch(now_us, queue),
            Some(held) if held.is_over(now_us) => self.lift(),
            Some(held) => held.take(now_us, queue),
        }
    }

    fn lift(&mut self) {
        (self.held, self.standing) = (None, None);
    }

    /// Without a limit: whether one is needed.
    fn watch(&mut self, now_us: u64, Queue { wait_us, call_ns, in_flight }: Queue) {
        if wait_us <= TARGET_US || call_ns == 0 || in_flight < FEW {
            self.standing = None;
            return;
        }
        let fresh = Standing { since_us: now_us, wait_us };
        let Standing { since_us, wait_us: before_us } = *self.standing.get_or_insert(fresh);
        let for_us = now_us.saturating_sub(since_us);
        if for_us < ALARM_US {
            return;
        }
        let (grows, stood) = (wait_us >= before_us + before_us / 4, for_us >= 2 * INTERVAL_US);
        let a_second = a_second(call_ns);
        let chance_us = calls_us(CHANCE_CALLS, a_second);
        if wait_us as f64 > chance_us && (grows || (stood && wait_us >= before_us)) {
            let allowed_us = chance_us.max((GENEROUS * TARGET_US) as f64);
            self.held = Some(Held::new(now_us, wait_us, a_second, allowed_us));
        } else if stood {
            // It shrinks: a burst that is being worked off.
            self.standing = Some(fresh);
        }
    }
}

impl Held {
    fn new(now_us: u64, wait_us: u64, a_second: f64, allowed_us: f64) -> Self {
        Self {
            a_second,
            allowed_us,
            changed_us: now_us,
            generous_us: allowed_us,
            refused: 0.0,
            wait_us,
            heard_us: now_us,
            bucket: Bucket { calls: 0.0, filled_us: now_us },
            refused_us: now_us,
        }
    }

    fn is_over(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.refused_us) >= LIFT_US
    }

    /// What has come up since the last time may be sent.
    fn fill(&mut self, now_us: u64) {
        // What is not heard of drains by itself.
        let wait_us = self.wait_us.saturating_sub(now_us.saturating_sub(self.heard_us));
        let above_us = wait_us as f64 - self.allowed_us;
        let less = if above_us > 0.0 { above_us / DRAIN_US } else { SPARE * above_us / self.allowed_us };
        let a_second = self.a_second * (1.0 - less).max(0.0);
        let for_us = now_us.saturating_sub(self.bucket.filled_us);
        // As many at once as the queue has room for: calls come by chance, not in step.
        let most = (self.a_second * AT_ONCE_US.max(-above_us) / 1e6).max(BUSY_CALLS);
        self.bucket.calls = (self.bucket.calls + a_second * for_us as f64 / 1e6).min(most);
        self.bucket.filled_us = now_us;
    }

    fn take(&mut self, now_us: u64, Queue { wait_us, call_ns, .. }: Queue) {
        self.fill(now_us);
        (self.wait_us, self.heard_us) = (wait_us, now_us);
        if call_ns > 0 {
            self.a_second = a_second(call_ns);
        }
        let for_us = now_us.saturating_sub(self.changed_us);
        if self.refused > MANY && wait_us as f64 > self.allowed_us && for_us >= ALARM_US {
            let least_us = calls_us(BUSY_CALLS, self.a_second).max(TARGET_US as f64);
            (self.allowed_us, self.changed_us) = ((self.allowed_us / 2.0).max(least_us), now_us);
        } else if self.refused < MANY && for_us >= INTERVAL_US {
            (self.allowed_us, self.changed_us) = ((self.allowed_us * 2.0).min(self.generous_us), now_us);
        }
    }
}

fn a_second(call_ns: u64) -> f64 {
    1e9 / call_ns as f64
}

/// How long so many calls take, one after another.
fn calls_us(calls: f64, a_second: f64) -> f64 {
    calls * 1e6 / a_second
}

#[cfg(test)]
mod tests;
