//! Writes the answer to a call: headers, one message with its prefix, trailers.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status};
use turno_proto::mesh::v1::Outcome;
use turno_proto::{entries, status};

use crate::edge::body::Body;

/// The content type of gRPC.
pub(crate) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A message up to this size is copied behind its prefix: one frame is cheaper than two.
const SMALL: usize = 16 * 1024;

/// The response to a unary call, or the error that its method answered.
pub(crate) fn once(outcome: Outcome) -> Result<Response<Body>, Status> {
    if status::code_of(outcome.code) != Code::Ok {
        return Err(status::from_outcome(outcome));
    }
    Ok(Response::new(Body::once(outcome.body, ok_trailers(outcome.trailers))))
}

/// The trailers of a call that succeeded.
pub(crate) fn ok_trailers(user: Vec<turno_proto::mesh::v1::Entry>) -> HeaderMap {
    let mut trailers = entries::to_headers(user);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

/// The trailers of a call that failed after its headers were out.
pub(crate) fn error_trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Its message or metadata cannot be written as headers; the code can.
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(status.code())));
    }
    trailers
}

/// Prefix and message, as one piece when that is cheap.
pub(crate) fn framed(message: Bytes) -> (Bytes, Option<Bytes>) {
    let small = message.len() <= SMALL;
    let mut framed = BytesMut::with_capacity(5 + if small { message.len() } else { 0 });
    framed.put_u8(0);
    // The gateway takes no message of 4 GiB: max_message is at most 2 GiB.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    if small {
        framed.extend_from_slice(&message);
        return (framed.freeze(), None);
    }
    (framed.freeze(), Some(message))
}

#[cfg(test)]
mod tests {
    use super::framed;
    use bytes::Bytes;

    #[test]
    fn a_message_stands_behind_its_length() {
        assert_eq!(framed(Bytes::from_static(b"bread")), (Bytes::from_static(b"\0\0\0\0\x05bread"), None));
        let large = Bytes::from(vec![7; 70_000]);
        let (prefix, rest) = framed(large.clone());
        assert_eq!((&prefix[..], rest), (&[0, 0, 1, 17, 112][..], Some(large)));
    }
}
