//! A long map that meets trouble: one item in a thousand fails, and a worker is killed. Each item has one outcome, and the
//! gateway holds no more at the end than at the beginning.

use anyhow::{Context as _, Result};
use futures_util::{TryStreamExt as _, stream};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::figure::Figure;
use crate::bench::parties::generated::{SpinRequest, bench};
use crate::bench::proc::resident_kib;
use crate::bench::report::{Report, Wanted};
use crate::bench::stage::{Part, Stage, on_stage};

/// What came of it.
struct Loss {
    outcomes: u32,
    failed: u32,
    /// The gateway's memory when a tenth is done, and at the end.
    early_kib: f64,
    late_kib: f64,
}

const FAILS_EVERY: u32 = 1_000;

/// With half of the slots on each of two workers.
pub(super) async fn measure(report: &mut Report, items: u32, slots: u32, loops: u64) -> Result<()> {
    let worker = Part::Worker { slots: slots.div_ceil(2) };
    let loss = on_stage(&[worker, worker], async |stage| lose(stage, items, loops).await).await?;
    let case = format!("{items} items of 1 µs, a worker killed");
    let figure = |metric, value, unit| Figure {
        bench: "map",
        case: case.clone(),
        metric,
        value,
        unit,
        reference: None,
        ratio: None,
        rounds: 1,
    };
    let all = Wanted::AtLeast(items.into());
    report.add(&figure("items with one outcome", loss.outcomes.into(), "items"), Some(all))?;
    let failing = Wanted::AtMost(items.div_ceil(FAILS_EVERY).into());
    report.add(&figure("failed", loss.failed.into(), "items"), Some(failing))?;
    report.add(&figure("gateway memory at 10 %", loss.early_kib / 1024.0, "MiB"), None)?;
    let grown = (loss.late_kib - loss.early_kib) / 1024.0;
    report.add(&figure("and until the end", grown, "MiB"), Some(Wanted::AtMost(4.0)))
}

async fn lose(stage: &Stage, items: u32, loops: u64) -> Result<Loss> {
    let client = turno::Client::connect(&stage.gateway)?;
    let request = move |item: u32| SpinRequest { loops, fail: item.is_multiple_of(FAILS_EVERY) };
    let mut answers = client.map::<bench::Spin>(stream::iter((0..items).map(request))).await?;
    let mut has_outcome = vec![false; items as usize];
    let (mut loss, gateway) =
        (Loss { outcomes: 0, failed: 0, early_kib: 0.0, late_kib: 0.0 }, stage.gateway_pid());
    while let Some((index, answer)) = answers.try_next().await? {
        let seen = has_outcome.get_mut(usize::try_from(index)?).context("an item that was never sent")?;
        anyhow::ensure!(!std::mem::replace(seen, true), "item {index} has two outcomes");
        loss.outcomes += 1;
        loss.failed += u32::from(answer.is_err());
        if loss.outcomes == items / 10 {
            loss.early_kib = resident_kib(gateway)?;
        }
        if loss.outcomes == items / 5 {
            kill(stage.node_pids()[0])?;
        }
    }
    loss.late_kib = resident_kib(gateway)?;
    Ok(loss)
}

fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a worker without a process")?;
    Ok(kill_process(pid, Signal::KILL)?)
}
