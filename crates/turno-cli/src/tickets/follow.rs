//! Follows a ticket to its end, over gateways that go and come.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use tonic::{Code, Status};
use turno_proto::v1::WatchRequest;

use super::desk::Desk;
use super::patience::{PAUSE, Patience, is_away};
use super::results::at;
use super::ticket::Ticket;
use crate::aside::Aside;
use crate::interrupts::Interrupts;

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
        let again = self.again(name);
        loop {
            let status = match self.listen(name, &mut followed, tell).await? {
                Ok(ended) => return Ok(ended),
                Err(status) => status,
            };
            // It was there.
            if status.code() == Code::NotFound && followed.last.is_some() {
                bail!(
                    "{name} has ended and is forgotten: it was deleted, or its time was over, and how it ended is not kept; or \
                     this gateway has another store"
                );
            }
            if !is_away(&status) {
                return Err(self.refused(&status));
            }
            followed.patience.check(&status, &again)?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The same for somebody who may interrupt it: who has is told how to come back, and this what the process is to end with.
    pub(crate) async fn wait(
        &self,
        name: &str,
        mut tell: impl FnMut(&Ticket) -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<Result<Ticket, ExitCode>> {
        let ended = Interrupts::listen()?.or(Box::pin(self.follow(name, &mut tell))).await;
        // A line that moves is gone before another is written.
        drop(tell);
        match ended {
            Ok(ended) => ended.map(Ok),
            Err(interrupted) => {
                writeln!(Aside, "{}", self.interrupted(name))?;
                Ok(Err(interrupted))
            }
        }
    }

    /// The last word to whoever interrupts that.
    pub(super) fn interrupted(&self, name: &str) -> String {
        format!("interrupted: the ticket goes on, and {}", self.again(name))
    }

    fn again(&self, name: &str) -> String {
        format!("`turno tickets watch {name}{}` with it", at(&self.address))
    }

    /// Until the ticket has ended, which it answers, or the gateway.
    async fn listen(
        &self,
        name: &str,
        followed: &mut Followed,
        tell: &mut Listener<'_>,
    ) -> anyhow::Result<Result<Ticket, Status>> {
        let mut changes = match self.tickets().watch(WatchRequest { name: name.to_owned() }).await {
            Ok(changes) => changes.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        loop {
            let ticket = match followed.patience.next(changes.message()).await {
                Ok(operation) => Ticket::read(operation)?,
                Err(status) => return Ok(Err(status)),
            };
            if followed.last.as_ref() != Some(&ticket) {
                tell(&ticket)?;
            }
            if ticket.has_ended() {
                return Ok(Ok(ticket));
            }
            followed.last = Some(ticket);
        }
    }
}
