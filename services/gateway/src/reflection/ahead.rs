//! What a stream of reflection asks first, read ahead of tonic, which sees all of it nevertheless.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _};
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

/// A request's body, with what was read of it.
pub(super) struct Ahead {
    body: Body,
    read: Vec<Result<Frame<Bytes>, Status>>,
    /// The bytes of `read`.
    bytes: BytesMut,
}

impl Ahead {
    pub(super) fn of(body: Body) -> Self {
        Self { body, read: Vec::new(), bytes: BytesMut::new() }
    }

    /// The symbol that is asked for first, if it is one. v1alpha has the same messages.
    pub(super) async fn symbol(&mut self) -> Option<String> {
        let message = self.message().await?;
        match ServerReflectionRequest::decode(message).ok()?.message_request? {
            MessageRequest::FileContainingSymbol(symbol) => Some(symbol),
            _ => None,
        }
    }

    /// The first message. The edge has unpacked it, and refused what is too large.
    async fn message(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = whole(&self.bytes) {
                return Some(Bytes::copy_from_slice(message));
            }
            let frame = self.body.frame().await?;
            let data = frame.as_ref().ok().and_then(Frame::data_ref).cloned();
            self.read.push(frame);
            self.bytes.extend_from_slice(&data?);
        }
    }

    /// All of it, from its beginning.
    pub(super) fn into_body(self) -> Body {
        Body::new(StreamBody::new(stream::iter(self.read).chain(BodyStream::new(self.body))))
    }
}

/// The message at the start of `bytes`, behind its prefix.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let ([_, length @ ..], rest) = bytes.split_first_chunk::<5>()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}
