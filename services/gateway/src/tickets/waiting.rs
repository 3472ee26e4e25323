//! Waiting for a ticket, and watching it. A change that happens here is heard of at once, another gateway's by its word or
//! by asking from time to time.

use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::Instant;
use tonic::Status;
use turno_proto::google::longrunning::Operation;
use turno_store::TicketId;

use crate::admission::Permit;
use crate::tickets::Tickets;
use crate::tickets::board::Watcher;
use crate::tickets::listing::View;

const ASK_EVERY: Duration = Duration::from_secs(30);
const ASK_EVERY_SHARED: Duration = Duration::from_secs(1);

/// A watch that is under way.
struct Watch {
    tickets: Tickets,
    ticket: TicketId,
    watcher: Watcher,
    last: Option<Operation>,
    _permit: Permit,
}

impl Tickets {
    /// Answers when the ticket has ended, or how it stands when the time is over or the gateway closes.
    pub(crate) async fn wait(
        &self,
        ticket: TicketId,
        longest: Duration,
        view: View,
    ) -> Result<Operation, Status> {
        let _permit = self.0.around.admission.admit()?;
        let mut watcher = self.0.board.watch(ticket);
        let until = Instant::now() + longest;
        if self.0.board.runs(ticket) {
            // It has not ended, and nobody needs to read that.
            self.change(&mut watcher, until).await;
        }
        loop {
            let now = self.seen(ticket, view).await?;
            if now.done || self.0.closing.is_cancelled() || Instant::now() >= until {
                return Ok(now);
            }
            self.change(&mut watcher, until).await;
        }
    }

    /// The ticket now, and at every change, until it has ended.
    pub(crate) async fn watch(
        &self,
        ticket: TicketId,
    ) -> Result<impl Stream<Item = Result<Operation, Status>> + Send + use<>, Status> {
        let permit = self.0.around.admission.admit()?;
        let watcher = self.0.board.watch(ticket);
        let first = self.current(ticket).await?;
        let watch = Watch { tickets: self.clone(), ticket, watcher, last: None, _permit: permit };
        Ok(stream::unfold((watch, Some(first)), async |(mut watch, first)| {
            let next = match first {
                Some(first) => Ok(first),
                None => watch.next().await?,
            };
            watch.last = next.as_ref().ok().cloned();
            Some((next, (watch, None)))
        }))
    }

    /// Until the ticket may have changed, or it is time to ask, or to end.
    pub(super) async fn change(&self, watcher: &mut Watcher, until: Instant) {
        let ask_every = if self.0.around.is_shared { ASK_EVERY_SHARED } else { ASK_EVERY };
        tokio::select! {
            biased;
            () = watcher.changed() => {}
            () = self.0.closing.cancelled() => {}
            () = tokio::time::sleep_until(until.min(Instant::now() + ask_every)) => {}
        }
    }
}

impl Watch {
    /// What differs from the last; `None` when that was the end, or an error.
    async fn next(&mut self) -> Option<Result<Operation, Status>> {
        let last = self.last.as_ref().filter(|last| !last.done)?;
        loop {
            self.tickets.change(&mut self.watcher, Instant::now() + ASK_EVERY).await;
            if self.tickets.0.closing.is_cancelled() {
                return Some(Err(Status::unavailable("the gateway is ending: watch again when it is back")));
            }
            match self.tickets.current(self.ticket).await {
                Ok(now) if now == *last => {}
                now => return Some(now),
            }
        }
    }
}
