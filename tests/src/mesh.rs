//! A mesh in one process.

use std::future::Future;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use turno::node::Running;
use turno::node::config::{NodeConfig, Role};
use turno_gateway::{Gateway, GatewayConfig};
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::v1::admin_client::AdminClient;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{ListNodesRequest, Node};

use crate::kitchen::{Cook, Kitchen};
use crate::stubs::Dish;
use crate::stubs::kitchen_client::KitchenClient;

/// A gateway on ports of its own, and nodes that come and go.
#[derive(Debug)]
pub struct TestMesh {
    gateway: turno_gateway::Running,
    shutdown: CancellationToken,
    channel: Channel,
    /// Where the gateway keeps its tickets, unless the test has said where.
    _data: TempDir,
}

/// A node that a test can end.
#[derive(Debug)]
pub struct TestNode {
    /// Asks it to leave.
    pub shutdown: CancellationToken,
    /// The node.
    pub running: Running,
}

impl TestNode {
    /// Asks it to leave, and waits until it has.
    pub async fn leave(self) {
        self.shutdown.cancel();
        self.running.left().await;
    }
}

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

impl TestMesh {
    /// A gateway alone, on any ports unless `config` says which. Its tickets go with it, unless `config` says where they are
    /// kept.
    pub async fn gateway(config: GatewayConfig) -> Self {
        turno_runtime::tls::install_provider();
        let any = "127.0.0.1:0".parse().expect("an address");
        let data = TempDir::new().expect("a directory");
        let default = GatewayConfig::default();
        let listen = if config.listen == default.listen { any } else { config.listen };
        let nodes = if config.nodes == default.nodes { any } else { config.nodes };
        let is_said = config.data != default.data;
        let data_of = if is_said { config.data.clone() } else { data.path().to_owned() };
        let config = GatewayConfig { listen, nodes, data: data_of, ..config };
        let shutdown = CancellationToken::new();
        let gateway = Gateway::bind(config).await.expect("two free ports").start(shutdown.clone());
        let channel = Endpoint::from_shared(format!("http://{}", gateway.clients()))
            .expect("an address")
            .connect_lazy();
        Self { gateway, shutdown, channel, _data: data }
    }

    /// A gateway, an I/O node and so many workers with so many slots, all of them kitchens.
    pub async fn start(workers: usize, slots: u32) -> Self {
        let mesh = Self::gateway(GatewayConfig::default()).await;
        drop(mesh.kitchen(Role::Io, 1).await);
        for _ in 0..workers {
            drop(mesh.kitchen(Role::Worker, slots).await);
        }
        mesh
    }

    /// What a node needs to know to join.
    pub fn node_config(&self, role: Role, slots: u32) -> NodeConfig {
        let gateway = self.gateway.nodes().to_string();
        NodeConfig { gateway, role, slots: Some(slots), ..NodeConfig::default() }
    }

    /// One more kitchen, linked.
    pub async fn kitchen(&self, role: Role, slots: u32) -> TestNode {
        self.join(turno::node("kitchen").service(Kitchen::default), self.node_config(role, slots)).await
    }

    /// A kitchen that the test looks into, linked.
    pub async fn kitchen_of(&self, cook: &Cook, role: Role, slots: u32) -> TestNode {
        let kitchen = Kitchen::of(cook);
        self.join(turno::node("kitchen").service(move || kitchen), self.node_config(role, slots)).await
    }

    /// Any node, linked.
    pub async fn join(&self, node: turno::Node, config: NodeConfig) -> TestNode {
        let shutdown = CancellationToken::new();
        let running = node.start(&config, shutdown.clone()).expect("a node that can start");
        let id = running.id().to_owned();
        eventually("the node joins", async || self.nodes().await.iter().any(|node| node.id == id)).await;
        TestNode { shutdown, running }
    }

    /// The nodes as the gateway lists them.
    pub async fn nodes(&self) -> Vec<Node> {
        let listed = AdminClient::new(self.channel.clone()).list_nodes(ListNodesRequest {}).await;
        listed.expect("the gateway lists its nodes").into_inner().nodes
    }

    /// A stock client.
    pub fn client(&self) -> KitchenClient<Channel> {
        KitchenClient::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    /// Submits.
    pub fn tickets(&self) -> TicketsClient<Channel> {
        TicketsClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Gets, waits for, lists, cancels and deletes what was submitted.
    pub fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The clients' port.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The gateway itself.
    pub fn running(&self) -> &turno_gateway::Running {
        &self.gateway
    }

    /// Echoes one after the other until these have ended, none of them for long. Answers how many.
    pub async fn echoes_beside<T>(&self, calls: &[JoinHandle<T>]) -> u32 {
        let mut echoes = 0;
        while calls.iter().any(|call| !call.is_finished()) {
            let echo = async { self.client().echo(Dish::default()).await };
            let answer =
                tokio::time::timeout(Duration::from_secs(1), echo).await.expect("echo does not wait");
            answer.expect("an echo");
            echoes += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        echoes
    }

    /// Calls at nodes.
    pub async fn in_flight(&self) -> u64 {
        self.nodes().await.iter().map(|node| node.in_flight).sum()
    }

    /// How many were at nodes at once, until these have ended.
    pub async fn most_at_once<T>(&self, calls: &[JoinHandle<T>]) -> u64 {
        let mut most = 0;
        while calls.iter().any(|call| !call.is_finished()) {
            most = most.max(self.in_flight().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        most
    }

    /// Asks the gateway to end, and waits until it has.
    pub async fn end(self) {
        self.shutdown.cancel();
        self.gateway.ended().await;
    }
}

/// A request that the gateway refuses when it comes: once it has, all that was sent before on the same connection are there.
pub fn refused_at_once<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("turno-lane", "none".parse().expect("it is ASCII"));
    request
}

/// Waits until `condition` holds, with a deadline.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
