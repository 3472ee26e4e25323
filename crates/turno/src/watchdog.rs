//! Sees which `async fn` holds its thread, names it while it still does, and keeps it away from the others.
//!
//! ```text
//! watched.rs  the future around a call: at each poll it asks for a place, notes itself, and moves aside when it must
//! gate.rs     places: how many threads may be in users' code at once, and whose poll is next
//! runtimes.rs the runtime at home, and the one for those who were caught
//! slots.rs    what each thread polls at this moment
//! patrol.rs   the thread that looks at the slots, and at answers that a job holds up
//! judge.rs    who is guilty, and how often to say so (pure)
//! kernel.rs   how long a thread has had a CPU, and waited for one
//! record.rs   what is known of a method: how often it was caught, what it has cost
//! queue.rs    how long a poll waits for a place, as the gateways are told
//! board.rs    the records of a node, and what its gateways are told
//! ```
//!
//! Why places: until a method is caught nobody knows that it is guilty, so users' code never has the last thread of the
//! node's runtime. That one keeps the links alive, and moves those who were caught, and those who would have to wait
//! behind them, to the runtime aside.

mod board;
mod gate;
mod judge;
mod kernel;
mod patrol;
mod queue;
mod record;
mod runtimes;
mod slots;
mod watched;

pub(crate) use board::Board;
pub(crate) use record::Record;
pub(crate) use watched::Watched;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time since this process first asked.
fn clock_at(now: Instant) -> Duration {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    now.saturating_duration_since(*EPOCH)
}

fn clock() -> Duration {
    clock_at(Instant::now())
}

/// What fits into an atomic.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
