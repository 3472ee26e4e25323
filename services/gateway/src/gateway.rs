//! A gateway put together: binds its ports, serves, and ends in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turno_proto::google::longrunning::operations_server::OperationsServer;
use turno_proto::mesh::v1::mesh_server::MeshServer;
use turno_proto::v1::admin_server::AdminServer;
use turno_proto::v1::tickets_server::TicketsServer;
use turno_runtime::metrics::GaugeFamily;
use turno_runtime::ops::Readiness;
use turno_runtime::{task, units};

use crate::admin::AdminService;
use crate::admission::Admission;
use crate::config::GatewayConfig;
use crate::descriptors::Descriptors;
use crate::edge::{Edge, Own};
use crate::error::Error;
use crate::health::Health;
use crate::link::Link;
use crate::listen::{self, Port};
use crate::mesh::MeshService;
use crate::methods::Methods;
use crate::nodes::Nodes;
use crate::queue::JobQueue;
use crate::reflection::Reflection;
use crate::router::Router;
use crate::scheduler::Limits;
use crate::tenants::Tenants;
use crate::tickets::{OperationsService, Surroundings, Tickets, TicketsService};
use crate::trouble::Trouble;
use crate::unread::Unread;

/// A gateway whose ports are bound.
pub struct Gateway {
    config: GatewayConfig,
    clients: (TcpListener, SocketAddr),
    nodes_port: (TcpListener, SocketAddr),
    edge: Arc<Edge>,
    nodes: Arc<Nodes>,
    methods: Arc<Methods>,
    queue: JobQueue,
    health: Health,
    tickets: Tickets,
    closing: CancellationToken,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("clients", &self.clients.1).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Opens the store of tickets, and binds both ports.
    ///
    /// # Errors
    /// A port that is taken, a store that cannot be opened.
    pub async fn bind(config: GatewayConfig) -> Result<Self, Error> {
        config.warn_of_little_room();
        let store = turno_store::open(&config.tickets_at()).await?;
        let clients = listen::bind(config.listen, "clients", "--listen").await?;
        let nodes_port = listen::bind(config.nodes, "nodes", "--nodes").await?;
        let closing = CancellationToken::new();
        let (health, health_server) = Health::new();
        let reflection = Reflection::new()?;
        let methods = Arc::new(Methods::default());
        let limits = Limits { waiting: config.max_waiting, batch_share: config.batch_share };
        let queue = JobQueue::new(limits);
        let descriptors = Descriptors::new(reflection.clone());
        let trouble = Arc::new(Trouble::new());
        let nodes = Arc::new(Nodes::new(
            methods.clone(),
            queue.clone(),
            descriptors.clone(),
            health.clone(),
            trouble.clone(),
        ));
        let router = Arc::new(Router {
            nodes: nodes.clone(),
            queue: queue.clone(),
            patience: config.patience.into(),
            trouble,
            tenants: Tenants::default(),
        });
        let admission = Admission::new(config.max_calls, bytes(config.max_bodies));
        let unread = Unread::new(bytes(config.max_bodies));
        let settled = Instant::now() + config.patience.0;
        let tickets = Tickets::new(Surroundings {
            store,
            is_shared: config.store.is_some(),
            methods: methods.clone(),
            router: router.clone(),
            admission: admission.clone(),
            descriptors,
            settled,
            max_message: bytes(config.max_message),
            longest_call: config.longest_call.into(),
            in_hand: config.tickets_in_hand,
            in_hand_bytes: bytes(config.max_bodies),
        });
        let lease = tickets.take_lease().await;
        lease.map_err(|error| Error::Lease { place: config.tickets_shown(), error })?;
        let mesh = MeshService {
            nodes: nodes.clone(),
            token: config.token.clone(),
            carry_above: bytes(config.carry_above),
            batch_share: config.batch_share,
            max_message: bytes(config.max_message),
        };
        let admin = AdminService { nodes: nodes.clone(), methods: methods.clone() };
        let own = Own {
            admin: AdminServer::new(admin),
            tickets: TicketsServer::new(TicketsService { tickets: tickets.clone() })
                // The edge has its own.
                .max_decoding_message_size(usize::MAX),
            operations: OperationsServer::new(OperationsService { tickets: tickets.clone() }),
            health: health_server,
            mesh: MeshServer::new(mesh).max_decoding_message_size(usize::MAX),
            reflection,
            closing: closing.clone(),
            nodes_closing: CancellationToken::new(),
            over: CancellationToken::new(),
        };
        let edge = Arc::new(Edge {
            methods: methods.clone(),
            router,
            tickets: tickets.clone(),
            admission,
            unread,
            max_message: bytes(config.max_message),
            longest_call: config.longest_call.into(),
            settled,
            token: config.token.clone(),
            own,
        });
        Ok(Self { config, clients, nodes_port, edge, nodes, methods, queue, health, tickets, closing })
    }

    /// Serves in tasks of its own until `shutdown`.
    pub fn start(self, shutdown: CancellationToken) -> Running {
        let (clients, nodes) = (self.clients.1, self.nodes_port.1);
        let readiness = Readiness::default();
        readiness.gain();
        let ended = task::spawn("gateway", self.run(shutdown, readiness.clone()));
        Running { clients, nodes, readiness, ended }
    }

    async fn run(self, shutdown: CancellationToken, readiness: Readiness) {
        let Self { config, clients, nodes_port, edge, nodes, methods, queue, health, tickets, closing } =
            self;
        let port = |listener, is_node| Port { listener, is_node, max_connections: config.max_connections };
        let (nodes_closing, over) = (edge.own.nodes_closing.clone(), edge.own.over.clone());
        let mut from_clients = Opened::new("clients", port(clients.0, false), &edge, closing);
        let mut from_nodes = Opened::new("nodes", port(nodes_port.0, true), &edge, nodes_closing);
        let gauges = task::spawn("gateway.gauges", gauges(edge, nodes.clone(), queue));
        let backlogs = task::spawn("gateway.backlogs", backlogs(nodes.clone()));
        tickets.start();
        let lease = task::spawn("gateway.tickets.lease", tickets.clone().keep_lease());
        shutdown.cancelled().await;
        readiness.lose();
        tickets.close();
        health.end(&methods.services()).await;
        // Calls end first, and with them the nested calls that come by the nodes' port; then the links.
        join(from_clients.close(config.drain.into()), tickets.drained(config.drain.into())).await;
        lease.abort();
        // What is not done then hears so, and leaves its node.
        over.cancel();
        let _told = tokio::time::timeout(LAST_WORDS, from_clients.open.wait()).await;
        let released = nodes.all().into_iter().map(|link| release(nodes.clone(), link));
        if tokio::time::timeout(LINKS_PATIENCE, join_all(released)).await.is_err() {
            tracing::warn!("a node does not read its link any more");
        }
        from_nodes.close(LINKS_PATIENCE).await;
        gauges.abort();
        backlogs.abort();
    }
}

async fn release(nodes: Arc<Nodes>, link: Arc<Link>) {
    nodes.leaving(&link).await;
    link.release().await;
}

/// Nodes that were released end their links at once, but for calls that nobody waits for any more.
const LINKS_PATIENCE: Duration = Duration::from_secs(2);
/// For what is told of calls that outlive the time to drain to be written, and read.
const LAST_WORDS: Duration = Duration::from_secs(1);
const GAUGES_EVERY: Duration = Duration::from_secs(1);
const BACKLOGS_EVERY: Duration = Duration::from_millis(50);

/// A port that is open, and its connections.
struct Opened {
    /// Whose it is.
    port: &'static str,
    closing: CancellationToken,
    accepting: JoinHandle<()>,
    open: TaskTracker,
}

impl Opened {
    fn new(whose: &'static str, port: Port, edge: &Arc<Edge>, closing: CancellationToken) -> Self {
        let open = TaskTracker::new();
        let run = port.run(edge.clone(), closing.clone(), open.clone());
        let accepting = task::spawn(&format!("gateway.{whose}"), run);
        Self { port: whose, closing, accepting, open }
    }

    async fn close(&mut self, patience: Duration) {
        self.closing.cancel();
        if let Err(error) = (&mut self.accepting).await {
            tracing::error!(%error, port = self.port, "a port broke");
        }
        self.open.close();
        if tokio::time::timeout(patience, self.open.wait()).await.is_err() {
            tracing::warn!(
                port = self.port,
                connections = self.open.len(),
                "time to drain is over: connections are still in use"
            );
        }
    }
}

fn bytes(size: units::Size) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

async fn gauges(edge: Arc<Edge>, nodes: Arc<Nodes>, queue: JobQueue) {
    let gauge = |name, help| GaugeFamily::new(name, help).with([]);
    let linked = gauge("turno_nodes", "Nodes that are linked to this gateway.");
    let in_flight = gauge("turno_calls_in_flight", "Calls of which the answer is not written yet.");
    let unread =
        gauge("turno_unread_bytes", "Bytes of large answers, and of streams, that clients have not read.");
    let in_hand = gauge("turno_tickets_in_hand", "Attempts of tickets that are under way at this gateway.");
    let waiting = gauge("turno_jobs_waiting", "Jobs that wait at this gateway for a place at a worker.");
    loop {
        linked.set(nodes.count() as f64);
        in_flight.set(edge.admission.calls() as f64);
        unread.set(edge.unread.bytes() as f64);
        in_hand.set(edge.tickets.in_hand() as f64);
        waiting.set(queue.waiting() as f64);
        edge.router.trouble.tick();
        queue.tell_time();
        tokio::time::sleep(GAUGES_EVERY).await;
    }
}

/// A worker that has several gateways moves its slots to those where work waits.
async fn backlogs(nodes: Arc<Nodes>) {
    loop {
        nodes.tell_backlogs();
        tokio::time::sleep(BACKLOGS_EVERY).await;
    }
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    clients: SocketAddr,
    nodes: SocketAddr,
    readiness: Readiness,
    ended: JoinHandle<()>,
}

impl Running {
    /// Where clients call.
    pub fn clients(&self) -> SocketAddr {
        self.clients
    }

    /// Where nodes dial in.
    pub fn nodes(&self) -> SocketAddr {
        self.nodes
    }

    /// Whether it takes calls.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Completes after shutdown, when what was in flight is done.
    pub async fn ended(self) {
        if let Err(error) = self.ended.await {
            tracing::error!(%error, "the gateway broke");
        }
    }
}
