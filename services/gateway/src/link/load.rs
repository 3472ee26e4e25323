//! How busy the async threads of a node are: `limit` decides from what each outcome brings how many calls may be there
//! at once; here are its clock and its lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use turno_proto::mesh::v1::Outcome;

use crate::limit::{Answered, Limit};

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
    /// Takes in what a call says that was no job: `sent_as` the so manieth at the node, of which `in_flight` are left.
    pub(crate) fn observe(&self, outcome: &Outcome, sent_as: usize, in_flight: usize) {
        let Some(cost) = outcome.cost else { return };
        let answered =
            Answered { queue_us: cost.queue_us, sent_as: narrow(sent_as), in_flight: narrow(in_flight) };
        let mut limit = self.limit.lock();
        limit.observe(self.now_us(), answered);
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
