//! Calls that wait: ten thousand at once, a tenth of a second each, and what each costs while it waits.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use tonic::transport::Channel;
use turno_runtime::task;
use turno_runtime::units::Span;

use crate::bench::SETTLE;
use crate::bench::load::{Ask, Calls, Stub, closed, connect};
use crate::bench::proc::resident_kib;
use crate::bench::progress::Progress;
use crate::bench::report::{Report, Wanted};
use crate::bench::rounds::{Case, Rounds};
use crate::bench::stage::{Part, Stage, on_stage};

/// `turno bench parked`
#[derive(Debug, Args)]
pub(crate) struct ParkedArgs {
    /// Calls in flight
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// How long each waits while their rate is measured
    #[arg(long, default_value = "100ms", value_name = "DURATION")]
    wait: Span,
    /// How long each waits while memory is measured
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    hold: Span,
    /// Connections that they share
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    #[command(flatten)]
    rounds: Rounds,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

/// Resident memory of a waiting call, in KiB.
struct Memory {
    gateway: f64,
    node: f64,
    direct: f64,
}

const PARTS: [Part; 2] = [Part::Io, Part::Direct { threads: 1 }];

pub(crate) async fn run(args: ParkedArgs) -> Result<ExitCode> {
    let progress = Progress::new(2 * args.rounds.count());
    let case = format!("{} calls wait {}", args.in_flight, args.wait);
    let rates = on_stage(&PARTS, async |stage| rates(&args, stage, &progress, &case).await).await?;
    let mut report = Report::new("DIRECT TONIC", args.json);
    let rates = Case { bench: "parked", case, rounds: &rates };
    report.add(&rates.figure("throughput", "calls/s", Calls::per_s), Some(Wanted::RatioAtLeast(0.8)))?;
    report.add(&rates.figure("latency p99", "ms", |calls| calls.percentile_ms(0.99)), None)?;
    let (mut gateway, mut node) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds.rounds {
        progress.step(format!("memory of {} calls that wait: round {round}", args.in_flight));
        let memory = on_stage(&PARTS, async |stage| memory(&args, stage).await).await?;
        gateway.push((memory.gateway, memory.direct));
        node.push((memory.node, memory.direct));
    }
    drop(progress);
    let case = format!("{} calls wait {}", args.in_flight, args.hold);
    let gateway = Case { bench: "parked", case: case.clone(), rounds: &gateway };
    let node = Case { bench: "parked", case, rounds: &node };
    report.add(&gateway.figure("gateway memory a call", "KiB", |&kib| kib), Some(Wanted::AtMost(14.0)))?;
    report.add(&node.figure("node memory a call", "KiB", |&kib| kib), Some(Wanted::AtMost(3.0)))?;
    report.finish()?;
    Ok(ExitCode::SUCCESS)
}

async fn rates(
    args: &ParkedArgs,
    stage: &Stage,
    progress: &Progress,
    case: &str,
) -> Result<Vec<(Calls, Calls)>> {
    let connections = args.connections.into();
    let (ours, theirs) =
        (connect(&stage.gateway, connections).await?, connect(&stage.direct, connections).await?);
    let round = async |channels: &[Channel], time| {
        let ms = u64::try_from(args.wait.0.as_millis())?;
        closed(Stub::callers(channels, args.in_flight as usize, &Ask::Wait { ms }), time, Duration::ZERO)
            .await
    };
    round(&ours, SETTLE).await?;
    round(&theirs, SETTLE).await?;
    let time = args.rounds.time.into();
    args.rounds
        .alternate(progress, case, async || round(&ours, time).await, async || round(&theirs, time).await)
        .await
}

/// In processes that have just started: one that held as many calls before keeps their memory, and would seem to need
/// none.
async fn memory(args: &ParkedArgs, stage: &Stage) -> Result<Memory> {
    let (io, direct) = (stage.node_pids(), stage.direct_pids());
    let ours = grown_kib(args, &stage.gateway, &[stage.gateway_pid(), io[0]]).await?;
    let theirs = grown_kib(args, &stage.direct, &direct).await?;
    let a_call = |kib: f64| kib / f64::from(args.in_flight);
    Ok(Memory { gateway: a_call(ours[0]), node: a_call(ours[1]), direct: a_call(theirs[0]) })
}

/// How much more memory processes hold with all calls in flight than with the same connections idle.
async fn grown_kib(args: &ParkedArgs, address: &str, pids: &[u32]) -> Result<Vec<f64>> {
    let channels = connect(address, args.connections.into()).await?;
    // A few on each connection: code is paged in and threads are there, and no pool has grown.
    closed(Stub::callers(&channels, channels.len() * 4, &Ask::Wait { ms: 1 }), SETTLE, Duration::ZERO)
        .await?;
    let resident = || pids.iter().map(|&pid| resident_kib(pid)).collect::<Result<Vec<_>>>();
    let before = resident()?;
    let (hold, started) = (args.hold.0, Instant::now());
    let ms = u64::try_from(hold.as_millis())?;
    let callers = Stub::callers(&channels, args.in_flight as usize, &Ask::Wait { ms });
    // Each makes one call: the time is over before it is answered.
    let calls = task::spawn("bench.parked", closed(callers, hold / 2, Duration::ZERO));
    tokio::time::sleep(hold.mul_f64(0.9)).await;
    let (full, looked) = (resident()?, started.elapsed());
    let made = calls.await??.count();
    // The last of them had come, hold ago: if that was before the look, all were there then.
    let all_there = started.elapsed().saturating_sub(hold);
    anyhow::ensure!(
        looked < hold && all_there < looked && made == f64::from(args.in_flight),
        "the calls did not all wait at the same time: give --hold more than {}",
        args.hold
    );
    Ok(full.iter().zip(&before).map(|(full, before)| full - before).collect())
}
