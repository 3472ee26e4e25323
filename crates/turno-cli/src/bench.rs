//! `turno bench`: measures with the alternative in the same run, in alternating rounds, and quotes medians.

mod client;
mod echo;
mod figure;
mod parties;
mod schedule;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cli::in_runtime;

/// `turno bench`
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Unary echo through the gateway, against the same tonic service called directly
    Echo(echo::EchoArgs),
    /// turno::Client through the gateway, against tonic called directly
    Client(client::ClientArgs),
    /// Calls that wait together on one I/O node; jobs that hold all slots while small calls go on
    Schedule(schedule::ScheduleArgs),
    /// The I/O node that answers the bench
    #[command(hide = true)]
    Node(parties::NodeArgs),
    /// The plain tonic server that it is compared with
    #[command(hide = true)]
    Direct(parties::DirectArgs),
}

/// Runs a bench, or one of the parties that it starts.
pub(crate) fn run(args: BenchArgs) -> Result<ExitCode> {
    match args.bench {
        Bench::Echo(args) => in_runtime(echo::run(args)),
        Bench::Client(args) => in_runtime(client::run(args)),
        Bench::Schedule(args) => in_runtime(schedule::run(args)),
        Bench::Node(args) => parties::node(&args),
        Bench::Direct(args) => in_runtime(parties::direct(args)),
    }
}
