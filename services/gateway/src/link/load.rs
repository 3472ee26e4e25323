//! How busy the async threads of a node are: `limit` decides from what it says how many calls may be there
//! at once; here are its clock and its lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use turno_proto::mesh::v1::Outcome;

use crate::limit::{Limit, Waited};

/// A node's load as the gateway knows it.
pub(crate) struct Load {
    since: Instant,
    limit: Mutex<Limit>,
    /// The limit as it is now, for those who only ask.
    now: AtomicUsize,
}

impl Default for Load {
    fn default() -> Self {
        Self { since: Instant::now(), limit: Mutex::default(), now: AtomicUsize::new(usize::MAX) }
    }
}

impl Load {
    /// Takes in that a call, `sent_as` the so manieth at the node, was polled after `queue_us`.
    pub(crate) fn polled(&self, queue_us: u64, sent_as: usize, in_flight: usize) {
        self.learn(queue_us, sent_as, in_flight, Limit::polled);
    }

    /// Takes in what a call says that was no job: `sent_as` the so manieth at the node, of which `in_flight` are left.
    pub(crate) fn answered(&self, outcome: &Outcome, sent_as: usize, in_flight: usize) {
        let Some(cost) = outcome.cost else { return };
        self.learn(cost.queue_us, sent_as, in_flight, Limit::answered);
    }

    fn learn(&self, queue_us: u64, sent_as: usize, in_flight: usize, how: fn(&mut Limit, u64, Waited)) {
        let waited = Waited { queue_us, sent_as: narrow(sent_as), in_flight: narrow(in_flight) };
        let mut limit = self.limit.lock();
        how(&mut limit, self.now_us(), waited);
        self.show(&limit);
    }

    /// Whether one more call may go there, beside those in flight.
    pub(crate) fn allows(&self, in_flight: usize) -> bool {
        in_flight < self.now.load(Ordering::Relaxed) || {
            let mut limit = self.limit.lock();
            let allows = limit.allows(self.now_us(), narrow(in_flight));
            self.show(&limit);
            allows
        }
    }

    fn show(&self, limit: &Limit) {
        self.now.store(limit.now().map_or(usize::MAX, |limit| limit as usize), Ordering::Relaxed);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn narrow(calls: usize) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}
