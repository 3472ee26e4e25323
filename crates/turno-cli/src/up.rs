//! `turno up`: a gateway, an I/O node and workers on this machine, each a process of its own.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use clap::builder::RangedI64ValueParser;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use turno_gateway::without_password;
use turno_proto::v1::admin_client::AdminClient;
use turno_proto::v1::{ListMethodsRequest, ListNodesRequest, Method};
use turno_runtime::units::Rounded;

use crate::aside::Aside;
use crate::children::{Role, Watched};

/// `turno up`
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// How many workers, at most 64
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Threads for jobs of each worker [default: this machine's cores, shared among the workers]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Where clients call. If other machines reach it, or --nodes, a join token is needed in TURNO_TOKEN
    #[arg(long, env = "TURNO_LISTEN", default_value = "127.0.0.1:7070", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where nodes dial in
    #[arg(long, env = "TURNO_NODES", default_value = "127.0.0.1:7071", value_name = "ADDR")]
    nodes: SocketAddr,
    /// Where the gateway serves health and metrics over HTTP
    #[arg(long, env = "TURNO_METRICS", default_value = "127.0.0.1:7072", value_name = "ADDR")]
    metrics: SocketAddr,
    /// The directory where tickets are kept
    #[arg(long, env = "TURNO_DATA", default_value = "./turno-data", value_name = "DIR")]
    data: PathBuf,
    /// A store of tickets in place of that directory, e.g. postgres://user:password@host/database
    #[arg(long, env = "TURNO_STORE", value_name = "URL", hide_env_values = true)]
    store: Option<String>,
    /// Serve tokio-console: the gateway on this port, or 6669 if none is named, the others on the ports after it
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "6669", value_parser = console())]
    console: Option<u16>,
    /// Let Http/Fetch reach loopback and private networks
    #[arg(long)]
    allow_private: bool,
    /// What the processes log: a level (of libraries such as h2 no more than info), or a filter that is taken as it is, such
    /// as "info,turno_gateway=debug"
    #[arg(long, env = "TURNO_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
}

/// Ports that have one for each of the others after them: 64 workers and the I/O node.
fn console() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=65_470)
}

/// Where `turno call` calls when it is told nothing else.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
const PATIENCE: Duration = Duration::from_secs(15);

/// Starts, tells what is served, and ends on Ctrl-C or SIGTERM.
pub(crate) async fn run(args: UpArgs) -> Result<ExitCode> {
    let shutdown = turno_runtime::shutdown::on_signal()?;
    refuse_taken([("--listen", args.listen), ("--nodes", args.nodes), ("--metrics", args.metrics)])?;
    let (roles, dial) = (args.roles(), own(args.nodes));
    let mesh = tokio::select! {
        mesh = Mesh::start(&roles, dial) => mesh?,
        () = shutdown.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        failed = open(&args) => failed,
        hopeless = mesh.cannot_start() => Err(hopeless),
    };
    if ended.is_ok() {
        say("\nending: what is in flight is finished first (once more Ctrl-C ends at once)");
    }
    mesh.stop().await;
    ended?;
    say("ended");
    Ok(ExitCode::SUCCESS)
}

/// Tells what is served once it is; ends only where that fails.
async fn open(args: &UpArgs) -> Result<()> {
    let methods = Mesh::ready(own(args.listen), args.workers as usize + 1).await?;
    say(&opening(args, &methods));
    std::future::pending().await
}

impl UpArgs {
    fn slots(&self) -> u32 {
        let cores =
            std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        self.slots.unwrap_or_else(|| cores.div_ceil(self.workers))
    }

    /// Where tickets are kept, for whoever looks for them from another directory.
    fn store(&self) -> String {
        match &self.store {
            Some(url) => without_password(url),
            None => {
                std::path::absolute(&self.data).unwrap_or_else(|_| self.data.clone()).display().to_string()
            }
        }
    }

    /// The gateway first.
    fn roles(&self) -> Vec<Role> {
        let (listen, nodes, metrics) =
            (self.listen.to_string(), self.nodes.to_string(), self.metrics.to_string());
        let mut gateway =
            Role::new("gateway", &["gateway", "--listen", &listen, "--nodes", &nodes, "--metrics", &metrics]);
        gateway.args.extend(["--data".to_owned(), self.data.display().to_string()]);
        if let Some(store) = &self.store {
            // It may hold a password.
            gateway.settings.push(("TURNO_STORE", store.clone()));
        }
        let dial = own(self.nodes).to_string();
        let mut io = Role::new("io", &["io", "--gateway", &dial]);
        if self.allow_private {
            io.args.push("--allow-private".to_owned());
        }
        let mut roles = vec![gateway, io];
        for number in 1..=self.workers {
            let slots = self.slots().to_string();
            roles.push(Role::new(
                format!("worker {number}"),
                &["worker", "--gateway", &dial, "--slots", &slots],
            ));
        }
        for (at, role) in (0..).zip(&mut roles) {
            role.args.extend(["--log".to_owned(), self.log.clone()]);
            if let Some(first) = self.console {
                role.args.extend([
                    "--console".to_owned(),
                    SocketAddr::from((Ipv4Addr::LOCALHOST, first + at)).to_string(),
                ]);
            }
        }
        roles
    }
}

/// Processes of a mesh, the gateway first.
#[derive(Debug)]
pub(crate) struct Mesh(Vec<Watched>);

impl Mesh {
    /// Starts the gateway, the first of `roles`, and the others once it listens on `nodes`.
    pub(crate) async fn start(roles: &[Role], nodes: SocketAddr) -> Result<Self> {
        let Some((gateway, others)) = roles.split_first() else { bail!("a mesh has a gateway") };
        let mut mesh = Self(vec![Watched::start(gateway.clone())?]);
        let listening = async {
            while TcpStream::connect(nodes).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let listens = tokio::select! {
            listens = tokio::time::timeout(PATIENCE, listening) => listens.is_ok(),
            _gateway = mesh.0[0].cannot_start() => false,
        };
        if !listens {
            mesh.stop().await;
            bail!("the gateway cannot start: its own message above says why");
        }
        for role in others {
            mesh.0.push(Watched::start(role.clone())?);
        }
        Ok(mesh)
    }

    /// The same for a mesh that lives as long as one command, and hears nothing of the shell's settings.
    pub(crate) async fn start_secluded(roles: Vec<Role>, nodes: SocketAddr) -> Result<Self> {
        let roles: Vec<Role> = roles.into_iter().map(Role::secluded).collect();
        Self::start(&roles, nodes).await
    }

    /// The processes, in the order in which they were started.
    pub(crate) fn processes(&self) -> &[Watched] {
        &self.0
    }

    /// Completes once one of them cannot start, with what is to be said of it.
    async fn cannot_start(&self) -> anyhow::Error {
        let each = self.0.iter().map(|process| Box::pin(process.cannot_start()));
        let (name, ..) = futures_util::future::select_all(each).await;
        anyhow!("{name} cannot start: its own message above says why")
    }

    /// Waits until so many nodes are linked; answers what they serve.
    pub(crate) async fn ready(gateway: SocketAddr, nodes: usize) -> Result<Vec<Method>> {
        let channel = Endpoint::from_shared(format!("http://{gateway}"))?.connect_lazy();
        let all_here = async {
            while linked(&channel).await < nodes {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, all_here).await;
        waited.with_context(|| {
            let patience = Rounded(PATIENCE);
            format!("the mesh was not up within {patience}: the processes' own messages say why")
        })?;
        Ok(AdminClient::new(channel).list_methods(ListMethodsRequest {}).await?.into_inner().methods)
    }

    /// The gateway first: it finishes what is in flight while its nodes are still there. Then all the others at once.
    pub(crate) async fn stop(self) {
        let mut processes = self.0.into_iter();
        if let Some(gateway) = processes.next() {
            gateway.stop().await;
        }
        futures_util::future::join_all(processes.map(Watched::stop)).await;
    }
}

async fn linked(channel: &Channel) -> usize {
    let listed = AdminClient::new(channel.clone()).list_nodes(ListNodesRequest {}).await;
    listed.map_or(0, |listed| listed.into_inner().nodes.len())
}

/// Said before anything is started. All are held until the last is: two may be the same.
fn refuse_taken(addresses: [(&str, SocketAddr); 3]) -> Result<()> {
    let mut held = Vec::new();
    for (flag, address) in addresses {
        if address.port() == 0 {
            bail!("{flag} {address}: give a port, so that others know where to call");
        }
        let taken = |error: std::io::Error| {
            anyhow!("cannot listen on {address}: {error}; give another address ({flag})")
        };
        held.push(std::net::TcpListener::bind(address).map_err(taken)?);
    }
    Ok(())
}

/// How to reach on this machine what listens on every address.
fn own(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

fn opening(args: &UpArgs, methods: &[Method]) -> String {
    let (workers, slots) = (args.workers, args.slots());
    let mut lines = vec![
        format!("turno is up: gateway, I/O node, {workers} workers with {slots} slot(s) each\n"),
        format!("  call     {}   any gRPC client; reflection and health included", args.listen),
        format!("  join     {}   your own nodes dial in here", args.nodes),
        format!("  tickets  {}   kept here, for the next start too", args.store()),
        format!("  metrics  http://{}/metrics", args.metrics),
    ];
    if let Some(first) = args.console {
        let ports: Vec<String> = (0..args.workers as u16 + 2).map(|at| (first + at).to_string()).collect();
        let ports = ports.join(", ");
        lines.push(format!(
            "  console  tokio-console http://127.0.0.1:{first}   (gateway, io, workers: {ports})"
        ));
    }
    lines.push("\nserved:".to_owned());
    let widest = methods.iter().map(|method| method.name.len()).max().unwrap_or(0);
    lines.extend(methods.iter().map(|method| format!("  {:widest$}  {}", method.name, place(&method.kind))));
    let elsewhere = own(args.listen) != DEFAULT_LISTEN;
    let address = if elsewhere { format!(" --address http://{}", own(args.listen)) } else { String::new() };
    lines.push(format!(
        "\ntry:  turno call turno.cpu.v1.Images/Info '{{\"data\": \"@picture.jpg\"}}'{address}\n\nCtrl-C ends it."
    ));
    lines.join("\n")
}

fn place(kind: &str) -> &'static str {
    match kind {
        "job" => "job on a worker",
        "stream" => "stream from an I/O node",
        _ => "awaited on an I/O node",
    }
}

/// For the person at the terminal; standard output is for data.
fn say(text: &str) {
    let _said = writeln!(Aside, "{text}");
}

#[cfg(test)]
mod tests {
    use super::{UpArgs, opening};
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Told {
        #[command(flatten)]
        args: UpArgs,
    }

    #[test]
    fn there_is_a_port_for_the_console_of_each() {
        let told = |port: u16| {
            Told::try_parse_from(["up", "--workers=64", &format!("--console={port}")]).map(|told| told.args)
        };
        let roles = told(65_470).unwrap().roles();
        let last = roles.last().and_then(|role| role.args.last());
        assert_eq!(last.map(String::as_str), Some("127.0.0.1:65535"));
        assert!(told(65_471).unwrap_err().to_string().contains("is not in 1..=65470"));
    }

    #[test]
    fn whoever_starts_it_is_told_where_tickets_are_kept() {
        let here = std::env::current_dir().unwrap();
        let kept = here.join("orders").display().to_string();
        for (words, place) in [
            ("--data=./orders", kept.as_str()),
            ("--store=postgres://rosa:sesame@db/turno", "postgres://rosa:<hidden>@db/turno"),
        ] {
            let said = opening(&Told::try_parse_from(["up", words]).unwrap().args, &[]);
            assert!(said.contains(&format!("\n  tickets  {place}   ")) && !said.contains("sesame"), "{said}");
        }
    }
}
