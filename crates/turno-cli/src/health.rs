//! `turno health`: for Docker's health checks, in an image that has no curl.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::listing::print;

/// `turno health`
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Where the process serves health and metrics: its --metrics
    #[arg(env = "TURNO_METRICS", value_name = "HOST:PORT", default_value = "127.0.0.1:7072")]
    address: String,
}

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `/readyz`.
pub(crate) async fn run(args: HealthArgs) -> Result<ExitCode> {
    // A process that listens on every address is asked on this machine's own.
    let address = args.address.trim_start_matches("http://").replace("0.0.0.0:", "127.0.0.1:");
    let status = tokio::time::timeout(PATIENCE, ready(&address)).await;
    let status = status.with_context(|| format!("{address} does not answer"))??;
    print(format!("{address}: {status}"))?;
    Ok(if status.starts_with("200") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One request needs no HTTP client.
async fn ready(address: &str) -> Result<String> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("nobody listens on {address}"))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut response = String::new();
    stream.take(4096).read_to_string(&mut response).await?;
    match response.lines().next().and_then(|line| line.strip_prefix("HTTP/1.1 ")) {
        Some(status) => Ok(status.to_owned()),
        None => bail!("{address} does not speak HTTP"),
    }
}
