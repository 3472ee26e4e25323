//! A gateway as a program.

use turno_runtime::process::{self, Process};

use crate::config::GatewayConfig;
use crate::error::Error;
use crate::gateway::Gateway;

/// Serves until the process is asked to end.
///
/// # Errors
/// A port that is taken.
pub fn run(config: GatewayConfig) -> Result<(), Error> {
    let threads = config.threads.unwrap_or_else(|| (process::threads() / 2).max(1));
    process::run(threads, &config.telemetry.clone(), config.metrics, |process| serve(config, process))
}

async fn serve(config: GatewayConfig, mut process: Process) -> Result<(), Error> {
    let running = Gateway::bind(config).await?.start(process.shutdown.clone());
    process.serve_ops(running.readiness().clone()).await?;
    tracing::info!(clients = %running.clients(), nodes = %running.nodes(), "gateway is up");
    running.ended().await;
    tracing::info!("gateway has ended");
    Ok(())
}
