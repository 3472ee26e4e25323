//! A whole mesh for tests: every role in one process, on ports of its own. The kitchen is a service with a method of
//! every kind; `stubs` are the stock tonic clients that call it.

pub mod history;
pub mod kitchen;
mod mesh;
pub mod ordeal;
mod postgres;
mod process;
mod programs;
mod typed;

pub use mesh::{TestMesh, TestNode, eventually, refused_at_once};
pub use postgres::Postgres;
pub use process::{Process, Signal, free_port};
pub use programs::{GatewayProcess, Programs};
pub use typed::{call, stream};

/// The kitchen as stock tonic clients see it.
pub mod stubs {
    #![allow(
        missing_docs,
        clippy::large_futures,
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/stubs/kitchen.v1.rs"));
}
