//! Jobs: the same CPU work through the gateway on one worker, and in a bare rayon loop with as many threads as that
//! worker has slots. What is missing to 1 is what the mesh and its client cost: stock tonic, and `turno::Client`.

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
    #[arg(long, value_delimiter = ',', default_value = "1ms,10ms,10us", value_name = "TIME,…")]
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
    let worker = Part::Worker { slots: args.slots() };
    on_stage(&[worker], async |stage| measure(&args, stage, pace).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &JobsArgs, stage: &Stage, pace: Pace) -> Result<()> {
    let channels = connect(&stage.gateway, args.connections.into()).await?;
    let client = turno::Client::connect(&stage.gateway)?;
    let progress = Progress::new(args.job.len() * args.rounds.count());
    let mut report = Report::new("RAYON LOOP", args.json);
    for &Span(job) in &args.job {
        let (loops, in_flight) = (pace.loops(job), args.in_flight(job));
        let case = format!("jobs of {}, {in_flight} in flight", Span(job));
        let stubs = || Stub::callers(&channels, in_flight.into(), &Ask::Spin { loops });
        let linked = || vec![Linked { client: client.clone(), loops }; in_flight.into()];
        per_s(stubs(), SETTLE).await?;
        per_s(linked(), SETTLE).await?;
        let time = args.rounds.time.into();
        let ours = async || Ok((per_s(stubs(), time).await?, per_s(linked(), time).await?));
        let theirs = async || {
            let loop_per_s = run_rayon_loop(args.slots(), loops, job, time).await?;
            Ok((loop_per_s, loop_per_s))
        };
        let rounds = args.rounds.alternate(&progress, &case, ours, theirs).await?;
        let linked = Case { bench: "jobs", case: format!("{case}, turno::Client"), rounds: &rounds };
        let stock = Case { bench: "jobs", case, rounds: &rounds };
        report.add(&stock.figure("throughput", "jobs/s", |per_s| per_s.0), wanted(job))?;
        report.add(&linked.figure("throughput", "jobs/s", |per_s| per_s.1), wanted(job))?;
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
