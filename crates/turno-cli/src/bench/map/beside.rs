//! Calls beside a map: the map has all slots, and a chunk of it gives way. One call at a time, as long as an item.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::{TryStreamExt as _, stream};

use crate::bench::figure::Figure;
use crate::bench::parties::generated::{SpinRequest, bench};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::rounds::Rounds;
use crate::bench::stage::Stage;
use crate::bench::stats::{median, percentile};

/// Calls while a map without end runs, and says how long they took: the median of the rounds' percentiles.
pub(super) async fn measure(
    report: &mut Report,
    stage: &Stage,
    rounds: Rounds,
    progress: &Progress,
    loops: u64,
) -> Result<()> {
    let client = turno::Client::connect(&stage.gateway)?;
    let items = stream::repeat_with(move || SpinRequest { loops, fail: false });
    let mut answers = client.map::<bench::Spin>(items).await?;
    let map = async {
        while answers.try_next().await?.is_some() {}
        Ok::<(), tonic::Status>(())
    };
    let calls = async {
        let mut took_ms = Vec::new();
        for round in 1..=rounds.count() {
            progress.step(format!("calls beside a map: round {round} of {}", rounds.count()));
            took_ms.push(call(&client, rounds, loops).await?);
        }
        Ok::<_, anyhow::Error>(took_ms)
    };
    let took_ms = tokio::select! {
        calls = calls => calls?,
        ended = map => bail!("the map ended: {ended:?}"),
    };
    for (metric, share) in [("p50", 0.5), ("p99", 0.99)] {
        let figure = Figure {
            bench: "map",
            case: "a call of 1 ms beside a map".to_owned(),
            metric,
            value: median(took_ms.iter().map(|round| percentile(round, share))),
            unit: "ms",
            reference: None,
            ratio: None,
            rounds: rounds.count(),
        };
        report.add(&figure, None)?;
    }
    Ok(())
}

/// Milliseconds that its calls took, in order.
async fn call(client: &turno::Client, rounds: Rounds, loops: u64) -> Result<Vec<f32>> {
    let (mut took_ms, began) = (Vec::<f32>::new(), Instant::now());
    while began.elapsed() < Duration::from(rounds.time) {
        let sent = Instant::now();
        client.call::<bench::Spin>(SpinRequest { loops, fail: false }).await?;
        took_ms.push(sent.elapsed().as_secs_f32() * 1e3);
    }
    took_ms.sort_by(f32::total_cmp);
    Ok(took_ms)
}
