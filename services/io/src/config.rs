//! What an I/O node can be told: defaults < TOML < `TURNO_*` < flags.

use clap::Args;
use serde::{Deserialize, Serialize};
use turno::node::config::{NodeConfig, NodeFlags};
use turno_runtime::config::Config;
use turno_runtime::units::{Size, Span};

use crate::fetch::FetchConfig;

/// An I/O node's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IoConfig {
    /// As for any node.
    pub node: NodeConfig,
    /// `turno.io.v1.Http`
    pub http: HttpConfig,
}

/// What `turno.io.v1.Http` may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Whether loopback and private networks may be reached.
    pub allow_private: bool,
    /// The largest response body.
    pub max_body: Size,
    /// For one connection, name and TLS included.
    pub connect_timeout: Span,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { allow_private: false, max_body: Size::mib(64), connect_timeout: Span::seconds(10) }
    }
}

impl IoConfig {
    pub(crate) fn fetch(&self) -> FetchConfig {
        FetchConfig {
            allow_private: self.http.allow_private,
            max_body: self.http.max_body.as_u64(),
            connect_timeout: self.http.connect_timeout.into(),
        }
    }
}

impl Config for IoConfig {
    fn validate(&self) -> Result<(), String> {
        self.node.validate()
    }
}

/// The same, as flags and `TURNO_*`.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct IoFlags {
    #[command(flatten)]
    node: NodeFlags,
    #[command(flatten)]
    http: HttpFlags,
}

impl IoFlags {
    /// The configuration that results; `None` when it was only to be printed, and has been.
    ///
    /// # Errors
    /// A file that cannot be read, or values that make no sense.
    pub fn prepare(&self) -> Result<Option<IoConfig>, turno_runtime::Error> {
        turno_runtime::config::prepare(self.node.config.as_deref(), self.node.print_config, self)
    }
}

#[derive(Args, Clone, Debug, Default, Serialize)]
struct HttpFlags {
    /// Let Http/Fetch reach loopback and private networks
    #[arg(long, env = "TURNO_HTTP_ALLOW_PRIVATE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_private: Option<bool>,
    /// The largest response body of Http/Fetch [default: 64MiB]
    #[arg(long = "http-max-body", env = "TURNO_HTTP_MAX_BODY", value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_body: Option<Size>,
}
