//! Keeps this gateway's lease, hears what other gateways do, counts what waits, and forgets what has expired.

use std::time::Duration;

use tokio::time::Instant;
use turno_runtime::metrics::GaugeFamily;
use turno_runtime::task;
use turno_store::{Counts, Error, News};

use crate::tickets::Tickets;
use crate::tickets::lease::{LASTS, Lease};

const RENEW_EVERY: Duration = Duration::from_secs(3);
const TRY_AGAIN: Duration = Duration::from_millis(500);
const EXPIRE_EVERY: Duration = Duration::from_secs(5);
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// At one go.
const MOST_EXPIRED: u32 = 1000;
/// Another gateway's wish to cancel is looked for, in case its word was lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Tickets {
    /// Takes the lease: without one nothing is claimed.
    pub(crate) async fn take_lease(&self) -> Result<(), Error> {
        self.store().renew(self.0.gateway, LASTS).await
    }

    /// Begins with what is due. What this starts ends when the gateway closes.
    pub(crate) fn start(&self) {
        // Others name it so when they take over what it had.
        tracing::info!(gateway = %self.0.gateway.0, "tickets are run");
        let until_closed = |name, keeping: futures_util::future::BoxFuture<'static, ()>| {
            let closing = self.0.closing.clone();
            task::spawn(name, async move { closing.run_until_cancelled(keeping).await });
        };
        until_closed("gateway.tickets.changes", Box::pin(self.clone().hear_changes()));
        until_closed("gateway.tickets.nodes", Box::pin(self.clone().hear_nodes()));
        until_closed("gateway.tickets.expiry", Box::pin(self.clone().expire()));
        until_closed("gateway.tickets.counts", Box::pin(self.clone().count()));
        if self.0.around.is_shared {
            until_closed("gateway.tickets.cancels", Box::pin(self.clone().look_for_cancels()));
        }
        task::spawn("gateway.tickets.runner", self.clone().run_due());
    }

    /// Until the gateway has resigned: what still runs is held until then.
    pub(crate) async fn keep_lease(self) {
        let mut lease = Lease::new(Instant::now());
        let mut pause = RENEW_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            let asked = Instant::now();
            let renewed = self.store().renew(self.0.gateway, LASTS);
            match tokio::time::timeout_at(lease.sure_until().max(asked + TRY_AGAIN), renewed).await {
                Ok(Ok(())) => {
                    pause = RENEW_EVERY;
                    if lease.renew(asked) {
                        tracing::info!("the lease of this gateway is renewed again");
                    }
                }
                Ok(Err(error)) => {
                    pause = TRY_AGAIN;
                    if lease.tell_late() {
                        tracing::warn!(%error, "the lease of this gateway cannot be renewed yet");
                    }
                }
                Err(_) if lease.tell_late() => {
                    tracing::warn!("the store did not renew the lease of this gateway in time");
                }
                Err(_) => {}
            }
            if self.0.around.is_shared && Instant::now() >= lease.sure_until() {
                if lease.tell_over() {
                    tracing::error!(
                        "the lease is over: what runs here may run elsewhere by now, and is given up"
                    );
                }
                self.0.board.abandon_all();
            }
        }
    }

    async fn hear_changes(self) {
        loop {
            let News { ticket, is_due } = self.store().changed().await;
            self.0.board.tell(ticket);
            if is_due {
                self.0.due.notify_one();
            }
            if self.0.board.runs(ticket) {
                self.stop_if_cancelled(ticket).await;
            }
        }
    }

    /// What waits for a node may be claimed when one comes.
    async fn hear_nodes(self) {
        loop {
            let joined = self.0.around.methods.joined();
            self.0.due.notify_one();
            joined.await;
        }
    }

    async fn look_for_cancels(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for ticket in self.0.board.tickets() {
                self.stop_if_cancelled(ticket).await;
            }
        }
    }

    async fn stop_if_cancelled(&self, ticket: turno_store::TicketId) {
        if let Ok(found) = self.store().get(ticket).await
            && found.cancel_requested
        {
            self.0.board.stop(ticket);
        }
    }

    /// What waits and runs in the whole store, whichever gateway took it: the store has the counts at hand.
    async fn count(self) {
        let help = "Tickets of the whole store of which no attempt has begun.";
        let waiting_now = GaugeFamily::new("turno_tickets_waiting", help).with([]);
        let help = "The others of the whole store that have not ended, also those between two attempts.";
        let running_now = GaugeFamily::new("turno_tickets_running", help).with([]);
        loop {
            match self.store().counts().await {
                Ok(Counts { waiting, running, .. }) => {
                    waiting_now.set(waiting as f64);
                    running_now.set(running as f64);
                }
                Err(error) => tracing::debug!(%error, "the store's tickets cannot be counted yet"),
            }
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }

    async fn expire(self) {
        let mut most = MOST_EXPIRED;
        loop {
            match self.store().expire(most).await {
                Ok(expired) if expired >= u64::from(most) => {}
                Ok(_) => {
                    most = MOST_EXPIRED;
                    tokio::time::sleep(EXPIRE_EVERY).await;
                }
                Err(error) => {
                    // The store tells the log itself that it is away.
                    if !matches!(error, Error::Away(_) | Error::Unavailable(_)) {
                        tracing::warn!(%error, most, "tickets whose time is over cannot be forgotten yet");
                    }
                    // They may be so large that fewer are enough for one change.
                    most = (most / 2).max(1);
                    tokio::time::sleep(EXPIRE_EVERY).await;
                }
            }
        }
    }
}
