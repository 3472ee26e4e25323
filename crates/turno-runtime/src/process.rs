//! A process of the mesh from its main to its end: provider of cryptography, telemetry, runtime, signals.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::ops::{self, Readiness};
#[cfg(tokio_unstable)]
use crate::spares::{self, Spares};
use crate::telemetry::{self, TelemetryConfig};
use crate::{Error, shutdown, tls};

/// What a process has once it is set up.
#[derive(Debug)]
pub struct Process {
    /// Cancelled when the process is asked to end.
    pub shutdown: CancellationToken,
    metrics: Option<(SocketAddr, PrometheusHandle)>,
}

impl Process {
    /// Serves health and metrics, where the process was told to.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn serve_ops(&mut self, readiness: Readiness) -> Result<(), Error> {
        if let Some((address, handle)) = self.metrics.take() {
            ops::serve(address, readiness, Some(handle), self.shutdown.clone()).await?;
        }
        Ok(())
    }
}

/// How many threads a runtime has that nobody blocks: one a core.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Sets the process up, runs `main` to its end, and ends with its result. The async runtime has so many `threads`, of
/// which those sleep that are not needed. With an address for `metrics`, it counts.
///
/// # Errors
/// What cannot be set up, and what `main` answers.
pub fn run<F, E>(
    threads: usize,
    telemetry: &TelemetryConfig,
    metrics: Option<SocketAddr>,
    main: impl FnOnce(Process) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
    E: From<Error>,
{
    tls::install_provider();
    telemetry::init(telemetry)?;
    let metrics =
        metrics.map(|address| telemetry::init_metrics().map(|handle| (address, handle))).transpose()?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("async").worker_threads(threads);
    // It also serves connections: one that has been given something to write waits for what else is ready, and writes
    // many answers at once.
    #[cfg(tokio_unstable)]
    spares::prepare(&mut builder);
    let no_runtime = |source| Error::System { what: "cannot start the async runtime", source };
    let runtime = builder.build().map_err(no_runtime)?;
    // To who watches in tokio-console, a task in which a worker sleeps would look as if it never yielded.
    #[cfg(tokio_unstable)]
    let spares = (threads > 1 && telemetry.console.is_none())
        .then(|| Spares::of(runtime.handle().clone()))
        .transpose()
        .map_err(no_runtime)?;
    let ended = runtime.block_on(async {
        let shutdown = shutdown::on_signal()?;
        main(Process { shutdown, metrics }).await
    });
    #[cfg(tokio_unstable)]
    drop(spares);
    // What still blocks a thread, a user's call or a name that does not resolve, must not hold the process.
    runtime.shutdown_timeout(LAST_PATIENCE);
    ended
}

const LAST_PATIENCE: Duration = Duration::from_secs(1);
