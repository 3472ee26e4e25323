//! The processes of a bench: started fresh, waited for, ended in order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::children::{Role, Watched, free_ports};
use crate::up::Mesh;

/// Who is on the stage beside the gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// The node that serves the bench's `async fn`s.
    Io,
    /// The node that serves its plain `fn`s.
    Worker { slots: u32 },
    /// The same service by stock tonic, whose jobs run on a rayon pool.
    Direct { threads: u32 },
}

/// A gateway and its parts.
#[derive(Debug)]
pub(crate) struct Stage {
    mesh: Mesh,
    parts: Vec<Part>,
    /// Where it keeps its tickets.
    data: Data,
    /// Where the gateway is called.
    pub(crate) gateway: String,
    /// Where the direct server is called, if there is one.
    pub(crate) direct: String,
}

/// Where a stage's tickets are to be kept: in a temporary directory unless it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) data: Option<PathBuf>,
    pub(crate) store: Option<String>,
}

#[derive(Debug)]
enum Data {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Data {
    fn new(kept: &Kept) -> Result<Self> {
        let Some(data) = &kept.data else {
            return Ok(Self::Temporary(TempDir::with_prefix("turno-").context("no directory for tickets")?));
        };
        std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
        Ok(Self::Given(data.clone()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(data) => data.path(),
            Self::Given(data) => data,
        }
    }
}

/// Starts the processes, lets `bench` measure, and ends them whatever came of it.
pub(crate) async fn on_stage<T>(parts: &[Part], bench: impl AsyncFnOnce(&Stage) -> Result<T>) -> Result<T> {
    on_stage_keeping(parts, &Kept::default(), bench).await
}

/// The same, with tickets where they are to be kept.
pub(crate) async fn on_stage_keeping<T>(
    parts: &[Part],
    kept: &Kept,
    bench: impl AsyncFnOnce(&Stage) -> Result<T>,
) -> Result<T> {
    let stage = Stage::start(parts, kept).await?;
    let measured = match stage.ready().await {
        Ok(()) => bench(&stage).await,
        Err(error) => Err(error),
    };
    stage.mesh.stop().await;
    measured
}

impl Stage {
    async fn start(parts: &[Part], kept: &Kept) -> Result<Self> {
        let data = Data::new(kept)?;
        let ((clients, nodes), (direct, _)) = (free_ports()?, free_ports()?);
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (gateway, dial, direct) =
            (local(clients).to_string(), local(nodes).to_string(), local(direct).to_string());
        let roles = parts.iter().map(|part| part.role(&dial, &direct));
        let mut ours = Role::gateway_keeping(&gateway, &dial, data.path());
        ours.settings.extend(kept.store.clone().map(|store| ("TURNO_STORE", store)));
        let roles: Vec<Role> = std::iter::once(ours).chain(roles).collect();
        let mesh = Mesh::start_secluded(roles, local(nodes)).await?;
        Ok(Self { mesh, parts: parts.to_vec(), data, gateway, direct })
    }

    async fn ready(&self) -> Result<()> {
        let nodes = self.parts.iter().filter(|part| !part.is_direct()).count();
        Mesh::ready(self.gateway.parse()?, nodes).await?;
        Ok(())
    }

    /// On the disk where the tickets are, if they are in a directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn gateway_pid(&self) -> u32 {
        self.mesh.processes()[0].pid()
    }

    /// The nodes, in the order of the parts.
    pub(crate) fn node_pids(&self) -> Vec<u32> {
        self.pids(false)
    }

    pub(crate) fn direct_pids(&self) -> Vec<u32> {
        self.pids(true)
    }

    /// The gateway and the nodes.
    pub(crate) fn our_pids(&self) -> Vec<u32> {
        std::iter::once(self.gateway_pid()).chain(self.node_pids()).collect()
    }

    fn pids(&self, direct: bool) -> Vec<u32> {
        let parts = self.parts.iter().zip(&self.mesh.processes()[1..]);
        parts
            .filter(|(part, _)| part.is_direct() == direct)
            .map(|(_, process)| Watched::pid(process))
            .collect()
    }
}

impl Part {
    fn is_direct(self) -> bool {
        matches!(self, Self::Direct { .. })
    }

    fn role(self, dial: &str, direct: &str) -> Role {
        let node = ["bench", "node", "--gateway", dial];
        match self {
            Self::Io => Role::new("I/O node", &node),
            Self::Worker { slots } => {
                let mut worker = Role::new("worker", &node);
                worker.args.extend(["--role", "worker", "--slots", &slots.to_string()].map(str::to_owned));
                worker
            }
            Self::Direct { threads } => Role::new(
                "direct server",
                &["bench", "direct", "--listen", direct, "--threads", &threads.to_string()],
            ),
        }
    }
}

/// This machine's cores: as many slots, and as many threads of the alternative's pool.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}
