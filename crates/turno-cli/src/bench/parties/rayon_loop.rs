//! The alternative without a network: a bare rayon loop over the same jobs, in a process that does nothing else.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use tokio::process::Command;

use crate::bench::spin::spin;
use crate::children::ChildFlags;

#[derive(Debug, Args)]
pub(crate) struct LoopArgs {
    #[arg(long)]
    threads: u32,
    #[arg(long)]
    loops: u64,
    #[arg(long)]
    jobs: u64,
    #[command(flatten)]
    child: ChildFlags,
}

/// Does the jobs and says on standard output how many it did a second.
#[expect(clippy::print_stdout, reason = "the answer to the bench that started this process")]
pub(crate) fn rayon_loop(args: &LoopArgs) -> Result<ExitCode> {
    args.child.apply()?;
    let pool = ThreadPoolBuilder::new().num_threads(args.threads as usize).build()?;
    let work = |jobs: u64| {
        pool.install(|| {
            (0..jobs).into_par_iter().for_each(|_| {
                spin(args.loops);
            });
        });
    };
    work((args.jobs / 20).max(1));
    let started = Instant::now();
    work(args.jobs);
    println!("{}", args.jobs as f64 / started.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

/// Starts the loop as a process, with about so much work that it takes `time`. Answers its jobs per second.
pub(crate) async fn run_rayon_loop(threads: u32, loops: u64, job: Duration, time: Duration) -> Result<f64> {
    let jobs = (time.as_secs_f64() / job.as_secs_f64() * f64::from(threads)).ceil().max(1.0);
    let turno = std::env::current_exe().context("cannot find this program's own file")?;
    let ended = Command::new(turno)
        .args(["bench", "rayon-loop", "--with-parent"])
        .args(["--threads", &threads.to_string(), "--loops", &loops.to_string(), "--jobs", &jobs.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    anyhow::ensure!(ended.status.success(), "the rayon loop ended with {}", ended.status);
    let said = String::from_utf8(ended.stdout)?;
    said.trim().parse().with_context(|| format!("the rayon loop said {said:?}"))
}
