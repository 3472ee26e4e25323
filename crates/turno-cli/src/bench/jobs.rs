//! Jobs: the same CPU work through the gateway on one worker, and in a bare rayon loop with as many threads as that
//! worker has slots. What is missing to 1 is what the mesh and its client cost: stock tonic, and `turno::Client`. Beside
//! them what one builds by hand, a tonic server that sends its jobs to a rayon pool: what gRPC alone costs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tonic::Status;
use turno_runtime::units::Span;

use crate::bench::SETTLE;
use crate::bench::load::{Ask, Caller, Stub, closed, connect};
use crate::bench::parties::generated::{SpinRequest, bench};
use crate::bench::parties::run_rayon_loop;
use crate::bench::progress::Progress;
use crate::bench::report::{Report, Wanted};
use crate::bench::rounds::{Case, Rounds};
use crate::bench::spin::Pace;
use crate::bench::stage::{Part, Stage, cores, on_stage};

/// `turno bench jobs`
#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// How long a job takes one core, a case for each
    #[arg(long, value_delimiter = ',', default_value = "1ms,10ms,10us", value_name = "DURATION,…")]
    job: Vec<Span>,
    /// Jobs in flight [default: 8; 256 for jobs below 100 µs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: Option<u16>,
    /// Connections that tonic's calls share; turno::Client has one
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// The worker's slots, and the threads of the loop [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    #[command(flatten)]
    rounds: Rounds,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

impl JobsArgs {
    fn slots(&self) -> u32 {
        self.slots.unwrap_or_else(cores)
    }

    fn in_flight(&self, job: Duration) -> u16 {
        self.in_flight.unwrap_or(if job < Duration::from_micros(100) { 256 } else { 8 })
    }
}

pub(crate) async fn run(args: JobsArgs) -> Result<ExitCode> {
    anyhow::ensure!(args.job.iter().all(|job| !job.0.is_zero()), "--job: a job takes more than no time");
    let pace = Pace::measure();
    let parts = [Part::Worker { slots: args.slots() }, Part::Direct { threads: args.slots() }];
    on_stage(&parts, async |stage| measure(&args, stage, pace).await).await?;
    Ok(ExitCode::SUCCESS)
}

/// Jobs a second: one round's.
struct Round {
    stock: f64,
    linked: f64,
    by_hand: f64,
}

async fn measure(args: &JobsArgs, stage: &Stage, pace: Pace) -> Result<()> {
    let connections = args.connections.into();
    let (gateway, direct) =
        (connect(&stage.gateway, connections).await?, connect(&stage.direct, connections).await?);
    let client = turno::Client::connect(&stage.gateway)?;
    let progress = Progress::new(args.job.len() * args.rounds.count());
    let mut report = Report::new("RAYON LOOP", args.json);
    for &Span(job) in &args.job {
        let (loops, in_flight) = (pace.loops(job), args.in_flight(job));
        let case = format!("jobs of {}, {in_flight} in flight", Span(job));
        let stubs = |channels| Stub::callers(channels, in_flight.into(), &Ask::Spin { loops });
        let linked = || vec![Linked { client: client.clone(), loops }; in_flight.into()];
        let round = async |time| {
            let stock = per_s(stubs(&gateway), time).await?;
            let linked = per_s(linked(), time).await?;
            anyhow::Ok(Round { stock, linked, by_hand: per_s(stubs(&direct), time).await? })
        };
        round(SETTLE).await?;
        let time = args.rounds.time.into();
        let theirs = async || {
            let all = run_rayon_loop(args.slots(), loops, job, time).await?;
            Ok(Round { stock: all, linked: all, by_hand: all })
        };
        let rounds = args.rounds.alternate(&progress, &case, async || round(time).await, theirs).await?;
        let named = |case| Case { bench: "jobs", case, rounds: &rounds };
        let mut add = |case: Case<'_, Round>, of: fn(&Round) -> f64, wanted| {
            report.add(&case.figure("throughput", "jobs/s", of), wanted)
        };
        let by_hand = named(format!("{case}, tonic with a rayon pool"));
        let linked = named(format!("{case}, turno::Client"));
        add(named(case), |round| round.stock, wanted(job))?;
        add(linked, |round| round.linked, wanted(job))?;
        add(by_hand, |round| round.by_hand, None)?;
    }
    drop(progress);
    report.finish()
}

/// One caller by the `turno::Client` that all share.
#[derive(Clone)]
struct Linked {
    client: turno::Client,
    loops: u64,
}

impl Caller for Linked {
    async fn call(&mut self) -> Result<(), Status> {
        self.client.call::<bench::Spin>(SpinRequest { loops: self.loops, fail: false }).await?;
        Ok(())
    }
}

async fn per_s<C: Caller>(callers: Vec<C>, time: Duration) -> Result<f64> {
    Ok(closed(callers, time, Duration::ZERO).await?.per_s())
}

/// The lengths of which something is promised.
fn wanted(job: Duration) -> Option<Wanted> {
    match job.as_micros() {
        10 => Some(Wanted::AtLeast(40_000.0)),
        1_000 => Some(Wanted::RatioAtLeast(0.90)),
        10_000 => Some(Wanted::RatioAtLeast(0.98)),
        _ => None,
    }
}
