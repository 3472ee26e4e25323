//! What one decision of the job scheduler costs: a job is finished, the next one takes its place, another arrives and
//! waits. By the number of workers, by the number of jobs that wait, and by the number of slow workers among a hundred.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use turno_gateway::scheduler::{
    Grant, Job, Lane, Limits, MethodId, Scheduler, Spent, Submitted, TenantId, WorkerId,
};

use crate::bench::figure::{Figure, median};

/// `turno bench decisions`
#[derive(Debug, Args)]
pub(crate) struct DecisionsArgs {
    /// Rounds, each with every size
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

/// How many there are of each.
#[derive(Clone, Copy, Debug)]
struct Size {
    workers: u64,
    waiting: usize,
    /// Workers that are set aside: no time passes here, and they do not come back.
    slow: u64,
}

const DECISIONS: u32 = 100_000;
const SLOTS: u32 = 4;
const METHODS: u32 = 8;
const TENANTS: u32 = 100;
/// A slow worker takes so much longer: a hundred times as long.
const SLOW_US: u64 = 50_000;

pub(crate) fn run(args: DecisionsArgs) -> Result<ExitCode> {
    let by_workers = [1, 10, 100, 1_000].map(|workers| Size { workers, waiting: 10_000, slow: 0 });
    let by_waiting =
        [1_000, 10_000, 100_000, 1_000_000].map(|waiting| Size { workers: 10, waiting, slow: 0 });
    let by_slow = [0, 1, 10, 40].map(|slow| Size { workers: 100, waiting: 10_000, slow });
    let workers = by_workers.map(|size| format!("{} workers", size.workers));
    let waiting = by_waiting.map(|size| format!("{} waiting", size.waiting));
    let slow = by_slow.map(|size| format!("{} of {} workers slow", size.slow, size.workers));
    for (cases, sizes) in [(workers, by_workers), (waiting, by_waiting), (slow, by_slow)] {
        figures(cases, &rounds(sizes, args.rounds.into()))
            .iter()
            .try_for_each(|figure| figure.print(args.json))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every size in each round, so that a slow moment of the machine is shared.
fn rounds(sizes: [Size; 4], rounds: usize) -> Vec<[f64; 4]> {
    let mut meshes = sizes.map(Mesh::new);
    // The first round learns what jobs cost.
    (0..=rounds).map(|_| meshes.each_mut().map(Mesh::round)).skip(1).collect()
}

/// The smallest size is the reference of the others.
fn figures(cases: [String; 4], rounds: &[[f64; 4]]) -> Vec<Figure> {
    let figure = |(size, case)| Figure {
        bench: "decisions",
        case,
        metric: "a decision",
        value: median(rounds.iter().map(|round| round[size])),
        unit: "ns",
        reference: Some(median(rounds.iter().map(|round| round[0]))),
        ratio: Some(median(rounds.iter().map(|round| round[size] / round[0]))),
        rounds: rounds.len(),
    };
    cases.into_iter().enumerate().map(figure).collect()
}

/// A scheduler whose slots are all taken.
struct Mesh {
    scheduler: Scheduler,
    running: Vec<Grant>,
    slow: u64,
    /// Counts jobs, and spreads them over methods, tenants and lanes.
    next: u32,
}

impl Mesh {
    fn new(size: Size) -> Self {
        let limits = Limits { waiting: usize::MAX, batch_share: 0.2 };
        let (scheduler, slow) = (Scheduler::new(limits), size.slow);
        let mut mesh = Self { scheduler, running: Vec::new(), slow, next: 0 };
        for worker in 0..size.workers {
            mesh.scheduler.join(WorkerId(worker), SLOTS, (0..METHODS).map(MethodId).collect());
        }
        while mesh.scheduler.waiting() < size.waiting {
            mesh.submit();
        }
        mesh
    }

    /// Nanoseconds for each finish, grant and submit.
    fn round(&mut self) -> f64 {
        let started = Instant::now();
        for _ in 0..DECISIONS {
            self.finish();
            self.submit();
        }
        started.elapsed().as_nanos() as f64 / f64::from(DECISIONS)
    }

    fn submit(&mut self) {
        self.next = self.next.wrapping_add(1);
        // Knuth's multiplicative hash: no order that the sets could profit from.
        let mixed = self.next.wrapping_mul(2_654_435_761) >> 8;
        let lane = if mixed.is_multiple_of(4) { Lane::Batch } else { Lane::Calls };
        let (method, tenant) = (MethodId(mixed / 4 % METHODS), TenantId(mixed / 64 % TENANTS));
        let job = Job { lane, tenant, ..Job::call(method) };
        if let Submitted::Granted(grant) = self.scheduler.submit(job) {
            self.running.push(grant);
        }
    }

    fn finish(&mut self) {
        let which = self.next as usize % self.running.len();
        let Grant { job, worker } = self.running.swap_remove(which);
        let us = u64::from(self.next % 1_000) + if worker.0 < self.slow { SLOW_US } else { 0 };
        let spent = Spent { run_us: us, cpu_us: us, items: 1, done: true };
        let grants = self.scheduler.finish(job, Some(spent), None);
        self.running.extend(black_box(grants));
    }
}
