//! What a node can be told: defaults < TOML < `TURNO_*` < flags.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use turno_runtime::config::Config;
use turno_runtime::telemetry::{TelemetryConfig, TelemetryFlags};
use turno_runtime::units::Span;

use crate::node::token::Token;

/// A node's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// "host:port" of the gateway's port for nodes; every address that the name resolves to is dialled. Several
    /// gateways of different names stand with commas between them.
    pub gateway: String,
    /// The join token, where the gateway asks for one.
    #[serde(skip_serializing_if = "Token::is_unset")]
    pub token: Token,
    /// Which of its methods this node serves.
    pub role: Role,
    /// Threads for jobs; one a core when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// How long a node that was asked to end may finish what it has.
    pub drain: Span,
    /// How long an `async fn` may hold its thread before it is named, and kept away from the others.
    pub blocking_after: Span,
    /// Where health and metrics are served over HTTP; nowhere when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// Logs and tokio-console.
    pub telemetry: TelemetryConfig,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            gateway: "127.0.0.1:7071".to_owned(),
            token: Token::default(),
            role: Role::Both,
            slots: None,
            drain: Span::seconds(30),
            blocking_after: Span(Duration::from_millis(100)),
            metrics: None,
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Config for NodeConfig {
    fn validate(&self) -> Result<(), String> {
        if self.slots.is_some_and(|slots| slots == 0 || slots > 1024) {
            return Err("slots: 1 to 1024".to_owned());
        }
        if self.drain > Span::seconds(30 * 24 * 3600) {
            return Err("drain: at most 30 days".to_owned());
        }
        if self.blocking_after < Span(Duration::from_millis(10)) || self.blocking_after > Span::seconds(3600)
        {
            return Err("blocking_after: 10ms to 1h".to_owned());
        }
        match self.gateways().find(|gateway| !is_host_and_port(gateway)) {
            Some(wrong) => Err(format!("gateway: expected HOST:PORT, found {wrong:?}")),
            None => Ok(()),
        }
    }
}

impl NodeConfig {
    /// The names in `gateway`, one by one.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &str> {
        self.gateway.split(',').map(str::trim)
    }
}

fn is_host_and_port(gateway: &str) -> bool {
    matches!(gateway.rsplit_once(':'), Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok())
}

/// The same, as flags and `TURNO_*`.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct NodeFlags {
    /// Read settings from this TOML file
    #[arg(long, env = "TURNO_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the configuration that results, and end
    #[arg(long)]
    #[serde(skip)]
    pub print_config: bool,
    /// HOST:PORT of the gateway's port for nodes; several with commas [default: 127.0.0.1:7071]
    #[arg(long, env = "TURNO_GATEWAY", value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    /// The join token that the gateway asks for
    #[arg(long, env = "TURNO_TOKEN", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Which methods to serve: `async fn`s, plain `fn`s, or both [default: both]
    #[arg(long, env = "TURNO_ROLE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    /// Threads for jobs [default: one a core]
    #[arg(long, env = "TURNO_SLOTS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
    /// How long to finish what is in flight when asked to end [default: 30s]
    #[arg(long, env = "TURNO_DRAIN", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Span>,
    /// How long an `async fn` may hold its thread before it is named as blocking [default: 100ms]
    #[arg(long, env = "TURNO_BLOCKING_AFTER", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    blocking_after: Option<Span>,
    /// Serve health and metrics over HTTP on this address; nowhere unless told
    #[arg(long, env = "TURNO_METRICS", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    telemetry: TelemetryFlags,
}

/// Which of its methods a node serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `async fn`s.
    Io,
    /// Plain `fn`s.
    Worker,
    /// All of them.
    Both,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "io",
            Self::Worker => "worker",
            Self::Both => "both",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::NodeConfig;
    use turno_runtime::config::{Config as _, print};

    #[test]
    fn the_token_is_never_printed() {
        let token = "open-sesame".to_owned().try_into().unwrap();
        let config = NodeConfig { token, ..NodeConfig::default() };
        assert!(!print(&config).unwrap().contains("sesame"));
        assert!(!format!("{config:?}").contains("sesame"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let mut config = NodeConfig { gateway: "nowhere".to_owned(), ..NodeConfig::default() };
        assert!(config.validate().unwrap_err().starts_with("gateway: expected HOST:PORT"));
        config = NodeConfig { gateway: "one:7071, other:7071".to_owned(), ..NodeConfig::default() };
        config.validate().unwrap();
        assert_eq!(config.gateways().collect::<Vec<_>>(), ["one:7071", "other:7071"]);
        config = NodeConfig { gateway: "one:7071,".to_owned(), ..NodeConfig::default() };
        assert!(config.validate().unwrap_err().contains("found \"\""));
        config = NodeConfig { slots: Some(0), ..NodeConfig::default() };
        assert!(config.validate().unwrap_err().starts_with("slots"));
        let blocking_after = "1ms".parse().unwrap();
        config = NodeConfig { blocking_after, ..NodeConfig::default() };
        assert!(config.validate().unwrap_err().starts_with("blocking_after"));
    }
}
