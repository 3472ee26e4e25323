//! Unary echo: client → gateway → I/O node, against client → tonic server, in alternating rounds of one run. Every
//! party is a process of its own.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use futures_util::future::try_join_all;
use tonic::transport::{Channel, Endpoint};
use turno_runtime::task;
use turno_runtime::units::Span;

use crate::bench::figure::{Figure, median};
use crate::bench::parties::stubs::EchoRequest;
use crate::bench::parties::stubs::bench_client::BenchClient;
use crate::children::{Role, free_ports};
use crate::up::Mesh;

/// `turno bench echo`
#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Calls in flight
    #[arg(long, default_value_t = 64, value_name = "N")]
    in_flight: usize,
    /// Connections that they share
    #[arg(long, default_value_t = 8, value_name = "N")]
    connections: usize,
    /// Bytes of the payload
    #[arg(long, default_value_t = 100, value_name = "N")]
    bytes: usize,
    /// Rounds, each with both parties
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// How long each party is called in a round
    #[arg(long, default_value = "2s", value_name = "TIME")]
    time: Span,
    /// One JSON object a figure
    #[arg(long)]
    json: bool,
}

/// What one party did in one round.
struct Round {
    calls_per_s: f64,
    cpu_us_per_call: f64,
}

pub(crate) async fn run(args: EchoArgs) -> Result<ExitCode> {
    let (clients, nodes) = free_ports()?;
    let (direct, _) = free_ports()?;
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (listen, dial, direct) =
        (local(clients).to_string(), local(nodes).to_string(), local(direct).to_string());
    let roles = [
        Role::quiet_gateway(&listen, &dial),
        Role::new("node", &["bench", "node", "--gateway", &dial]),
        Role::new("direct", &["bench", "direct", "--listen", &direct]),
    ];
    let mesh = Mesh::start(&roles, local(nodes)).await?;
    let measured = measure(&args, &mesh, &listen, &direct).await;
    mesh.stop().await;
    measured?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &EchoArgs, mesh: &Mesh, gateway: &str, direct: &str) -> Result<()> {
    Mesh::ready(gateway.parse()?, 1).await?;
    let (ours, theirs) =
        (connect(gateway, args.connections).await?, connect(direct, args.connections).await?);
    let pids: Vec<u32> = mesh.processes().iter().map(crate::children::Watched::pid).collect();
    let (our_pids, their_pids) = pids.split_at(2);
    let warm_up = Duration::from_millis(500);
    round(args, &ours, our_pids, warm_up).await?;
    round(args, &theirs, their_pids, warm_up).await?;
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        let ours = round(args, &ours, our_pids, args.time.into()).await?;
        let theirs = round(args, &theirs, their_pids, args.time.into()).await?;
        rounds.push((ours, theirs));
    }
    figures(args, &rounds).iter().try_for_each(|figure| figure.print(args.json))
}

fn figures(args: &EchoArgs, rounds: &[(Round, Round)]) -> [Figure; 2] {
    let case = format!("unary {} B, {} in flight", args.bytes, args.in_flight);
    let figure = |metric, unit, of: fn(&Round) -> f64| Figure {
        bench: "echo",
        case: case.clone(),
        metric,
        value: median(rounds.iter().map(|(ours, _)| of(ours))),
        unit,
        reference: Some(median(rounds.iter().map(|(_, theirs)| of(theirs)))),
        ratio: Some(median(rounds.iter().map(|(ours, theirs)| of(ours) / of(theirs)))),
        rounds: rounds.len(),
    };
    [
        figure("throughput", "calls/s", |round| round.calls_per_s),
        figure("server CPU a call", "µs", |round| round.cpu_us_per_call),
    ]
}

/// Waits until the party is there.
pub(crate) async fn connect(address: &str, connections: usize) -> Result<Vec<Channel>> {
    let connect = || async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match endpoint.connect().await {
                Ok(channel) => return Ok(channel),
                Err(error) if Instant::now() > deadline => return Err(anyhow::Error::new(error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    try_join_all((0..connections).map(|_| connect())).await
}

async fn round(args: &EchoArgs, channels: &[Channel], pids: &[u32], time: Duration) -> Result<Round> {
    let (calls, before) = (Arc::new(AtomicU64::new(0)), cpu_s(pids)?);
    let started = Instant::now();
    let deadline = started + time;
    let payload = Bytes::from(vec![7; args.bytes]);
    let callers = (0..args.in_flight).map(|number| {
        let client = BenchClient::new(channels[number % channels.len()].clone());
        task::spawn("bench.caller", caller(client, payload.clone(), deadline, calls.clone()))
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    let calls = calls.load(Ordering::Relaxed) as f64;
    let cpu_us_per_call = (cpu_s(pids)? - before) * 1e6 / calls;
    Ok(Round { calls_per_s: calls / started.elapsed().as_secs_f64(), cpu_us_per_call })
}

async fn caller(
    mut client: BenchClient<Channel>,
    payload: Bytes,
    deadline: Instant,
    calls: Arc<AtomicU64>,
) -> Result<()> {
    while Instant::now() < deadline {
        let answer = client.echo(EchoRequest { payload: payload.clone() }).await?.into_inner();
        anyhow::ensure!(answer.payload == payload, "the echo came back changed");
        calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// User and system time of processes so far, in seconds.
pub(crate) fn cpu_s(pids: &[u32]) -> Result<f64> {
    let ticks_a_second = rustix::param::clock_ticks_per_second() as f64;
    pids.iter().map(|pid| Ok(cpu_ticks(*pid)? / ticks_a_second)).sum()
}

/// proc(5): the fields after the command's closing parenthesis; utime and stime are the 14th and 15th of all.
fn cpu_ticks(pid: u32) -> Result<f64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a party of the bench has ended")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()?)
}
