//! How long a store is asked again that does not take what has come of an attempt: for as long as it takes. But where nobody
//! makes room any more, a full one is asked for some seconds alone.

use std::time::Duration;

use tokio::time::Instant;
use turno_store::Error;

use crate::tickets::Tickets;
use crate::tickets::attempt::{LONGEST_PAUSE, PAUSE};

/// A gateway that ends asks its own store for so long. One that has just found no space takes nothing for a second.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// Of who asks.
pub(super) struct Patience<'a> {
    tickets: &'a Tickets,
    pause: Duration,
    ends_at: Option<Instant>,
}

impl<'a> Patience<'a> {
    pub(super) fn new(tickets: &'a Tickets) -> Self {
        Self { tickets, pause: PAUSE, ends_at: None }
    }

    /// Whether the store is full, and stays so.
    pub(super) fn is_over(&mut self, error: &Error) -> bool {
        let is_ending = self.tickets.0.closing.is_cancelled() && !self.tickets.0.around.is_shared;
        if !is_ending || !matches!(error, Error::Full) {
            return false;
        }
        let now = Instant::now();
        now >= *self.ends_at.get_or_insert(now + LAST_TRIES)
    }

    /// Until the store is asked again: later and later, and at once when the gateway begins to end.
    pub(super) async fn pause(&mut self) {
        let closing = &self.tickets.0.closing;
        tokio::select! {
            biased;
            () = closing.cancelled(), if !closing.is_cancelled() => self.pause = PAUSE,
            () = tokio::time::sleep(self.pause) => self.pause = (self.pause * 2).min(LONGEST_PAUSE),
        }
    }
}
