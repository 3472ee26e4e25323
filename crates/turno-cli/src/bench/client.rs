//! `turno::Client` through gateway and I/O node, against stock tonic calling a tonic server directly, in alternating
//! rounds of one run. Servers are processes of their own; both clients live in this one.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use clap::Args;
use tonic::transport::Channel;
use turno_runtime::task;
use turno_runtime::units::Span;

use crate::bench::echo::{connect, cpu_s};
use crate::bench::figure::{Figure, median};
use crate::bench::parties::generated::{EchoRequest, bench};
use crate::bench::parties::stubs;
use crate::bench::parties::stubs::bench_client::BenchClient;
use crate::children::{Role, Watched, free_ports};
use crate::up::Mesh;

/// `turno bench client`
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Calls in flight, one case for each number
    #[arg(long, value_delimiter = ',', default_values_t = [64, 256], value_name = "N,…")]
    in_flight: Vec<usize>,
    /// Connections that tonic's calls share; turno::Client has one
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
    /// Of the client and all servers.
    cpu_us_per_call: f64,
}

/// Who calls.
enum Party {
    Ours(turno::Client),
    /// Stock tonic, on so many connections.
    Direct(Vec<Channel>),
}

pub(crate) async fn run(args: ClientArgs) -> Result<ExitCode> {
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

async fn measure(args: &ClientArgs, mesh: &Mesh, gateway: &str, direct: &str) -> Result<()> {
    Mesh::ready(gateway.parse()?, 1).await?;
    let ours = Party::Ours(turno::Client::connect(gateway)?);
    let theirs = Party::Direct(connect(direct, args.connections).await?);
    let pids: Vec<u32> = mesh.processes().iter().map(Watched::pid).collect();
    let (our_pids, their_pids) = pids.split_at(2);
    let with_this = |servers: &[u32]| [servers, &[std::process::id()]].concat();
    let (our_pids, their_pids) = (with_this(our_pids), with_this(their_pids));
    for &in_flight in &args.in_flight {
        let both = async |time| {
            let ours = round(&ours, args, in_flight, &our_pids, time).await?;
            anyhow::Ok((ours, round(&theirs, args, in_flight, &their_pids, time).await?))
        };
        both(WARM_UP).await?;
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(both(args.time.into()).await?);
        }
        figures(args, in_flight, &rounds).iter().try_for_each(|figure| figure.print(args.json))?;
    }
    Ok(())
}

const WARM_UP: Duration = Duration::from_millis(500);

fn figures(args: &ClientArgs, in_flight: usize, rounds: &[(Round, Round)]) -> [Figure; 2] {
    let case = format!("turno::Client {} B, {in_flight} in flight", args.bytes);
    let figure = |metric, unit, of: fn(&Round) -> f64| Figure {
        bench: "client",
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
        figure("CPU a call in all", "µs", |round| round.cpu_us_per_call),
    ]
}

/// So many callers, each with one call after the other.
async fn round(
    party: &Party,
    args: &ClientArgs,
    in_flight: usize,
    pids: &[u32],
    time: Duration,
) -> Result<Round> {
    let (calls, before) = (Arc::new(AtomicU64::new(0)), cpu_s(pids)?);
    let started = Instant::now();
    let deadline = started + time;
    let payload = Bytes::from(vec![7; args.bytes]);
    let callers = (0..in_flight).map(|number| match party {
        Party::Ours(client) => {
            task::spawn("bench.caller", ours(client.clone(), payload.clone(), deadline, calls.clone()))
        }
        Party::Direct(channels) => {
            let stub = BenchClient::new(channels[number % channels.len()].clone());
            task::spawn("bench.caller", direct(stub, payload.clone(), deadline, calls.clone()))
        }
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    let calls = calls.load(Ordering::Relaxed) as f64;
    let cpu_us_per_call = (cpu_s(pids)? - before) * 1e6 / calls;
    Ok(Round { calls_per_s: calls / started.elapsed().as_secs_f64(), cpu_us_per_call })
}

async fn ours(client: turno::Client, payload: Bytes, deadline: Instant, calls: Arc<AtomicU64>) -> Result<()> {
    while Instant::now() < deadline {
        let answer = client.call::<bench::Echo>(EchoRequest { payload: payload.clone() }).await?;
        ensure!(answer.payload == payload, "the echo came back changed");
        calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn direct(
    mut stub: BenchClient<Channel>,
    payload: Bytes,
    deadline: Instant,
    calls: Arc<AtomicU64>,
) -> Result<()> {
    while Instant::now() < deadline {
        let answer = stub.echo(stubs::EchoRequest { payload: payload.clone() }).await?.into_inner();
        ensure!(answer.payload == payload, "the echo came back changed");
        calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
