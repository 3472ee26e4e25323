//! Ctrl-C and SIGTERM, for a command that has a last word to say.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use turno_runtime::task;

/// The first of them is told. The second ends the process wherever it is: in a write that nobody reads it may be for ever.
pub(crate) struct Interrupts(oneshot::Receiver<u8>);

impl Interrupts {
    /// From here on the first one ends nothing by itself.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let (tell, first) = oneshot::channel();
        task::spawn("cli.interrupts", async move {
            // Whoever has nothing left to say has ended.
            let _heard = tell.send(next(&mut interrupt, &mut terminate).await);
            std::process::exit(next(&mut interrupt, &mut terminate).await.into());
        });
        Ok(Self(first))
    }

    /// What `work` comes to; or, if it is interrupted, what the process is to end with.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ExitCode> {
        tokio::select! {
            biased;
            Ok(code) = &mut self.0 => Err(code.into()),
            done = work => Ok(done),
        }
    }
}

/// Between two messages: a loop that finds each next one there already would never let an interrupt be heard.
pub(crate) async fn heed() {
    tokio::task::yield_now().await;
}

/// The next one, as a shell tells of a process that it has ended.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> u8 {
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}
