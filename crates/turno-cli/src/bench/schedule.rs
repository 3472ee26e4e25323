//! What the signature is worth: many calls that wait end together on one I/O node; jobs fill the slots of all workers,
//! and small calls go on beside them.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use futures_util::future::try_join_all;
use tonic::transport::Channel;
use turno_runtime::task;

use crate::bench::echo::connect;
use crate::bench::figure::{Figure, median};
use crate::bench::parties::stubs::bench_client::BenchClient;
use crate::bench::parties::stubs::{EchoRequest, WaitRequest};
use crate::children::{Role, free_ports};
use crate::up::Mesh;

/// `turno bench schedule`
#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    /// Calls that wait a second each, all at once
    #[arg(long, default_value_t = 1000, value_name = "N")]
    waiting: usize,
    /// Jobs that hold a slot for a second each, on 2 workers with 2 slots
    #[arg(long, default_value_t = 8, value_name = "N")]
    jobs: usize,
    /// Rounds
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

const SECOND_MS: u64 = 1000;

pub(crate) async fn run(args: ScheduleArgs) -> Result<ExitCode> {
    let (clients, nodes) = free_ports()?;
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (listen, dial) = (local(clients).to_string(), local(nodes).to_string());
    let worker =
        Role::new("worker", &["bench", "node", "--gateway", &dial, "--role", "worker", "--slots", "2"]);
    let roles = vec![
        Role::quiet_gateway(&listen, &dial)?,
        Role::new("io", &["bench", "node", "--gateway", &dial]),
        worker.clone(),
        worker,
    ];
    let mesh = Mesh::start_secluded(roles, local(nodes)).await?;
    let measured = measure(&args, &listen).await;
    mesh.stop().await;
    measured?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &ScheduleArgs, gateway: &str) -> Result<()> {
    Mesh::ready(gateway.parse()?, 3).await?;
    let channels = connect(gateway, 8).await?;
    let client = |number: usize| BenchClient::new(channels[number % channels.len()].clone());
    let (mut waits, mut holds, mut pings) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        waits.push(wall(try_join_all((0..args.waiting).map(|number| wait(client(number))))).await?);
        let pinging = task::spawn("bench.pings", ping_until(client(0), Duration::from_secs(1)));
        holds.push(wall(try_join_all((0..args.jobs).map(|number| hold(client(number))))).await?);
        pings.push(pinging.await??);
    }
    let figure = |case: String, metric, value, unit| Figure {
        bench: "schedule",
        case,
        metric,
        value,
        unit,
        reference: None,
        ratio: None,
        rounds: args.rounds.into(),
    };
    let figures = [
        figure(format!("{} calls wait 1 s", args.waiting), "wall", median(waits), "s"),
        figure(format!("{} jobs of 1 s, 4 slots", args.jobs), "wall", median(holds), "s"),
        figure("pings beside the jobs".to_owned(), "p99", median(pings), "ms"),
    ];
    figures.iter().try_for_each(|figure| figure.print(args.json))
}

async fn wait(mut client: BenchClient<Channel>) -> Result<()> {
    client.wait(WaitRequest { ms: SECOND_MS }).await?;
    Ok(())
}

async fn hold(mut client: BenchClient<Channel>) -> Result<()> {
    client.hold(WaitRequest { ms: SECOND_MS }).await?;
    Ok(())
}

/// The 99th percentile of small calls, one after the other, in milliseconds.
async fn ping_until(mut client: BenchClient<Channel>, time: Duration) -> Result<f64> {
    let (started, mut took) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        let sent = Instant::now();
        client.echo(EchoRequest::default()).await?;
        took.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() * 99 / 100])
}

async fn wall<T>(calls: impl Future<Output = Result<Vec<T>>>) -> Result<f64> {
    let started = Instant::now();
    calls.await?;
    Ok(started.elapsed().as_secs_f64())
}
