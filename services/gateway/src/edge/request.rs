//! Reads the one message of a unary request.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::Request;
use hyper::body::Incoming;
use tonic::Status;

use crate::admission::Room;
use crate::edge::prefixed::{ENCODING, Limit, PREFIX, STALL, length, next_data, stalled, unpack};

/// Answers the message, unpacked.
pub(crate) async fn read(
    request: &mut Request<Incoming>,
    max_message: usize,
    room: &mut Room,
) -> Result<Bytes, Status> {
    let limit = Limit::max_message(max_message);
    let (mut whole, mut gathered) = (Bytes::new(), BytesMut::new());
    let mut expected = None;
    while let Some(data) =
        tokio::time::timeout(STALL, next_data(request.body_mut())).await.map_err(stalled)??
    {
        // What has come, not what the prefix promises: a client that sends nothing else takes nobody's room.
        room.hold(data.len())?;
        if whole.is_empty() && gathered.is_empty() {
            whole = data;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut whole));
            gathered.extend_from_slice(&data);
        }
        let so_far: &[u8] = if gathered.is_empty() { &whole } else { &gathered };
        if expected.is_none() && so_far.len() >= PREFIX {
            let length = length(so_far, limit)?;
            expected = Some(PREFIX + length);
        }
        if expected.is_some_and(|expected| so_far.len() > expected) {
            return Err(Status::internal("more than one message in the request of a unary method"));
        }
    }
    let mut message = if gathered.is_empty() { whole } else { gathered.freeze() };
    match expected {
        Some(expected) if message.len() == expected => {}
        Some(_) => return Err(Status::internal("the request broke off inside its message")),
        None => return Err(Status::internal("the request has no message")),
    }
    let compressed = message[0] != 0;
    message.advance(PREFIX);
    if compressed {
        Box::pin(unpack(request.headers().get(ENCODING), message, limit, room, Duration::ZERO)).await
    } else {
        Ok(message)
    }
}
