//! `turno.v1.Admin`: what the gateway knows, for `turno nodes` and `turno methods`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use turno_proto::mesh::v1::{self as mesh, Kind, Role};
use turno_proto::v1::admin_server::Admin;
use turno_proto::v1::{
    Blocking, ListMethodsRequest, ListMethodsResponse, ListNodesRequest, ListNodesResponse, Method, Node,
};
use turno_runtime::units::micros;

use crate::link::Link;
use crate::methods::{self, Methods};
use crate::nodes::Nodes;

/// Answers from what is known.
pub(crate) struct AdminService {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) methods: Arc<Methods>,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        let nodes = self.nodes.all().iter().map(|link| node(link)).collect();
        Ok(Response::new(ListNodesResponse { nodes }))
    }

    async fn list_methods(
        &self,
        _: Request<ListMethodsRequest>,
    ) -> Result<Response<ListMethodsResponse>, Status> {
        let methods = self.methods.all().iter().map(|known| method(known)).collect();
        Ok(Response::new(ListMethodsResponse { methods }))
    }
}

fn node(link: &Link) -> Node {
    let role = match link.hello.role() {
        Role::Io => "io",
        Role::Worker => "worker",
        Role::Both | Role::Unspecified => "both",
    };
    Node {
        id: link.hello.node_id.clone(),
        name: link.hello.name.clone(),
        version: link.hello.version.clone(),
        role: role.to_owned(),
        peer: link.peer.to_string(),
        slots: link.hello.slots,
        in_flight: link.outstanding() as u64,
        calls_served: link.served(),
        age_ms: u64::try_from(link.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        leaving: link.is_leaving(),
        blocking: link.blocking().iter().filter_map(|blocking| named(link, blocking)).collect(),
        times_slower: link.times_slower(),
    }
}

/// None for a method that the node does not have.
fn named(link: &Link, blocking: &mesh::Blocking) -> Option<Blocking> {
    let method = link.hello.methods.get(usize::try_from(blocking.method).ok()?)?;
    Some(Blocking {
        method: method.path.trim_start_matches('/').to_owned(),
        times: blocking.times,
        longest_ms: blocking.longest_us / 1000,
    })
}

fn method(method: &methods::Method) -> Method {
    let served = method.served();
    let kind = match served.kind {
        Kind::Job => "job",
        Kind::Stream => "stream",
        Kind::Awaited | Kind::Unspecified => "awaited",
    };
    Method {
        name: method.name().to_owned(),
        kind: kind.to_owned(),
        repeatable: served.repeatable,
        nodes: u32::try_from(served.seats.len()).unwrap_or(u32::MAX),
        timeout_us: served.policy.timeout.map_or(0, micros),
        concurrency: served.policy.concurrency.map_or(0, u32::from),
        hedge_after_us: served.policy.hedge_after.map_or(0, micros),
        retries: served.policy.retries,
    }
}
