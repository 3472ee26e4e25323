//! Follows a ticket to its end, over gateways that go and come.

use tonic::Status;
use turno_proto::v1::WatchRequest;

use super::desk::Desk;
use super::name;
use super::patience::{PAUSE, Patience, is_away};
use super::ticket::Ticket;

/// Who hears of every change.
pub(crate) type Listener<'a> = dyn FnMut(&Ticket) -> anyhow::Result<()> + Send + 'a;

/// How far it was followed.
struct Followed {
    last: Option<Ticket>,
    patience: Patience,
}

impl Desk {
    /// Tells of every change until the ticket has ended; answers it with its result.
    pub(crate) async fn follow(&self, name: &str, tell: &mut Listener<'_>) -> anyhow::Result<Ticket> {
        let mut followed = Followed { last: None, patience: Patience::new() };
        let again = format!("turno tickets watch {}", name::short(name));
        loop {
            match self.listen(name, &mut followed, tell).await? {
                Ok(()) => {}
                Err(status) if !is_away(&status) => return Err(self.refused(&status)),
                Err(status) => followed.patience.check(&status, &again)?,
            }
            if followed.last.as_ref().is_some_and(Ticket::has_ended) {
                return self.get(name).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Until the ticket has ended, or the gateway.
    async fn listen(
        &self,
        name: &str,
        followed: &mut Followed,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<Result<(), Status>> {
        let mut changes = match self.tickets().watch(WatchRequest { name: name.to_owned() }).await {
            Ok(changes) => changes.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        loop {
            let change = changes.message().await;
            // It was there until now, however long it had nothing to say.
            followed.patience.heard();
            let ticket = match change {
                Ok(Some(operation)) => Ticket::read(operation)?,
                Ok(None) => return Ok(Ok(())),
                Err(status) => return Ok(Err(status)),
            };
            if followed.last.as_ref() != Some(&ticket) {
                tell(&ticket)?;
                followed.last = Some(ticket);
            }
        }
    }
}
