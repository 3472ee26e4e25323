//! Follows a ticket to its end, over gateways that go and come.

use std::error::Error as _;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tonic::{Code, Status};
use turno_proto::v1::WatchRequest;

use super::desk::Desk;
use super::name;
use super::ticket::Ticket;

/// How long a gateway may be away.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Who hears of every change.
pub(crate) type Listener<'a> = dyn FnMut(&Ticket) -> anyhow::Result<()> + Send + 'a;

/// How far it was followed.
struct Followed {
    last: Option<Ticket>,
    heard: Instant,
}

impl Desk {
    /// Tells of every change until the ticket has ended; answers it with its result.
    pub(crate) async fn follow(&self, name: &str, tell: &mut Listener<'_>) -> anyhow::Result<Ticket> {
        let mut followed = Followed { last: None, heard: Instant::now() };
        loop {
            match self.listen(name, &mut followed, tell).await? {
                Ok(()) => {}
                Err(status) if !is_away(&status) => return Err(self.refused(&status)),
                Err(status) if followed.heard.elapsed() > PATIENCE => {
                    let (why, short) = (status.message(), name::short(name));
                    return Err(anyhow!(
                        "no gateway has answered for {PATIENCE:?} ({why}); the ticket goes on: turno tickets watch {short}"
                    ));
                }
                Err(_) => {}
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
            let ticket = match changes.message().await {
                Ok(Some(operation)) => Ticket::read(operation)?,
                Ok(None) => return Ok(Ok(())),
                Err(status) => return Ok(Err(status)),
            };
            followed.heard = Instant::now();
            if followed.last.as_ref() != Some(&ticket) {
                tell(&ticket)?;
                followed.last = Some(ticket);
            }
        }
    }
}

/// Nobody has answered: the gateway is not available, or the connection broke, of which this end alone knows.
fn is_away(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}
