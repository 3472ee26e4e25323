//! Overload: far more calls than can be served, by an open loop. Of a server that stands it as many are served as
//! before and as fast; the others are told at once; and when it is over, it is over.

mod doubts;
mod figures;
mod knee;
mod summary;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use tonic::transport::Channel;
use turno_runtime::units::Span;

use crate::bench::SETTLE;
use crate::bench::load::{Ask, Calls, Offer, Phase, Sample, Stub, closed, connect, offer};
use crate::bench::overload::doubts::doubts;
use crate::bench::overload::figures::Overload;
use crate::bench::overload::summary::{Summary, While, back_to_normal_s};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::spin::Pace;
use crate::bench::stage::{Part, Stage, cores, on_stage};

const HOW: &str = "\
The knee is found first, in the same run: a closed loop says how many calls a second are served at most; an open loop \
is tried at 40 to 100 % of that; the knee is the highest of these rates at which the p99 stays within five times the \
latency of a call alone, and no more than one call in a thousand is turned away.

Then the knee's rate is offered (its goodput and p99 are the reference), `--times` as much for `--time`, and the knee's \
rate again until all is normal: a second without refusals whose p99 is at most twice the knee's. Calls arrive at random \
(Poisson) and their latency counts from when they were due, so a slow server does not slow the load down. Goodput is what \
was served, by when its answer came. Should the generator itself fall behind, that is said: such figures are worth nothing.";

/// `turno bench overload`
#[derive(Debug, Args)]
#[command(after_long_help = HOW)]
pub(crate) struct OverloadArgs {
    /// What is called
    #[arg(long, value_enum, value_delimiter = ',', default_value = "jobs,awaited", value_name = "CASE,…")]
    case: Vec<Overloaded>,
    /// How long the overload lasts
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    time: Span,
    /// How many times the knee's rate
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    times: f64,
    /// How long each rate is tried when the knee is looked for
    #[arg(long, default_value = "3s", value_name = "DURATION")]
    step: Span,
    /// What each job is given, from when it is sent
    #[arg(long, default_value = "250ms", value_name = "DURATION")]
    deadline: Span,
    /// Connections that the calls share
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Rounds, each with fresh processes and a knee of its own
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Overloaded {
    /// Jobs of 5 ms on a worker with a slot a core; each call has a deadline
    Jobs,
    /// An `async fn` that waits 5 ms and then works 1 ms, on one I/O node; no deadlines
    Awaited,
}

const JOB: Duration = Duration::from_millis(5);
const WAITS_MS: u64 = 5;
const WORKS: Duration = Duration::from_millis(1);
/// Enough to keep every core busy and no queue that matters.
const JOBS_AT_MOST: usize = 16;
const AWAITED_AT_MOST: usize = 64;

/// How long the knee's rate is offered before and after.
const BEFORE: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(10);
/// Of `BEFORE`, what is not counted: limits learn.
const LEARNING_S: f64 = 2.0;

/// What is called, by whom.
struct Load {
    callers: Vec<Stub>,
    at_most: usize,
    deadline: Option<Duration>,
}

/// The knee's rate, and what a call alone takes.
struct Knee {
    per_s: f64,
    alone_ms: f64,
}

pub(crate) async fn run(args: OverloadArgs) -> Result<ExitCode> {
    anyhow::ensure!(args.times >= 1.0 && args.times.is_finite(), "--times: 1 or more");
    let pace = Pace::measure();
    // Of each round: a closed loop, the steps, the overload itself.
    let progress = Progress::new(args.case.len() * usize::from(args.rounds) * (2 + knee::SHARES.len()));
    let mut report = Report::new("AT THE KNEE", args.json);
    for &case in &args.case {
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            let measure = async |stage: &Stage| round(&args, case, stage, pace, &progress).await;
            rounds.push(on_stage(&[case.part()], measure).await?);
        }
        figures::add(&mut report, &case.name(&args), &rounds)?;
    }
    drop(progress);
    report.finish()?;
    Ok(ExitCode::SUCCESS)
}

impl Overloaded {
    fn part(self) -> Part {
        match self {
            Self::Jobs => Part::Worker { slots: cores() },
            Self::Awaited => Part::Io,
        }
    }

    fn name(self, args: &OverloadArgs) -> String {
        match self {
            Self::Jobs => format!("jobs of {}, deadline {}", Span(JOB), args.deadline),
            Self::Awaited => format!("async fn: waits {WAITS_MS}ms, works {}", Span(WORKS)),
        }
    }

    fn load(self, args: &OverloadArgs, channels: &[Channel], pace: Pace) -> Load {
        let (ask, at_most, deadline) = match self {
            Self::Jobs => (Ask::Spin { loops: pace.loops(JOB) }, JOBS_AT_MOST, Some(args.deadline.0)),
            Self::Awaited => {
                (Ask::SpinAwaited { wait_ms: WAITS_MS, loops: pace.loops(WORKS) }, AWAITED_AT_MOST, None)
            }
        };
        let callers = Stub::callers(channels, channels.len(), &ask);
        Load {
            callers: callers.into_iter().map(|stub| stub.with_deadline(deadline)).collect(),
            at_most,
            deadline,
        }
    }
}

impl Load {
    async fn offer(&self, phases: Vec<Phase>, seed: u64) -> Result<Vec<Sample>> {
        offer(&self.callers, Offer { phases, deadline: self.deadline, seed }).await
    }

    /// So many at once, each without a deadline, for a while.
    async fn closed(&self, in_flight: usize, time: Duration) -> Result<Calls> {
        let callers = self.callers.iter().cycle().take(in_flight).cloned();
        closed(callers.map(|stub| stub.with_deadline(None)).collect(), time, Duration::ZERO).await
    }

    async fn knee(&self, step: Duration, name: &str, progress: &Progress) -> Result<Knee> {
        progress.step(format!("{name}: how many at most"));
        self.closed(self.at_most, SETTLE).await?;
        let alone_ms = self.closed(1, Duration::from_secs(1)).await?.percentile_ms(0.5);
        let most_per_s = self.closed(self.at_most, step).await?.per_s();
        let mut steps = Vec::new();
        for (share, seed) in knee::SHARES.into_iter().zip(1..) {
            let per_s = most_per_s * share;
            progress.step(format!("{name}: {per_s:.0} calls/s, looking for the knee"));
            let samples = self.offer(vec![Phase { per_s, time: step }], seed).await?;
            let whole = While { from_s: 0.0, to_s: step.as_secs_f64() };
            steps.push((per_s, Summary::of(&samples, whole)));
        }
        let per_s = knee::knee(&steps, knee::most_p99_ms(alone_ms)).with_context(|| {
            format!(
                "{name}: no knee: alone a call takes {alone_ms:.2} ms, and even at {:.0} calls/s the p99 is {:.2} ms; \
                 is something else running on this machine?",
                steps[0].0, steps[0].1.admitted_p99_ms
            )
        })?;
        Ok(Knee { per_s, alone_ms })
    }
}

async fn round(
    args: &OverloadArgs,
    case: Overloaded,
    stage: &Stage,
    pace: Pace,
    progress: &Progress,
) -> Result<Overload> {
    let name = case.name(args);
    let load = case.load(args, &connect(&stage.gateway, args.connections.into()).await?, pace);
    let Knee { per_s: knee_per_s, alone_ms } = load.knee(args.step.into(), &name, progress).await?;
    progress.step(format!("{name}: {knee_per_s:.0} calls/s, then {} times as many", args.times));
    let at = |times: f64, time| Phase { per_s: knee_per_s * times, time };
    let phases = vec![at(1.0, BEFORE), at(args.times, args.time.into()), at(1.0, AFTER)];
    let samples = load.offer(phases, 0).await?;
    let begins_s = BEFORE.as_secs_f64();
    let ends_s = begins_s + args.time.0.as_secs_f64();
    let before = Summary::of(&samples, While { from_s: LEARNING_S, to_s: begins_s });
    let during = Summary::of(&samples, While { from_s: begins_s, to_s: ends_s });
    let after = While { from_s: ends_s, to_s: ends_s + AFTER.as_secs_f64() };
    let back_s = back_to_normal_s(&samples, after, 2.0 * before.admitted_p99_ms);
    let round = Overload { knee_per_s, alone_ms, before, during, back_s };
    for doubt in doubts(&round, &samples) {
        progress.note(&format!("{name}: {doubt}"));
    }
    Ok(round)
}
