//! The I/O node with Turno's built-in I/O services.

mod config;
pub mod fetch;
pub mod http;

pub use config::{IoConfig, IoFlags};

use http::Http;

/// The node, to be run or started.
pub fn node(config: &IoConfig) -> turno::Node {
    let fetch = config.fetch();
    turno::node("io").service(move || Http::new(fetch))
}

/// Serves until the process is asked to end.
///
/// # Errors
/// TLS that cannot be set up, a port that is taken.
pub fn run(config: &IoConfig) -> Result<(), turno::Error> {
    node(config).run_with(&config.node)
}
