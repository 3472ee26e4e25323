//! Logs, tokio-console and metrics of a process, set up once in its main.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use console_subscriber::ConsoleLayer;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::{Error, task};

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// A level, which the libraries below do not follow above "info", or tracing's filter as it is: "debug",
    /// "info,turno_gateway=debug".
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
    /// What to log: a level (of libraries such as h2 no more than info), or a filter that is taken as it is, such as
    /// "info,turno_gateway=debug" or "debug,tower=info" [default: info]
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

/// Libraries that would fill a log with their frames, polls and statements. By how their targets begin: tokio's are also
/// `runtime::…`.
const LIBRARIES: [&str; 10] = [
    "console_subscriber",
    "h2",
    "hyper",
    "reqwest",
    "runtime::",
    "rustls",
    "sqlx",
    "tokio",
    "tonic",
    "tower",
];

/// Who asks for a level alone means Turno's, and that of his own methods. Who has more to say means what he says.
fn directives(log: &str) -> String {
    let level = log.trim();
    if level.parse::<LevelFilter>().is_ok_and(|level| level > LevelFilter::INFO) {
        return level.to_owned() + &LIBRARIES.map(|library| format!(",{library}=info")).concat();
    }
    log.to_owned()
}

/// Sets up logs on standard error and, if asked for, tokio-console. Once in a process.
pub fn init(config: &TelemetryConfig) -> Result<(), Error> {
    let filter = EnvFilter::try_new(directives(&config.log))
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

#[cfg(test)]
mod tests {
    use super::directives;
    use tracing::{Level, enabled, subscriber};
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// What is logged at debug: of a gateway, of a user's node, of h2, of tokio.
    fn at_debug(log: &str) -> [bool; 4] {
        let filter = EnvFilter::try_new(directives(log)).unwrap();
        subscriber::with_default(tracing_subscriber::registry().with(filter), || {
            [
                enabled!(target: "turno_gateway::bill", Level::DEBUG),
                enabled!(target: "gallery", Level::DEBUG),
                enabled!(target: "h2::codec::framed_read", Level::DEBUG),
                enabled!(target: "runtime::resource::poll_op", Level::DEBUG),
            ]
        })
    }

    #[test]
    fn a_level_is_not_for_the_libraries_below_and_a_filter_is_as_it_is() {
        for level in ["debug", " DEBUG", "trace"] {
            assert_eq!(at_debug(level), [true, true, false, false], "{level}");
        }
        assert_eq!(at_debug("debug,tower=info"), [true; 4]);
        assert_eq!(at_debug("h2=debug"), [false, false, true, false]);
        for log in ["warn", "error", "off", "info,turno_gateway=debug"] {
            assert_eq!(directives(log), log);
        }
    }
}
