//! Who answers a bench, each a process of its own: the service as a node of Turno, the same by stock tonic, and the bare
//! loop that does its jobs without any network.

mod direct;
mod node;
mod rayon_loop;

pub(crate) use direct::{DirectArgs, direct};
pub(crate) use node::{NodeArgs, generated, node};
pub(crate) use rayon_loop::{LoopArgs, rayon_loop, run_rayon_loop};

/// Stock tonic code for the service.
pub(crate) mod stubs {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::large_futures,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/stubs/turno.bench.v1.rs"));
}
