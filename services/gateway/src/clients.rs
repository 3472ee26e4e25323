//! `turno.v1.Calls`: clients that send many calls on one stream. A call of an `async fn` is handed to its node's link
//! at once, without a task of its own; whatever has to wait becomes a task and goes the way of every call (`calls`).
//!
//! `incoming` takes a client's calls, `client` ends them, `table` knows them, `answers` gathers what goes down. The other end is the SDK's
//! `client/link.rs`.

mod answers;
mod client;
mod incoming;
mod table;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::Response;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};
use tower::Service as _;
use turno_proto::headers;
use turno_proto::v1::CallsFrame;
use turno_proto::v1::calls_server::{Calls, CallsServer};
use turno_runtime::task;

use crate::edge::Edge;
use crate::listen::Origin;
use answers::Frames;
use client::Client;
use incoming::Known;

pub(crate) use client::Answer;

/// Answers a request to link. `told` is cancelled when the time to drain is over, and what there is to say then is said.
pub(crate) async fn serve(
    edge: Arc<Edge>,
    request: http::Request<tonic::body::Body>,
    origin: Arc<Origin>,
    told: CancellationToken,
) -> Response<tonic::body::Body> {
    let linked = CallsServer::new(CallsService { edge, origin, told }).call(request).await;
    linked.unwrap_or_else(|never| match never {})
}

struct CallsService {
    edge: Arc<Edge>,
    origin: Arc<Origin>,
    told: CancellationToken,
}

#[tonic::async_trait]
impl Calls for CallsService {
    type LinkStream = Frames;

    async fn link(&self, request: Request<Streaming<CallsFrame>>) -> Result<tonic::Response<Frames>, Status> {
        let (metadata, _, up) = request.into_parts();
        let headers = metadata.into_headers();
        if self.origin.is_node && !self.edge.admits(&headers) {
            let what = format!("wrong or missing join token ({})", headers::AUTHORIZATION);
            return Err(Status::unauthenticated(what));
        }
        let own = &self.edge.own;
        let closing = if self.origin.is_node { &own.nodes_closing } else { &own.closing };
        let client = Client::new(self.edge.clone(), self.origin.clone());
        task::spawn("gateway.client", read(client.clone(), up, closing.clone(), self.told.clone()));
        Ok(tonic::Response::new(Frames::new(client)))
    }
}

/// A client that has heard of the gateway's end ends its side at once when it has no call. One that is stopped, or out of reach,
/// does not, and would hold the gateway for as long as it may drain: so it is looked at so often, and left alone when it has
/// been quiet so many times in a row.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 5;

/// Takes a client's frames, and sees to the deadlines of its calls, until the last of them is answered.
async fn read(
    client: Arc<Client>,
    mut up: Streaming<CallsFrame>,
    closing: CancellationToken,
    told: CancellationToken,
) {
    let (mut names, mut ended) = (Vec::<Known>::new(), false);
    let over = client.edge.own.over.clone();
    let mut over = std::pin::pin!(over.cancelled().fuse());
    let mut leaving = std::pin::pin!(leaving(&client, &closing).fuse());
    let mut left_alone = std::pin::pin!(left_alone(&client, &closing));
    let mut late = std::pin::pin!(tokio::time::sleep_until(tokio::time::Instant::now()));
    let mut armed = None;
    while !client.is_over() {
        let first = client.first_deadline();
        // It may fire too early, since calls end before their time: that costs less than setting it for each of them.
        if let Some(first) = first.filter(|first| armed.is_none_or(|armed| *first < armed)) {
            late.as_mut().reset(first.into());
            armed = Some(first);
        }
        tokio::select! {
            biased;
            () = late.as_mut(), if armed.is_some() => {
                armed = None;
                client.end_late();
            }
            () = over.as_mut() => {
                client.take_back();
                told.cancel();
            }
            () = leaving.as_mut() => {}
            () = client.news() => {}
            frame = up.message(), if !ended && client.has_room() => match frame {
                Ok(Some(frame)) => if let Err(status) = client.take(frame, &mut names).await {
                    return client.break_off(status);
                },
                Ok(None) => {
                    ended = true;
                    client.no_more();
                }
                Err(error) => {
                    tracing::debug!(peer = %client.origin.peer, %error, "a client's link broke");
                    // If it still reads: of a frame that is none, or too large.
                    return client.break_off(error);
                }
            },
            // Behind what has come, however busy this machine is.
            () = left_alone.as_mut() => return client.leave_alone(),
        }
    }
}

/// Tells the client when the gateway is ending.
async fn leaving(client: &Client, closing: &CancellationToken) {
    closing.cancelled().await;
    client.leave();
}

/// Completes when the client has had time to end its side, and has nothing here. What it had sent before it heard may be
/// large, and its network slow: it is not alone while frames come.
async fn left_alone(client: &Client, closing: &CancellationToken) {
    closing.cancelled().await;
    let (mut seen, mut quiet) = (client.frames(), 0);
    while quiet < LOOKS {
        tokio::time::sleep(LOOK).await;
        let before = std::mem::replace(&mut seen, client.frames());
        quiet = if before == seen && client.is_idle() { quiet + 1 } else { 0 };
    }
}
