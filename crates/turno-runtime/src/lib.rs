//! What every process of the mesh shares: configuration, telemetry, named tasks, shutdown, the retry budget, and the HTTP
//! port for health and metrics. It knows nothing of calls, jobs or nodes: the budget counts, and does not ask what.

pub mod budget;
pub mod config;
pub mod error;
pub mod metrics;
pub mod ops;
pub mod parts;
pub mod process;
pub mod shutdown;
#[cfg(tokio_unstable)]
mod spares;
pub mod task;
pub mod telemetry;
pub mod tls;
pub mod units;

pub use error::Error;
