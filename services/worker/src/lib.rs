//! The worker with Turno's built-in CPU services.

mod config;
mod images;
pub mod pictures;

pub use config::{WorkerConfig, WorkerFlags};
pub use images::Images;

/// The node, to be run or started.
pub fn node(config: &WorkerConfig) -> turno::Node {
    let limits = config.images.clone();
    turno::node("worker").service(move || Images::new(limits))
}

/// Serves until the process is asked to end.
///
/// # Errors
/// A port that is taken.
pub fn run(config: &WorkerConfig) -> Result<(), turno::Error> {
    node(config).run_with(&config.node)
}
