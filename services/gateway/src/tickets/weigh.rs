//! What is to be thought of a node that was lost with a ticket. The second one ends the ticket, and only a person takes it up
//! again; so before that is believed, nodes whose links have only broken have time to come again.

use turno_store::{Attempt, Error, TicketId};

use crate::link::heard::Hearing;
use crate::tickets::Tickets;
use crate::tickets::attempt::is_passing;
use crate::tickets::losses::{self, Losses};
use crate::tickets::patience::Patience;
use crate::tickets::verdict::{Death, Ended, is_last};
use crate::trouble::COMES_AGAIN;

impl Tickets {
    /// Looks at what earlier attempts came to, and at who lives. A cancel does not wait for that, nor does a gateway that ends.
    pub(super) async fn weigh(
        &self,
        attempt: Attempt,
        failures: u32,
        death: Death,
        hearing: &Hearing,
    ) -> Ended {
        // A loss is a failure too: where there is none yet, there is nothing to be read.
        let before = if failures > 0 { self.losses_before(attempt).await } else { Losses::default() };
        let router = &self.0.around.router;
        let lives = |node: &str| router.nodes.lives(router.trouble.node_of(node));
        let others = || before.others(&death.node, lives);
        // Not as it was when the node was lost: others come again too, or are answered.
        let is_quarantined = || router.trouble.is_quarantined(death.key);
        let may_go_on = || lives(&death.node) || !is_last(others(), is_quarantined());
        let is_weighed = tokio::select! {
            biased;
            () = router.nodes.come_until(may_go_on, COMES_AGAIN) => true,
            () = hearing.stop.cancelled() => false,
            () = hearing.recall.cancelled() => false,
        };
        if lives(&death.node) {
            router.trouble.lives(&death.node);
            return Ended::Lost(losses::unanswered(death.failure, attempt.ticket));
        }
        // The others had no time to come again: who runs it next finds all of them on record.
        let (others, is_quarantined) = if is_weighed { (others(), is_quarantined()) } else { (0, false) };
        let failure = losses::marked(death.failure, attempt.ticket, &death.node);
        Ended::Died(Death { failure, others, is_quarantined, ..death })
    }

    /// What its attempts on record say, of whichever gateway.
    async fn losses_before(&self, attempt: Attempt) -> Losses {
        asked(attempt.ticket, self.patience(), || self.attempts_of(attempt)).await
    }

    async fn attempts_of(&self, attempt: Attempt) -> Result<Losses, Error> {
        let _place = self.0.looks_back.acquire().await.expect("it is never closed");
        let attempts = self.store().attempts(attempt.ticket).await?;
        Ok(Losses::of(attempt.ticket, &attempts))
    }
}

/// Asks the store until it can say. While it cannot, the attempt is held.
async fn asked<A>(ticket: TicketId, mut patience: Patience<'_>, ask: impl Fn() -> A) -> Losses
where
    A: Future<Output = Result<Losses, Error>>,
{
    loop {
        match ask().await {
            Ok(losses) => return losses,
            Err(error) if is_passing(&error) => {
                tracing::warn!(%ticket, %error, "what it came to before cannot be read yet");
            }
            // It is gone, or what is stored of it is damaged. Nothing is held against it that nobody can read: its retries
            // bound what it may still do.
            Err(error) => {
                tracing::error!(%ticket, %error, "what it came to before cannot be read");
                return Losses::default();
            }
        }
        patience.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio_util::sync::CancellationToken;
    use turno_store::{Error, TicketId};

    use super::asked;
    use crate::tickets::losses::Losses;
    use crate::tickets::patience::Patience;

    #[tokio::test]
    async fn a_gateway_that_begins_to_end_asks_its_store_at_once() {
        let (closing, is_back) = (CancellationToken::new(), Cell::new(false));
        let ask =
            || ready(if is_back.get() { Ok(Losses::default()) } else { Err(Error::Away(String::new())) });
        let mut asking = pin!(asked(TicketId::new(), Patience::new(&closing, false), ask));
        assert!(asking.as_mut().now_or_never().is_none(), "the store is away");
        is_back.set(true);
        closing.cancel();
        assert!(asking.now_or_never().is_some(), "and nobody waits for a pause to be over");
    }
}
