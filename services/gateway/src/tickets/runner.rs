//! Claims what is due, as much as there is room for in hand, and begins it.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use turno_runtime::task;
use turno_store::{Claimed, Error};

use crate::tickets::Tickets;

/// At one go: their requests are all in memory.
const MOST_CLAIMED: usize = 64;
/// The store says when something is due, but another gateway may have put it there.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE_SHARED: Duration = Duration::from_millis(500);
const TROUBLE: Duration = Duration::from_secs(1);

impl Tickets {
    /// Until the gateway closes.
    pub(crate) async fn run_due(self) {
        while let Some(places) = self.places().await {
            match self.store().claim(self.0.gateway, places.len()).await {
                Ok(claimed) if claimed.is_empty() => {
                    drop(places);
                    self.something_due().await;
                }
                Ok(claimed) => self.begin_all(claimed, places),
                Err(error) => {
                    drop(places);
                    complain(&error);
                    self.pause(TROUBLE).await;
                }
            }
        }
    }

    /// At least one place in hand; `None` when the gateway closes.
    async fn places(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let hand = &self.0.hand;
        let first = tokio::select! {
            biased;
            () = self.0.closing.cancelled() => return None,
            place = hand.clone().acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let others = std::iter::from_fn(|| hand.clone().try_acquire_owned().ok());
        Some(std::iter::once(first).chain(others.take(MOST_CLAIMED - 1)).collect())
    }

    fn begin_all(&self, claimed: Vec<Claimed>, places: Vec<OwnedSemaphorePermit>) {
        for (claimed, place) in claimed.into_iter().zip(places) {
            let (tickets, name) = (self.clone(), claimed.method.clone());
            let attempt = async move { tickets.attempt(claimed, place).await };
            task::spawn(&name, self.0.attempts.track_future(attempt));
        }
    }

    /// Until something may be due.
    async fn something_due(&self) {
        let longest = if self.0.around.is_shared { LONGEST_PAUSE_SHARED } else { LONGEST_PAUSE };
        let next = match self.store().next_due().await {
            Ok(next) => next.unwrap_or(longest),
            Err(error) => {
                complain(&error);
                TROUBLE
            }
        };
        // Rounded up to what a timer can do: else the last millisecond is spent asking.
        self.pause(next.min(longest).max(Duration::from_millis(1))).await;
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            biased;
            () = self.0.closing.cancelled() => {}
            () = self.0.due.notified() => {}
            () = tokio::time::sleep(time) => {}
        }
    }
}

fn complain(error: &Error) {
    tracing::warn!(%error, "tickets that are due cannot be claimed yet");
}
