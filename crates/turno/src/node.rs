//! A node: the process that serves methods. Built from services, told by its configuration what to serve and
//! whom to dial.

pub(crate) mod answers;
pub(crate) mod batch_shares;
mod carry;
pub mod config;
pub(crate) mod dialer;
pub(crate) mod frames;
pub(crate) mod lines;
pub(crate) mod link;
pub(crate) mod progress;
mod run;
// For the simulation of whole meshes in `tests/`.
#[doc(hidden)]
pub mod share;
pub mod token;
mod windows;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turno_proto::mesh::v1::{self as mesh, Hello, Kind};
use turno_runtime::ops::Readiness;
use turno_runtime::task;

use crate::dispatch::Dispatch;
use crate::error::Error;
use crate::node::batch_shares::BatchShares;
use crate::node::config::{NodeConfig, Role};
use crate::node::link::Settings;
use crate::node::windows::Windows;
use crate::pool::Pool;
use crate::service::{Entry, Service, Table};
use crate::watchdog::Board;

/// Begins a node. `name` is what `turno nodes` shows for it: "gallery".
pub fn node(name: impl Into<String>) -> Node {
    Node { name: name.into(), services: Vec::new() }
}

/// A node before it starts.
pub struct Node {
    name: String,
    services: Vec<Box<dyn FnOnce() -> Result<Table, Error> + Send>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a service's constructor may answer: the service, or a result of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "expected a service, or a `Result` of one",
    note = "put `#[turno::service(module)]` on the impl block with its rpcs"
)]
pub trait IntoService {
    /// The service.
    type Service: Service;
    /// The service, or why there is none.
    fn into_service(self) -> Result<Self::Service, String>;
}

#[diagnostic::do_not_recommend]
impl<S: Service> IntoService for S {
    type Service = S;
    fn into_service(self) -> Result<S, String> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl<S: Service, E: fmt::Display> IntoService for Result<S, E> {
    type Service = S;
    fn into_service(self) -> Result<S, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

impl Node {
    /// Adds a service. `make` runs when the node starts, inside the runtime: `.service(Gallery::new)`.
    pub fn service<M: IntoService>(mut self, make: impl FnOnce() -> M + Send + 'static) -> Self {
        self.services.push(Box::new(move || {
            let service = std::any::type_name::<M::Service>();
            let made = make().into_service();
            made.map(Service::table).map_err(|reason| Error::Service { service, reason })
        }));
        self
    }

    /// Starts inside the runtime that is there, and answers at once; the node dials on by itself until `shutdown`.
    ///
    /// # Errors
    /// A service that cannot be made, a method served twice, nothing to serve in the configured role.
    pub fn start(self, config: &NodeConfig, shutdown: CancellationToken) -> Result<Running, Error> {
        let readiness = Readiness::default();
        let batch_shares = Arc::<BatchShares>::default();
        let (dispatch, hello) = self.assemble(config, &batch_shares)?;
        let windows = Windows::new(hello.slots);
        let settings = Arc::new(Settings {
            dispatch,
            hello,
            token: config.token.clone(),
            drain: config.drain.into(),
            shutdown,
            readiness: readiness.clone(),
            windows,
            batch_shares,
        });
        let node_id = settings.hello.node_id.clone();
        let mut gateways: Vec<_> = config.gateways().collect();
        gateways.sort_unstable();
        gateways.dedup();
        let dial =
            |gateway: &str| task::spawn("node.dialer", dialer::run(settings.clone(), gateway.to_owned()));
        let dialers = gateways.into_iter().map(dial).collect();
        Ok(Running { node_id, readiness, dialers })
    }

    fn assemble(
        self,
        config: &NodeConfig,
        batch_shares: &Arc<BatchShares>,
    ) -> Result<(Dispatch, Hello), Error> {
        let tables = self.services.into_iter().map(|make| make()).collect::<Result<Vec<_>, _>>()?;
        let descriptor_sets = descriptors(&tables);
        let methods: Vec<Entry> = tables
            .into_iter()
            .flat_map(|table| table.methods)
            .filter(|entry| serves(config.role, entry))
            .collect();
        if methods.is_empty() {
            return Err(Error::NothingToServe { name: self.name, role: config.role });
        }
        refuse_twice(&methods)?;
        let has_jobs = methods.iter().any(|entry| entry.handler.kind() == Kind::Job);
        let slots = if has_jobs { slots(config) } else { 0 };
        let pool = if has_jobs { Some(Pool::new(slots, batch_shares.clone())?) } else { None };
        let hello = Hello {
            node_id: uuid::Uuid::now_v7().to_string(),
            name: self.name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: role(&methods).into(),
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            methods: methods.iter().map(announced).collect(),
            descriptor_sets,
        };
        let names = methods.iter().map(|entry| entry.name);
        let limit = config.blocking_after.into();
        let board = Board::new(names, limit, pool.as_ref(), batch_shares.clone())?;
        Ok((Dispatch { methods, board, pool }, hello))
    }
}

/// A node that runs.
#[derive(Debug)]
pub struct Running {
    node_id: String,
    readiness: Readiness,
    dialers: Vec<JoinHandle<()>>,
}

impl Running {
    /// The id under which the gateway knows it.
    pub fn id(&self) -> &str {
        &self.node_id
    }

    /// Whether it is linked to a gateway.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Completes after shutdown, when all that ran has answered and the node has left.
    pub async fn left(self) {
        for dialer in self.dialers {
            if let Err(error) = dialer.await {
                tracing::error!(%error, "the dialer broke");
            }
        }
    }

    /// Ends the node as a crash would: no goodbye, nothing finished. For tests of what happens then.
    pub fn abort(self) {
        self.dialers.iter().for_each(JoinHandle::abort);
    }
}

fn serves(role: Role, entry: &Entry) -> bool {
    match role {
        Role::Both => true,
        Role::Worker => entry.handler.kind() == Kind::Job,
        Role::Io => entry.handler.kind() != Kind::Job,
    }
}

fn refuse_twice(methods: &[Entry]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    match methods.iter().find(|entry| !seen.insert(entry.name)) {
        Some(entry) => Err(Error::Twice { method: entry.name }),
        None => Ok(()),
    }
}

/// Services of one package share their descriptors: each set once.
fn descriptors(tables: &[Table]) -> Vec<bytes::Bytes> {
    let mut sets: Vec<&'static [u8]> = tables.iter().map(|table| table.descriptors).collect();
    sets.sort_unstable();
    sets.dedup();
    sets.into_iter().map(bytes::Bytes::from_static).collect()
}

fn slots(config: &NodeConfig) -> usize {
    match config.slots {
        Some(slots) => slots as usize,
        None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    }
}

/// What a node is, by what it serves.
fn role(methods: &[Entry]) -> mesh::Role {
    let jobs = methods.iter().filter(|entry| entry.handler.kind() == Kind::Job).count();
    match jobs {
        0 => mesh::Role::Io,
        all if all == methods.len() => mesh::Role::Worker,
        _ => mesh::Role::Both,
    }
}

fn announced(entry: &Entry) -> mesh::Method {
    mesh::Method {
        path: format!("/{}", entry.name),
        kind: entry.handler.kind().into(),
        repeatable: entry.repeatable,
        policy: entry.policy.announced(),
        takes_stream: entry.handler.takes_stream(),
    }
}
