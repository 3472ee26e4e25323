//! Unary echo: client → gateway → I/O node, against client → tonic server, in alternating rounds of one run.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use tonic::transport::Channel;

pub(crate) use crate::bench::load::connect;

use crate::bench::SETTLE;
use crate::bench::load::{Ask, Calls, Stub, closed};
use crate::bench::proc::cpu_s;
use crate::bench::progress::Progress;
use crate::bench::report::{Report, Wanted};
use crate::bench::rounds::{Case, Rounds};
use crate::bench::stage::{Part, Stage, cores, on_stage};

/// `turno bench echo`
#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Calls in flight, a case for each
    #[arg(long, value_delimiter = ',', default_value = "64,256,1", value_name = "N,…", value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: Vec<u16>,
    /// Connections that they share
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Bytes of the payload
    #[arg(long, default_value_t = 100, value_name = "N")]
    bytes: usize,
    #[command(flatten)]
    rounds: Rounds,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

/// What is called, and whose CPU time it costs.
struct Party {
    channels: Vec<Channel>,
    pids: Vec<u32>,
}

/// What one party did in one round.
struct Round {
    calls: Calls,
    cpu_us_per_call: f64,
}

pub(crate) async fn run(args: EchoArgs) -> Result<ExitCode> {
    let parts = [Part::Io, Part::Direct { threads: cores() }];
    on_stage(&parts, async |stage| measure(&args, stage).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &EchoArgs, stage: &Stage) -> Result<()> {
    let ours =
        Party { channels: connect(&stage.gateway, args.connections.into()).await?, pids: stage.our_pids() };
    let theirs =
        Party { channels: connect(&stage.direct, args.connections.into()).await?, pids: stage.direct_pids() };
    let progress = Progress::new(args.in_flight.len() * args.rounds.count());
    let mut report = Report::new("DIRECT TONIC", args.json);
    let ask = Ask::Echo(Bytes::from(vec![7; args.bytes]));
    for &in_flight in &args.in_flight {
        let case = format!("unary {} B, {in_flight} in flight", args.bytes);
        ours.round(&ask, in_flight, SETTLE).await?;
        theirs.round(&ask, in_flight, SETTLE).await?;
        let time = args.rounds.time.into();
        let ours = async || ours.round(&ask, in_flight, time).await;
        let theirs = async || theirs.round(&ask, in_flight, time).await;
        let rounds = args.rounds.alternate(&progress, &case, ours, theirs).await?;
        add(&mut report, &Case { bench: "echo", case, rounds: &rounds }, in_flight)?;
    }
    drop(progress);
    report.finish()
}

impl Party {
    async fn round(&self, ask: &Ask, in_flight: u16, time: Duration) -> Result<Round> {
        let callers = Stub::callers(&self.channels, in_flight.into(), ask);
        let before = cpu_s(&self.pids)?;
        let calls = closed(callers, time, Duration::ZERO).await?;
        let cpu_us_per_call = (cpu_s(&self.pids)? - before) * 1e6 / calls.count();
        Ok(Round { calls, cpu_us_per_call })
    }
}

/// One at a time, latency is what counts; with many in flight, it is how many go through, and at what cost.
fn add(report: &mut Report, case: &Case<'_, Round>, in_flight: u16) -> Result<()> {
    let many = |wanted| (in_flight > 1).then_some(wanted);
    let alone = |wanted| (in_flight == 1).then_some(wanted);
    let throughput = case.figure("throughput", "calls/s", |round| round.calls.per_s());
    report.add(&throughput, many(Wanted::RatioAtLeast(0.70)))?;
    let latency = case.figure("latency p50", "ms", |round| round.calls.percentile_ms(0.5));
    report.add(&latency, alone(Wanted::RatioAtMost(1.7)))?;
    report.add(&case.figure("latency p99", "ms", |round| round.calls.percentile_ms(0.99)), None)?;
    let cpu = case.figure("server CPU a call", "µs", |round| round.cpu_us_per_call);
    report.add(&cpu, many(Wanted::AtMost(18.0)))
}
