//! `turno::Client` → gateway → I/O node, against stock tonic → tonic server, in alternating rounds of one run. Both clients
//! live in this process, and their CPU time counts.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use turno::Status;

use crate::bench::SETTLE;
use crate::bench::load::{Ask, Caller, Calls, Stub, closed, connect};
use crate::bench::parties::generated::{EchoRequest, bench};
use crate::bench::proc::cpu_s;
use crate::bench::progress::Progress;
use crate::bench::report::{Report, Wanted};
use crate::bench::rounds::{Case, Rounds};
use crate::bench::stage::{Part, Stage, cores, on_stage};

/// `turno bench client`
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Calls in flight, a case for each
    #[arg(long, value_delimiter = ',', default_value = "64,256", value_name = "N,…", value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: Vec<u16>,
    /// Connections that tonic's calls share; turno::Client has one
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

/// What one party did in one round.
struct Round {
    calls: Calls,
    /// Of client and servers.
    cpu_us_per_call: f64,
}

/// One caller by the client that all share.
#[derive(Clone)]
struct Linked {
    client: turno::Client,
    payload: Bytes,
}

impl Caller for Linked {
    async fn call(&mut self) -> Result<(), Status> {
        let request = EchoRequest { payload: self.payload.clone() };
        let echo = self.client.call::<bench::Echo>(request).await?;
        if echo.payload == self.payload {
            Ok(())
        } else {
            Err(Status::data_loss("the echo came back changed"))
        }
    }
}

pub(crate) async fn run(args: ClientArgs) -> Result<ExitCode> {
    let parts = [Part::Io, Part::Direct { threads: cores() }];
    on_stage(&parts, async |stage| measure(&args, stage).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &ClientArgs, stage: &Stage) -> Result<()> {
    let channels = connect(&stage.direct, args.connections.into()).await?;
    let payload = Bytes::from(vec![7; args.bytes]);
    let linked = Linked { client: turno::Client::connect(&stage.gateway)?, payload: payload.clone() };
    let ask = Ask::Echo(payload);
    let (our_pids, their_pids) = (with_this(stage.our_pids()), with_this(stage.direct_pids()));
    let progress = Progress::new(args.in_flight.len() * args.rounds.count());
    let mut report = Report::new("DIRECT TONIC", args.json);
    for &in_flight in &args.in_flight {
        let case = format!("turno::Client {} B, {in_flight} in flight", args.bytes);
        let ours = async |time| round(vec![linked.clone(); in_flight.into()], &our_pids, time).await;
        let stubs = || Stub::callers(&channels, in_flight.into(), &ask);
        let theirs = async |time| round(stubs(), &their_pids, time).await;
        ours(SETTLE).await?;
        theirs(SETTLE).await?;
        let time = args.rounds.time.into();
        let (ours, theirs) = (async || ours(time).await, async || theirs(time).await);
        let rounds = args.rounds.alternate(&progress, &case, ours, theirs).await?;
        add(&mut report, &Case { bench: "client", case, rounds: &rounds }, in_flight)?;
    }
    drop(progress);
    report.finish()
}

fn with_this(mut servers: Vec<u32>) -> Vec<u32> {
    servers.push(std::process::id());
    servers
}

async fn round<C: Caller>(callers: Vec<C>, pids: &[u32], time: Duration) -> Result<Round> {
    let before = cpu_s(pids)?;
    let calls = closed(callers, time, Duration::ZERO).await?;
    let cpu_us_per_call = (cpu_s(pids)? - before) * 1e6 / calls.count();
    Ok(Round { calls, cpu_us_per_call })
}

fn add(report: &mut Report, case: &Case<'_, Round>, in_flight: u16) -> Result<()> {
    let wanted = match in_flight {
        64 => Some(Wanted::RatioAtLeast(3.0)),
        256 => Some(Wanted::RatioAtLeast(4.0)),
        _ => None,
    };
    report.add(&case.figure("throughput", "calls/s", |round| round.calls.per_s()), wanted)?;
    report.add(&case.figure("latency p99", "ms", |round| round.calls.percentile_ms(0.99)), None)?;
    report.add(&case.figure("CPU a call in all", "µs", |round| round.cpu_us_per_call), None)
}
