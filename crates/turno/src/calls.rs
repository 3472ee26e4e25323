//! Calls from a method to other methods: plain gRPC to the gateway's port for nodes, on connections beside the
//! link, so that large bodies, streams, deadlines and cancellation are HTTP/2's business.

mod held;

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataKey, MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use turno_proto::v1::{MapRequest, MapResponse};
use turno_proto::{headers, timeout};

use crate::context::Context;
use crate::node::lines::Lines;
use crate::node::token::Token;
use crate::rpc::{BidiStreaming, ClientStreaming, ServerStreaming, Unary};

pub(crate) use held::Held;

/// The way from a node to the methods of the mesh, by the gateway that a call came from.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    way: Way,
    token: Token,
}

/// What a call goes by. Shared: a clone of a channel is made of several pieces of memory, and most calls make no other.
#[derive(Clone, Debug)]
enum Way {
    /// One connection.
    One(Arc<Held>),
    /// Whichever of a node's has room.
    Any(Arc<Lines>),
}

impl Mesh {
    pub(crate) fn new(channel: impl Into<Held>, token: Token) -> Self {
        Self { way: Way::One(Arc::new(channel.into())), token }
    }

    /// For the methods of a node.
    pub(crate) fn by(lines: Arc<Lines>, token: Token) -> Self {
        Self { way: Way::Any(lines), token }
    }

    pub(crate) async fn unary<R: Unary>(&self, request: Request<R::Request>) -> crate::Result<R::Response> {
        self.unary_with_metadata::<R>(request).await.map(Response::into_inner)
    }

    pub(crate) async fn unary_with_metadata<R: Unary>(
        &self,
        request: Request<R::Request>,
    ) -> crate::Result<Response<R::Response>> {
        let mut client = self.ready().await?;
        let path = PathAndQuery::from_static(R::PATH);
        client.unary(request, path, ProstCodec::default()).await.map_err(late)
    }

    pub(crate) async fn server_streaming<R: ServerStreaming>(
        &self,
        request: Request<R::Request>,
    ) -> crate::Result<Streaming<R::Response>> {
        let mut client = self.ready().await?;
        let path = PathAndQuery::from_static(R::PATH);
        let response = client.server_streaming(request, path, ProstCodec::default()).await;
        response.map(Response::into_inner).map_err(late)
    }

    pub(crate) async fn client_streaming<R: ClientStreaming>(
        &self,
        request: Request<impl Stream<Item = R::Request> + Send + 'static>,
    ) -> crate::Result<Response<R::Response>> {
        let mut client = self.ready().await?;
        let path = PathAndQuery::from_static(R::PATH);
        client.client_streaming(request, path, ProstCodec::default()).await.map_err(late)
    }

    pub(crate) async fn bidi_streaming<R: BidiStreaming>(
        &self,
        request: Request<impl Stream<Item = R::Request> + Send + 'static>,
    ) -> crate::Result<Streaming<R::Response>> {
        let mut client = self.ready().await?;
        let path = PathAndQuery::from_static(R::PATH);
        let response = client.streaming(request, path, ProstCodec::default()).await;
        response.map(Response::into_inner).map_err(late)
    }

    pub(crate) async fn map(
        &self,
        requests: Request<impl Stream<Item = MapRequest> + Send + 'static>,
    ) -> crate::Result<Streaming<MapResponse>> {
        let mut client = self.ready().await?;
        let path = PathAndQuery::from_static("/turno.v1.Map/Map");
        let response = client.streaming(requests, path, ProstCodec::default()).await;
        response.map(Response::into_inner).map_err(late)
    }

    /// Says in whose name the call is made and how long it may take.
    pub(crate) fn label<Q>(&self, request: &mut Request<Q>, ctx: &Context) {
        shorten_deadline(request, ctx.time_left());
        self.sign(request, ctx);
    }

    /// Says in whose name the call is made.
    pub(crate) fn sign<Q>(&self, request: &mut Request<Q>, ctx: &Context) {
        let metadata = request.metadata_mut();
        self.token.write(metadata);
        set(metadata, headers::CALLER_METHOD, ctx.method());
        set(metadata, headers::CALLER_PEER, ctx.peer());
        for entry in ctx.entries().iter().filter(|entry| is_inherited(&entry.key)) {
            if let (Ok(key), Ok(value)) = (
                AsciiMetadataKey::from_bytes(entry.key.as_bytes()),
                MetadataValue::try_from(&entry.value[..]),
            ) && !metadata.contains_key(&key)
            {
                metadata.insert(key, value);
            }
        }
    }

    async fn ready(&self) -> crate::Result<Grpc<Held>> {
        let held = match &self.way {
            Way::One(held) => Held::clone(held),
            Way::Any(lines) => lines.carry(),
        };
        ready(held).await
    }
}

/// A client that has a connection. How large a message may be is the gateway's to say.
pub(crate) async fn ready(channel: Held) -> crate::Result<Grpc<Held>> {
    let mut client =
        Grpc::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
    let unreachable = |error| Status::unavailable(format!("the gateway cannot be reached: {error}"));
    client.ready().await.map_err(unreachable)?;
    Ok(client)
}

/// tonic's own timer says CANCELLED where gRPC says DEADLINE_EXCEEDED.
pub(crate) fn late(status: Status) -> Status {
    let by_timer = status.code() == Code::Cancelled && status.message() == "Timeout expired";
    if by_timer {
        Status::deadline_exceeded("the deadline passed before the answer was here")
    } else {
        status
    }
}

fn is_inherited(key: &str) -> bool {
    headers::INHERITED.contains(&key)
}

fn set(metadata: &mut MetadataMap, key: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        metadata.insert(key, value);
    }
}

/// The smaller of the caller's time and what the request itself asks for.
fn shorten_deadline<Q>(request: &mut Request<Q>, left: Option<Duration>) {
    let asked = request.metadata().get(headers::GRPC_TIMEOUT).and_then(|v| timeout::parse(v.as_bytes()).ok());
    if let Some(least) = left.into_iter().chain(asked).min() {
        request.set_timeout(least);
    }
}

#[cfg(test)]
mod tests {
    use super::shorten_deadline;
    use std::time::Duration;
    use tonic::Request;

    fn left_of(own: Option<u64>, callers: Option<u64>) -> Option<String> {
        let mut request = Request::new(());
        if let Some(own) = own {
            request.set_timeout(Duration::from_secs(own));
        }
        shorten_deadline(&mut request, callers.map(Duration::from_secs));
        request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_nested_call_never_has_more_time_than_its_caller() {
        assert_eq!(left_of(None, None), None);
        assert_eq!(left_of(Some(9), Some(3)), left_of(None, Some(3)));
        assert_eq!(left_of(Some(2), Some(3)), left_of(Some(2), None));
    }
}
