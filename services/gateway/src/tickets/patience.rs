//! How long a store is asked again that does not take what has come of an attempt, or cannot say what came before: for as
//! long as it takes. But where nobody makes room any more, a full one is asked for some seconds alone.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use turno_store::Error;

use crate::tickets::Tickets;

/// Until a store that is full, or away, is asked again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A gateway that ends asks its own store for so long. One that has just found no space takes nothing for a second.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// Of who asks.
pub(super) struct Patience<'a> {
    closing: &'a CancellationToken,
    is_shared: bool,
    pause: Duration,
    ends_at: Option<Instant>,
}

impl Tickets {
    /// With their store.
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience::new(&self.0.closing, self.0.around.is_shared)
    }
}

impl<'a> Patience<'a> {
    /// Of a gateway that ends from `closing` on, with a store that others may have too.
    pub(super) fn new(closing: &'a CancellationToken, is_shared: bool) -> Self {
        Self { closing, is_shared, pause: PAUSE, ends_at: None }
    }

    /// Whether the store is full, and stays so.
    pub(super) fn is_over(&mut self, error: &Error) -> bool {
        let is_ending = self.closing.is_cancelled() && !self.is_shared;
        if !is_ending || !matches!(error, Error::Full) {
            return false;
        }
        let now = Instant::now();
        now >= *self.ends_at.get_or_insert(now + LAST_TRIES)
    }

    /// Until the store is asked again: later and later, and at once when the gateway begins to end.
    pub(super) async fn pause(&mut self) {
        let closing = self.closing;
        tokio::select! {
            biased;
            () = closing.cancelled(), if !closing.is_cancelled() => self.pause = PAUSE,
            () = tokio::time::sleep(self.pause) => self.pause = (self.pause * 2).min(LONGEST_PAUSE),
        }
    }
}
