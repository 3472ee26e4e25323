//! When a process is to end: SIGTERM and Ctrl-C ask it to finish what it has; a second one ends it at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Error, task};

/// A token that is cancelled by the first SIGTERM or SIGINT. The second ends the process with 130.
pub fn on_signal() -> Result<CancellationToken, Error> {
    let system = |source| Error::System { what: "cannot listen for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    task::spawn("runtime.signals", async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked.is_cancelled() {
                tracing::warn!("asked twice: ending at once");
                std::process::exit(130);
            }
            tracing::info!("asked to end: finishing what is in flight");
            asked.cancel();
        }
    });
    Ok(shutdown)
}
