//! Logs, tokio-console and metrics of a process, set up once in its main.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use console_subscriber::ConsoleLayer;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::{Error, task};

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// tracing's filter: "info", "debug", "info,turno_gateway=debug".
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where tokio-console may connect; nowhere when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console: Option<SocketAddr>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), log_format: LogFormat::Human, console: None }
    }
}

/// The same, as flags and `TURNO_*`.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct TelemetryFlags {
    /// What to log: a level, or a filter such as "info,turno_gateway=debug" [default: info]
    #[arg(long, env = "TURNO_LOG", value_name = "FILTER", global = true, help_heading = "Telemetry")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// How log lines look [default: human]
    #[arg(long, env = "TURNO_LOG_FORMAT", value_name = "FORMAT", global = true, help_heading = "Telemetry")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
    /// Serve tokio-console on this address, e.g. 127.0.0.1:6669
    #[arg(long, env = "TURNO_CONSOLE", value_name = "ADDR", global = true, help_heading = "Telemetry")]
    #[serde(skip_serializing_if = "Option::is_none")]
    console: Option<SocketAddr>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Sets up logs on standard error and, if asked for, tokio-console. Once in a process.
pub fn init(config: &TelemetryConfig) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| Error::Config(format!("log: {:?} is no filter: {error}", config.log)))?;
    let logs = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Human => logs.with_filter(filter).boxed(),
        LogFormat::Json => logs.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let console = config.console.map(serve_console).transpose()?;
    tracing_subscriber::registry()
        .with(vec![Some(logs), console].into_iter().flatten().collect::<Vec<_>>())
        .try_init()
        .map_err(|error| Error::Config(format!("telemetry is set up already: {error}")))
}

/// Makes this process count. The handle writes the counts in Prometheus' text format.
pub fn init_metrics() -> Result<PrometheusHandle, Error> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Error::Config(format!("metrics are set up already: {error}")))
}

// A finished task is kept for 5 s: at thousands of calls a second the default hour would fill the memory.
const CONSOLE_RETENTION: Duration = Duration::from_secs(5);

/// Only tasks and their wakers pass: resources would cost ten times as much and name nothing of ours.
fn serve_console(address: SocketAddr) -> Result<Box<dyn Layer<Registry> + Send + Sync>, Error> {
    if !cfg!(tokio_unstable) {
        return Err(Error::ConsoleNotBuilt);
    }
    let (layer, server) = ConsoleLayer::builder().retention(CONSOLE_RETENTION).server_addr(address).build();
    std::thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || run_console(address, server))
        .map_err(|source| Error::System { what: "cannot start the console's thread", source })?;
    let tasks =
        filter_fn(|metadata| metadata.name() == "runtime.spawn" || metadata.target() == "tokio::task::waker");
    task::set_watched();
    Ok(layer.with_filter(tasks).boxed())
}

/// On a runtime of its own, so that a busy process still answers the console.
fn run_console(address: SocketAddr, server: console_subscriber::Server) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "tokio-console: no runtime"),
    };
    if let Err(error) = runtime.block_on(server.serve()) {
        tracing::error!(%address, %error, "tokio-console cannot be served");
    }
}
