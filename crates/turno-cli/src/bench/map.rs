//! Maps: the same items by one map on one worker, and in a bare rayon loop with as many threads as that worker has slots;
//! items that take a millisecond, and items that take next to nothing. Then calls beside a map (`beside`), and a long map
//! with failures, during which a worker is killed (`loss`).

mod beside;
mod loss;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use futures_util::{TryStreamExt as _, stream};

use crate::bench::parties::generated::{SpinRequest, bench};
use crate::bench::parties::run_rayon_loop;
use crate::bench::proc::cpu_s;
use crate::bench::progress::Progress;
use crate::bench::report::{Report, Wanted};
use crate::bench::rounds::{Case, Rounds};
use crate::bench::spin::Pace;
use crate::bench::stage::{Part, Stage, cores, on_stage};

/// `turno bench map`
#[derive(Debug, Args)]
pub(crate) struct MapArgs {
    /// Items of 1 ms in a map
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    items: u32,
    /// Items of 1 µs in a map
    #[arg(long, default_value_t = 2_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tiny: u32,
    /// Items of 1 µs in the map during which a worker is killed; one in a thousand fails
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1000..))]
    many: u32,
    /// The worker's slots, and the threads of the loop [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    #[command(flatten)]
    rounds: Rounds,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

/// What one party did in one round.
struct Round {
    wall_s: f64,
    items: u32,
    /// Of client, gateway and worker; of the loop nothing is known.
    cpu_s: f64,
}

const SHORT: Duration = Duration::from_millis(1);
const TINY: Duration = Duration::from_micros(1);

pub(crate) async fn run(args: MapArgs) -> Result<ExitCode> {
    let pace = Pace::measure();
    let slots = args.slots.unwrap_or_else(cores);
    let progress = Progress::new(3 * args.rounds.count() + 1);
    let mut report = Report::new("RAYON LOOP", args.json);
    on_stage(&[Part::Worker { slots }], async |stage| {
        let short = rounds(&args, stage, &progress, (SHORT, args.items), (pace, slots)).await?;
        let case = format!("{} items of 1 ms", args.items);
        let case = Case { bench: "map", case, rounds: &short };
        report.add(&case.figure("wall", "ms", |it| it.wall_s * 1e3), Some(Wanted::RatioAtMost(1.05)))?;
        let tiny = rounds(&args, stage, &progress, (TINY, args.tiny), (pace, slots)).await?;
        let case = format!("{} items of 1 µs", args.tiny);
        let case = Case { bench: "map", case, rounds: &tiny };
        let per_s = |it: &Round| f64::from(it.items) / it.wall_s;
        report.add(&case.figure("throughput", "items/s", per_s), Some(Wanted::AtLeast(500_000.0)))?;
        let cpu_us = |it: &Round| it.cpu_s * 1e6 / f64::from(it.items);
        report.add(&case.alone("CPU an item in all", "µs", cpu_us), None)?;
        beside::measure(&mut report, stage, args.rounds, &progress, pace.loops(SHORT)).await
    })
    .await?;
    progress.step("a map with failures, and a worker killed on the way");
    loss::measure(&mut report, args.many, slots, pace.loops(TINY)).await?;
    drop(progress);
    report.finish()?;
    Ok(ExitCode::SUCCESS)
}

async fn rounds(
    args: &MapArgs,
    stage: &Stage,
    progress: &Progress,
    (item, items): (Duration, u32),
    (pace, slots): (Pace, u32),
) -> Result<Vec<(Round, Round)>> {
    let (loops, client) = (pace.loops(item), turno::Client::connect(&stage.gateway)?);
    let mut pids = stage.our_pids();
    pids.push(std::process::id());
    map(&client, loops, items / 10 + 1).await?;
    let ours = async || {
        let (cpu, started) = (cpu_s(&pids)?, Instant::now());
        map(&client, loops, items).await?;
        Ok(Round { wall_s: started.elapsed().as_secs_f64(), items, cpu_s: cpu_s(&pids)? - cpu })
    };
    let theirs = async || {
        let per_s = run_rayon_loop(slots, loops, item, item * items / slots).await?;
        Ok(Round { wall_s: f64::from(items) / per_s, items, cpu_s: f64::NAN })
    };
    args.rounds.alternate(progress, &format!("{items} items of {item:?}"), ours, theirs).await
}

/// Until each item has its answer.
async fn map(client: &turno::Client, loops: u64, items: u32) -> Result<()> {
    let requests = stream::iter((0..items).map(move |_| SpinRequest { loops, fail: false }));
    let mut answers = client.map::<bench::Spin>(requests).await?;
    let mut answered = 0;
    while let Some((_, answer)) = answers.try_next().await? {
        answer?;
        answered += 1;
    }
    anyhow::ensure!(answered == items, "{answered} of {items} were answered");
    Ok(())
}
