//! `turno bench`: measures with the alternative in the same run, in alternating rounds, and quotes medians.

mod client;
mod decisions;
mod echo;
mod figure;
mod jobs;
mod load;
mod map;
mod mixed;
mod overload;
mod parked;
mod parties;
mod proc;
mod progress;
mod report;
mod rounds;
mod schedule;
mod spin;
mod stage;
mod stats;
mod tickets;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cli::in_runtime;

/// `turno bench`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

const AFTER_HELP: &str = "\
Each bench starts its own processes on free ports of loopback: a gateway, nodes, and the alternative. All share this \
machine's cores with the client that calls them, so a figure means something only beside the alternative's in the same \
run, and on a machine that does nothing else. Progress goes to standard error, figures to standard output; --json prints \
one object a line: bench, case, metric, value, unit, reference, ratio, rounds.";

#[derive(Debug, Subcommand)]
enum Bench {
    /// What one decision of the job scheduler costs, by workers and by jobs that wait
    Decisions(decisions::DecisionsArgs),
    /// Unary echo through the gateway, against the same tonic service called directly
    Echo(echo::EchoArgs),
    /// turno::Client through the gateway, against tonic called directly
    Client(client::ClientArgs),
    /// CPU-bound jobs through the gateway, against a bare rayon loop
    Jobs(jobs::JobsArgs),
    /// A map over many items, against a bare rayon loop; and with failures, and a worker killed on the way
    Map(map::MapArgs),
    /// Small calls beside jobs that fill all cores, against tonic with a rayon pool
    Mixed(mixed::MixedArgs),
    /// Thousands of calls that wait: their rate and the memory of each, against tonic called directly
    Parked(parked::ParkedArgs),
    /// Ten times more calls than can be served, sent whether or not others are answered
    Overload(overload::OverloadArgs),
    /// Calls that wait together on one I/O node; jobs that hold all slots while small calls go on
    Schedule(schedule::ScheduleArgs),
    /// Tickets: acknowledged once they are on disk, and run to their end, with every change fsynced
    Tickets(tickets::TicketsArgs),
    /// The node that answers the bench
    #[command(hide = true)]
    Node(parties::NodeArgs),
    /// The plain tonic server that it is compared with
    #[command(hide = true)]
    Direct(parties::DirectArgs),
    /// The bare loop that it is compared with
    #[command(hide = true)]
    RayonLoop(parties::LoopArgs),
}

/// Before anything is measured: connections, pools and what is learned of the methods are there afterwards.
const SETTLE: Duration = Duration::from_millis(500);

/// Runs a bench, or one of the parties that it starts.
pub(crate) fn run(args: BenchArgs) -> Result<ExitCode> {
    match args.bench {
        Bench::Decisions(args) => decisions::run(args),
        Bench::Echo(args) => in_runtime(echo::run(args)),
        Bench::Client(args) => in_runtime(client::run(args)),
        Bench::Jobs(args) => in_runtime(jobs::run(args)),
        Bench::Map(args) => in_runtime(map::run(args)),
        Bench::Mixed(args) => in_runtime(mixed::run(args)),
        Bench::Parked(args) => in_runtime(parked::run(args)),
        Bench::Overload(args) => in_runtime(overload::run(args)),
        Bench::Schedule(args) => in_runtime(schedule::run(args)),
        Bench::Tickets(args) => in_runtime(tickets::run(args)),
        Bench::Node(args) => parties::node(&args),
        Bench::Direct(args) => in_runtime(parties::direct(args)),
        Bench::RayonLoop(args) => parties::rayon_loop(&args),
    }
}
