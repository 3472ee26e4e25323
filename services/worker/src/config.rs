//! What a worker can be told: defaults < TOML < `TURNO_*` < flags.

use clap::Args;
use serde::{Deserialize, Serialize};
use turno::node::config::{NodeConfig, NodeFlags};
use turno_runtime::config::Config;

use crate::pictures::Limits;

/// A worker's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// As for any node.
    pub node: NodeConfig,
    /// `turno.cpu.v1.Images`
    pub images: Limits,
}

impl Config for WorkerConfig {
    fn validate(&self) -> Result<(), String> {
        if self.images.max_pixels == 0 || self.images.max_side == 0 {
            return Err("images: max_pixels and max_side are at least 1".to_owned());
        }
        self.node.validate()
    }
}

/// The same, as flags and `TURNO_*`.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct WorkerFlags {
    #[command(flatten)]
    node: NodeFlags,
    #[command(flatten)]
    images: ImagesFlags,
}

impl WorkerFlags {
    /// The configuration that results; `None` when it was only to be printed, and has been.
    ///
    /// # Errors
    /// A file that cannot be read, or values that make no sense.
    pub fn prepare(&self) -> Result<Option<WorkerConfig>, turno_runtime::Error> {
        turno_runtime::config::prepare(self.node.config.as_deref(), self.node.print_config, self)
    }
}

#[derive(Args, Clone, Debug, Default, Serialize)]
struct ImagesFlags {
    /// The most pixels of a picture, in or out [default: 100000000]
    #[arg(long = "images-max-pixels", env = "TURNO_IMAGES_MAX_PIXELS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pixels: Option<u64>,
}
