//! Tickets: submitted, acknowledged once they are on disk, run, done. Every change is fsynced; what one fsync costs on this
//! disk is measured beside it.

mod disk;
mod party;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::bench::SETTLE;
use crate::bench::figure::{Figure, median};
use crate::bench::load::{Calls, closed, connect};
use crate::bench::progress::Progress;
use crate::bench::report::{Report, Wanted};
use crate::bench::rounds::Rounds;
use crate::bench::stage::{Kept, Part, Stage, on_stage_keeping};
use party::{Finisher, Linked, Party, Submitter};

/// `turno bench tickets`
#[derive(Debug, Args)]
pub(crate) struct TicketsArgs {
    /// Callers that submit at the same time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    callers: u16,
    /// Connections that tonic's callers share
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Bytes of a request
    #[arg(long, default_value_t = 100, value_name = "N")]
    bytes: usize,
    /// The directory where tickets are kept, on the disk to be measured [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A PostgreSQL in its place, e.g. postgres://user:password@host/database
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    #[command(flatten)]
    rounds: Rounds,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

/// What one round has measured.
struct Round {
    fsync_us: f64,
    /// Submits by one call each, by stock tonic.
    unary: Calls,
    /// The same by turno::Client.
    linked: Calls,
    /// Submits on one stream.
    many_per_s: f64,
    done_per_s: f64,
    /// From submit to done, one at a time.
    alone: Calls,
}

pub(crate) async fn run(args: TicketsArgs) -> Result<ExitCode> {
    let kept = Kept { data: args.data.clone(), store: args.store.clone() };
    on_stage_keeping(&[Part::Io], &kept, async |stage| measure(&args, stage).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &TicketsArgs, stage: &Stage) -> Result<()> {
    let channels = connect(&stage.gateway, args.connections.into()).await?;
    let party = Party::new(channels, args.bytes);
    let progress = Progress::new(args.rounds.count());
    party.done(args.callers, SETTLE).await?;
    let mut rounds = Vec::new();
    for round in 1..=args.rounds.count() {
        progress.step(format!("tickets: round {round} of {}", args.rounds.count()));
        rounds.push(measured(args, &party, stage).await?);
    }
    drop(progress);
    report(args, &rounds)
}

async fn measured(args: &TicketsArgs, party: &Party, stage: &Stage) -> Result<Round> {
    let time: Duration = args.rounds.time.into();
    let fsync_us = disk::fsync_us(stage.data()).await?;
    let unary = closed(Submitter::callers(party, args.callers), time, Duration::ZERO).await?;
    party.settled().await?;
    let client = turno::Client::connect(&stage.gateway)?;
    let linked = closed(Linked::callers(party, &client, args.callers), time, Duration::ZERO).await?;
    party.settled().await?;
    let many_per_s = party.many(time).await?;
    party.settled().await?;
    let done_per_s = party.done(args.callers, time).await?;
    let alone = closed(vec![Finisher::new(party)], time, Duration::ZERO).await?;
    Ok(Round { fsync_us, unary, linked, many_per_s, done_per_s, alone })
}

fn report(args: &TicketsArgs, rounds: &[Round]) -> Result<()> {
    let mut report = Report::new("", args.json);
    let store = if args.store.is_some() { "PostgreSQL" } else { "SQLite" };
    let callers = args.callers;
    let mut add = |case: String, metric, unit, wanted, of: fn(&Round) -> f64| {
        let value = median(rounds.iter().map(of));
        let (reference, ratio) = (None, None);
        let figure =
            Figure { bench: "tickets", case, metric, value, unit, reference, ratio, rounds: rounds.len() };
        report.add(&figure, wanted)
    };
    let is_shared = args.store.is_some();
    let (acknowledged, done) = if is_shared { (10_000.0, 5_000.0) } else { (20_000.0, 10_000.0) };
    add("this disk".to_owned(), "write 4 KiB + fdatasync, p50", "µs", None, |round| round.fsync_us)?;
    let unary = || format!("{store}, unary Submit by stock tonic, {callers} callers");
    add(unary(), "acknowledged", "tickets/s", Some(Wanted::AtLeast(acknowledged)), |round| {
        round.unary.per_s()
    })?;
    add(unary(), "acknowledged p99", "ms", None, |round| round.unary.percentile_ms(0.99))?;
    let linked = || format!("{store}, unary Submit by turno::Client, {callers} callers");
    add(linked(), "acknowledged", "tickets/s", Some(Wanted::AtLeast(acknowledged)), |round| {
        round.linked.per_s()
    })?;
    add(linked(), "acknowledged p99", "ms", None, |round| round.linked.percentile_ms(0.99))?;
    let many = format!("{store}, one stream of SubmitMany");
    add(many, "acknowledged", "tickets/s", None, |round| round.many_per_s)?;
    let through = format!("{store}, submitted to done, {callers} callers");
    add(through, "done", "tickets/s", Some(Wanted::AtLeast(done)), |round| round.done_per_s)?;
    let alone = || format!("{store}, submitted to done, one at a time");
    let quick = (!is_shared).then_some(Wanted::AtMost(1.5));
    add(alone(), "latency p50", "ms", quick, |round| round.alone.percentile_ms(0.5))?;
    add(alone(), "latency p99", "ms", None, |round| round.alone.percentile_ms(0.99))?;
    report.finish()
}
