//! Ctrl-C and SIGTERM, for a command that has a last word to say.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use turno_runtime::task;

/// The first of them is told. The second ends the process wherever it is: in a write that nobody reads it may be for ever.
pub(crate) struct Interrupts(oneshot::Receiver<u8>);

impl Interrupts {
    /// From here on the first one ends nothing by itself. What the process was started to ignore it goes on to ignore: a
    /// script's `turno map … &` is not meant by Ctrl-C.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        // Whoever cannot know, listens.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let listen = |kind| {
            let signal = (!is_ignored(&status, kind)).then(|| signal(kind)).transpose();
            signal.context("cannot listen for signals")
        };
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
async fn next(interrupt: &mut Option<Signal>, terminate: &mut Option<Signal>) -> u8 {
    tokio::select! {
        () = heard(interrupt) => 130,
        () = heard(terminate) => 143,
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// By `/proc/PID/status`, of which a line is a mask of all signals.
fn is_ignored(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (mask >> (kind.as_raw_value() - 1)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::{SignalKind, is_ignored};

    #[test]
    fn what_is_ignored_is_known() {
        let status =
            "Name:\tturno\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001002\nSigCgt:\t0000000000004000\n";
        assert!(is_ignored(status, SignalKind::interrupt()));
        assert!(!is_ignored(status, SignalKind::terminate()));
        assert!(!is_ignored("", SignalKind::interrupt()));
    }
}
