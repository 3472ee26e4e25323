//! The nodes' port: lets nodes in, reads what their links bring, serves their carries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};
use turno_proto::headers;
use turno_proto::mesh::v1::mesh_server::Mesh;
use turno_proto::mesh::v1::{CarryUp, Hello, NodeFrame, Welcome};
use turno_runtime::parts::Parts;
use turno_runtime::task;

use crate::carry::{self, CarryStream};
use crate::edge::is_own;
use crate::link::Link;
use crate::link::frames::{Down, Frames};
use crate::listen::Origin;
use crate::nodes::Nodes;
use crate::quote::beginning;
use crate::scheduler::WorkerId;
use crate::token::Token;

/// The `Mesh` service.
pub(crate) struct MeshService {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) token: Token,
    pub(crate) carry_above: usize,
    pub(crate) batch_share: f64,
    pub(crate) max_message: usize,
}

/// Invocations that gather while the writer is busy; a full channel makes callers wait.
const INVOCATIONS_WAITING: usize = 1024;
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
const MOST_METHODS: usize = 10_000;

#[tonic::async_trait]
impl Mesh for MeshService {
    type LinkStream = Frames;
    type CarryStream = CarryStream;

    async fn link(&self, request: Request<Streaming<NodeFrame>>) -> Result<Response<Frames>, Status> {
        self.authorise(&request)?;
        let peer = peer(&request);
        let mut up = request.into_inner();
        let hello = hello(&mut up).await?;
        let (down, gathered) = mpsc::channel(INVOCATIONS_WAITING);
        let id = self.nodes.new_id();
        let welcome = Welcome {
            link_id: id.0.to_string(),
            carry_above: self.carry_above as u64,
            batch_share: Some(self.batch_share),
        };
        // It cannot fail: the channel is new and empty.
        let _sent = down.try_send(Down::Welcome(welcome));
        let link = Arc::new(Link::new(id, hello, peer, down, self.carry_above));
        let frames = Frames::new(Arc::downgrade(&link), gathered);
        let (joined, has_joined) = oneshot::channel();
        task::spawn("gateway.link", read(self.nodes.clone(), link, up, joined));
        // A node that hears its welcome is known to be served from: calls find it.
        has_joined.await.map_err(|_| Status::unavailable("the gateway is ending"))?;
        Ok(Response::new(frames))
    }

    async fn carry(&self, request: Request<Streaming<CarryUp>>) -> Result<Response<CarryStream>, Status> {
        self.authorise(&request)?;
        let mut up = request.into_inner();
        let first = tokio::time::timeout(HELLO_PATIENCE, up.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("nothing came to be carried"))??;
        let open = first.and_then(|frame| frame.open);
        let open = open.ok_or_else(|| Status::invalid_argument("a carry begins with `open`"))?;
        let link = open.link_id.parse().ok().and_then(|id| self.nodes.get(WorkerId(id)));
        let unknown = || Status::not_found(format!("there is no link {:?}", beginning(&open.link_id)));
        let link = link.ok_or_else(unknown)?;
        let bytes = usize::try_from(open.bytes).unwrap_or(usize::MAX);
        let nobody = || Status::cancelled("nobody waits for this call any more");
        let entry = match link.pass_of(open.call) {
            Some(pass) => {
                let leaves = || link.is_leaving() || link.stream_of(open.call).is_none();
                Some(pass.enter(bytes, leaves).await.ok_or_else(nobody)?)
            }
            None => None,
        };
        // Nor while it waited.
        link.stream_of(open.call).ok_or_else(nobody)?;
        Ok(Response::new(carry::serve(link, open.call, up, self.max_message, entry)))
    }
}

impl MeshService {
    fn authorise<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let shown = request.metadata().get(headers::AUTHORIZATION).map(|value| value.as_bytes());
        if self.token.admits(shown) {
            return Ok(());
        }
        tracing::warn!(peer = %peer(request), "a node with a wrong join token, or none, was refused");
        Err(Status::unauthenticated(
            "wrong or missing join token: give the node the gateway's (--token, TURNO_TOKEN)",
        ))
    }
}

fn peer<T>(request: &Request<T>) -> SocketAddr {
    request
        .extensions()
        .get::<Arc<Origin>>()
        .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |origin| origin.peer)
}

async fn hello(up: &mut Streaming<NodeFrame>) -> Result<Hello, Status> {
    let first = tokio::time::timeout(HELLO_PATIENCE, up.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
    let hello = first.and_then(|frame| frame.hello);
    let hello = hello.ok_or_else(|| Status::invalid_argument("a link begins with a hello"))?;
    if hello.methods.len() > MOST_METHODS {
        return Err(Status::invalid_argument(format!("more than {MOST_METHODS} methods")));
    }
    match hello.methods.iter().find(|method| !is_path(&method.path)) {
        Some(method) => Err(Status::invalid_argument(format!(
            "{:?} is no method: expected /package.Service/Method",
            beginning(&method.path)
        ))),
        None => Ok(hello),
    }
}

/// "/package.Service/Method", and none of the gateway's own.
fn is_path(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts.as_slice(), ["", service, method] if !service.is_empty() && !method.is_empty())
        && !is_own(path)
}

async fn read(nodes: Arc<Nodes>, link: Arc<Link>, mut up: Streaming<NodeFrame>, joined: oneshot::Sender<()>) {
    nodes.join(&link).await;
    // The node may have gone again meanwhile; then the stream says so.
    let _gone = joined.send(());
    loop {
        match up.message().await {
            Ok(Some(frame)) => {
                // A call's last word before its outcome, after which nobody listens.
                for progress in frame.progress {
                    link.progress(progress);
                }
                let speaks = !frame.outcomes.is_empty() || frame.queue.is_some();
                let mut parts = Parts::of(frame.outcomes.len());
                for outcome in frame.outcomes {
                    parts.step().await;
                    link.outcome(outcome);
                }
                if speaks {
                    link.heard_queue(frame.queue);
                }
                if let Some(slots) = frame.window {
                    nodes.resize(&link, slots);
                }
                if !frame.blocking.is_empty() {
                    link.set_blocking(frame.blocking);
                }
                if frame.leaving {
                    nodes.leaving(&link).await;
                    link.release().await;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "link broke");
                break;
            }
        }
    }
    nodes.gone(&link).await;
}

#[cfg(test)]
mod tests {
    use super::is_path;

    #[test]
    fn a_node_may_not_claim_the_gateways_own_services() {
        assert!(is_path("/gallery.v1.Gallery/Thumbnail"));
        assert!(is_path("/turno.io.v1.Http/Fetch"));
        for bad in [
            "",
            "/",
            "a/b",
            "/a",
            "/a/",
            "//b",
            "/a/b/c",
            "/grpc.health.v1.Health/Check",
            "/turno.v1.Admin/ListNodes",
            "/google.longrunning.Operations/GetOperation",
        ] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
