//! How busy the async threads of a node are: `limit` decides from what the node says whether more may be sent; here are its
//! clock and its lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use turno_proto::mesh::v1 as mesh;
use turno_runtime::units::micros;

use crate::limit::{Limit, Queue};

/// A node's load as the gateway knows it.
pub(crate) struct Load {
    since: Instant,
    limit: Mutex<Limit>,
    /// What the limit is for those who only ask.
    holds: AtomicBool,
    minds: AtomicBool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            limit: Mutex::default(),
            holds: AtomicBool::new(false),
            minds: AtomicBool::new(false),
        }
    }
}

impl Load {
    /// The node says what queue its threads have; nothing if there is none.
    pub(crate) fn heard(&self, queue: Option<mesh::Queue>, in_flight: impl FnOnce() -> usize) {
        if queue.is_some() || self.minds.load(Ordering::Relaxed) {
            let mesh::Queue { wait_us, call_ns, .. } = queue.unwrap_or_default();
            let queue = Queue { wait_us, call_ns, in_flight: narrow(in_flight()) };
            self.with_limit(|limit, now_us| limit.heard(now_us, queue));
        }
    }

    /// Whether one more call may go there, beside those in flight.
    pub(crate) fn allows(&self, in_flight: impl FnOnce() -> usize) -> bool {
        !self.holds.load(Ordering::Relaxed)
            || self.with_limit(|limit, now_us| limit.allows(now_us, narrow(in_flight())))
    }

    /// A call that is no job was sent.
    pub(crate) fn sent(&self) {
        if self.holds.load(Ordering::Relaxed) {
            self.with_limit(|limit, _| limit.sent());
        }
    }

    fn with_limit<T>(&self, change: impl FnOnce(&mut Limit, u64) -> T) -> T {
        let mut limit = self.limit.lock();
        let now_us = micros(self.since.elapsed());
        let changed = change(&mut limit, now_us);
        self.holds.store(limit.holds(), Ordering::Relaxed);
        self.minds.store(limit.minds(), Ordering::Relaxed);
        changed
    }
}

fn narrow(calls: usize) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}
