//! The two runtimes: home, where links and users' code share the threads; and the one aside, for methods that were caught
//! and for those that would have to wait behind them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use turno_proto::mesh::v1;

use super::gate::Gate;
use super::queue::Queue;
use crate::node::batch_shares::BatchShares;

/// The runtime that a node was started in: links and users' code on the same threads.
pub(super) struct Home {
    pub(super) runtime: Handle,
    pub(super) gate: Arc<Gate>,
    pub(super) queue: Queue,
    pub(super) batch_shares: Arc<BatchShares>,
}

impl Home {
    /// Users' code never has the last thread; but the only one, in a runtime that has no more.
    pub(super) fn new(runtime: Handle, batch_shares: Arc<BatchShares>) -> Arc<Self> {
        let most = runtime.metrics().num_workers().saturating_sub(1).max(1);
        Arc::new(Self { runtime, gate: Gate::new(most), queue: Queue::default(), batch_shares })
    }

    /// What a poll has before it that begins to wait now, if anything.
    pub(super) fn queue(&self, now: Duration) -> Option<v1::Queue> {
        self.queue.now(now, self.gate.waiting(), self.gate.most)
    }
}

/// The runtime aside, one a process.
pub(super) struct Aside {
    runtime: Runtime,
    /// For methods that were caught.
    pub(super) confined: Arc<Gate>,
    /// For the others, while those have all the places at home.
    pub(super) guests: Arc<Gate>,
}

// Threads of each kind.
const FEWEST: usize = 4;
const MOST: usize = 32;

static ASIDE: OnceLock<Option<Aside>> = OnceLock::new();

impl Aside {
    /// Starts it if it is not there. `None` on a system that has no threads to give.
    pub(super) fn get() -> Option<&'static Self> {
        let start = || {
            Self::start().inspect_err(|error| tracing::error!(%error, "no threads for methods that block"))
        };
        ASIDE.get_or_init(|| start().ok()).as_ref()
    }

    /// If it was needed before.
    pub(super) fn started() -> Option<&'static Self> {
        ASIDE.get()?.as_ref()
    }

    pub(super) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let each = (2 * cores).clamp(FEWEST, MOST);
        // One more, for nobody: it moves on those who are caught.
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().thread_name("confined").worker_threads(2 * each + 1);
        Ok(Self { runtime: builder.build()?, confined: Gate::new(each), guests: Gate::new(each) })
    }
}
