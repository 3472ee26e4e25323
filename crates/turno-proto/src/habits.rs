//! Times that both ends of a link go by.

use std::time::Duration;

/// The answer to a brief job waits at its worker for those of the next ones, for so long at most. The gateway lets a worker
/// have brief jobs for that time ready: else it would have none while it waits.
pub const ANSWERS_HELD: Duration = Duration::from_millis(2);

/// A chunk of a map has run for so long at least when it ends for a call: less would not be worth its way.
pub const CHUNK_GIVES_WAY: Duration = Duration::from_millis(1);
