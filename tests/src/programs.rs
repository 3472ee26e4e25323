//! The programs of this package as processes of one mesh, which end and have successors.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU8, Ordering};

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use turno_proto::v1::admin_client::AdminClient;
use turno_proto::v1::{ListNodesRequest, Node};

use crate::process::Process;

/// The programs of this package, which only its tests are told the paths of: [`crate::programs`].
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// test-gateway
    pub gateway: &'static str,
    /// kitchen-node
    pub node: &'static str,
}

/// The paths of test-gateway and kitchen-node.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::Programs {
            gateway: env!("CARGO_BIN_EXE_test-gateway"),
            node: env!("CARGO_BIN_EXE_kitchen-node"),
        }
    };
}

impl Programs {
    /// A kitchen that serves the gateways at "host:port,host:port".
    pub fn kitchen(&self, gateways: &str, role: &str, slots: u32) -> Process {
        let slots = slots.to_string();
        let arguments = ["--gateway", gateways, "--role", role, "--slots", &slots, "--log", "error"];
        Process::start(self.node, &arguments)
    }
}

/// A gateway as a process, at an address that a successor can have.
#[derive(Debug)]
pub struct GatewayProcess {
    /// Where clients call.
    pub clients: SocketAddr,
    /// Where nodes dial in.
    pub nodes: SocketAddr,
    programs: Programs,
    process: Option<Process>,
    channel: Channel,
    data: TempDir,
}

impl GatewayProcess {
    /// Starts one, and waits until it takes calls.
    pub async fn start(programs: Programs) -> Self {
        let host = own_loopback();
        let (clients, nodes) = (SocketAddr::from((host, 7070)), SocketAddr::from((host, 7071)));
        let channel = Endpoint::from_shared(format!("http://{clients}")).expect("an address").connect_lazy();
        let data = TempDir::new().expect("a directory");
        let mut gateway = Self { clients, nodes, programs, process: None, channel, data };
        gateway.start_again().await;
        gateway
    }

    /// Starts its successor, once it has ended.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "one at a time");
        let program = self.programs.gateway;
        self.process = Some(Process::gateway(program, self.clients, self.nodes, self.data.path()));
        crate::eventually("the gateway is up", async || self.try_list().await.is_some()).await;
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(&mut self) -> ExitStatus {
        self.process.take().expect("it was started").end().await
    }

    /// The nodes that are linked to it.
    pub async fn list(&self) -> Vec<Node> {
        self.try_list().await.expect("the gateway lists its nodes")
    }

    async fn try_list(&self) -> Option<Vec<Node>> {
        let listed = AdminClient::new(self.channel.clone()).list_nodes(ListNodesRequest {}).await;
        Some(listed.ok()?.into_inner().nodes)
    }
}

/// A loopback address that no other test has: all of 127.0.0.0/8 is this machine, so ports can be chosen before they are
/// bound, and bound again by a successor.
fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 128, low, NEXT.fetch_add(1, Ordering::SeqCst))
}
