//! Small calls beside jobs: what crunches fills all cores, and what only passes by must not notice. The alternative is
//! what one builds by hand: a tonic server that sends its jobs to a rayon pool.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use tonic::transport::Channel;
use turno_runtime::units::Span;

use crate::bench::SETTLE;
use crate::bench::load::{Ask, Calls, Stub, closed, connect};
use crate::bench::progress::Progress;
use crate::bench::report::{Report, Wanted};
use crate::bench::rounds::{Case, Rounds};
use crate::bench::spin::Pace;
use crate::bench::stage::{Part, Stage, cores, on_stage};

/// `turno bench mixed`
#[derive(Debug, Args)]
pub(crate) struct MixedArgs {
    /// Small calls in flight
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pings: u16,
    /// How long a caller rests after each of its small calls
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    pause: Span,
    /// Jobs in flight
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// How long a job takes one core
    #[arg(long, default_value = "10ms", value_name = "DURATION")]
    job: Span,
    /// Connections that all of them share
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    #[command(flatten)]
    rounds: Rounds,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

/// What one party did in one round.
struct Round {
    pings: Calls,
    jobs: Calls,
}

pub(crate) async fn run(args: MixedArgs) -> Result<ExitCode> {
    let loops = Pace::measure().loops(args.job.into());
    let cores = cores();
    let parts = [Part::Io, Part::Worker { slots: cores }, Part::Direct { threads: cores }];
    on_stage(&parts, async |stage| measure(&args, stage, loops).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &MixedArgs, stage: &Stage, loops: u64) -> Result<()> {
    let connections = args.connections.into();
    let (ours, theirs) =
        (connect(&stage.gateway, connections).await?, connect(&stage.direct, connections).await?);
    let progress = Progress::new(args.rounds.count());
    let case = format!("{} pings beside {} jobs of {}", args.pings, args.jobs, args.job);
    round(args, &ours, loops, SETTLE).await?;
    round(args, &theirs, loops, SETTLE).await?;
    let time = args.rounds.time.into();
    let ours = async || round(args, &ours, loops, time).await;
    let theirs = async || round(args, &theirs, loops, time).await;
    let rounds = args.rounds.alternate(&progress, &case, ours, theirs).await?;
    drop(progress);
    let case = Case { bench: "mixed", case, rounds: &rounds };
    let mut report = Report::new("TONIC + RAYON", args.json);
    let p99 = case.figure("pings p99", "ms", |round| round.pings.percentile_ms(0.99));
    report.add(&p99, Some(Wanted::AtMost(5.0)))?;
    report.add(&case.figure("pings p50", "ms", |round| round.pings.percentile_ms(0.5)), None)?;
    report.add(&case.figure("pings", "calls/s", |round| round.pings.per_s()), None)?;
    let jobs = case.figure("jobs", "jobs/s", |round| round.jobs.per_s());
    report.add(&jobs, Some(Wanted::RatioAtLeast(1.0)))?;
    report.finish()
}

async fn round(args: &MixedArgs, channels: &[Channel], loops: u64, time: Duration) -> Result<Round> {
    let pings = Stub::callers(channels, args.pings.into(), &Ask::Echo(Bytes::new()));
    let jobs = Stub::callers(channels, args.jobs.into(), &Ask::Spin { loops });
    let (pings, jobs) =
        tokio::try_join!(closed(pings, time, args.pause.into()), closed(jobs, time, Duration::ZERO))?;
    Ok(Round { pings, jobs })
}
