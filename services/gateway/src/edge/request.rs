//! Reads the one message of a request: five bytes of prefix (compressed or not, length), then the message
//! (gRPC over HTTP/2, "Length-Prefixed-Message").

use std::io::Read as _;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::error::Elapsed;
use tonic::Status;
use turno_runtime::task;

use crate::admission::Permit;

const PREFIX: usize = 5;
/// A request that stands still this long gives its place to others.
const STALL: Duration = Duration::from_secs(30);
/// Unpacking more than this is work for a thread that may block.
const SMALL: usize = 1024;
/// What deflate may make of a byte at the most (zlib's "Technical Details").
const MOST_PER_BYTE: usize = 1032;

/// Answers the message, unpacked.
pub(crate) async fn read(
    request: &mut Request<Incoming>,
    max_message: usize,
    permit: &mut Permit,
) -> Result<Bytes, Status> {
    let (mut whole, mut gathered) = (Bytes::new(), BytesMut::new());
    let mut expected = None;
    while let Some(data) =
        tokio::time::timeout(STALL, next_data(request.body_mut())).await.map_err(stalled)??
    {
        // What has come, not what the prefix promises: a client that sends nothing else takes nobody's room.
        permit.hold(data.len())?;
        if whole.is_empty() && gathered.is_empty() {
            whole = data;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut whole));
            gathered.extend_from_slice(&data);
        }
        let so_far: &[u8] = if gathered.is_empty() { &whole } else { &gathered };
        if expected.is_none() && so_far.len() >= PREFIX {
            let length = length(so_far, max_message)?;
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
        Box::pin(unpack(request.headers(), message, max_message, permit)).await
    } else {
        Ok(message)
    }
}

fn stalled(_: Elapsed) -> Status {
    Status::deadline_exceeded(format!("no byte of the request came for {STALL:?}"))
}

async fn next_data(incoming: &mut Incoming) -> Result<Option<Bytes>, Status> {
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| Status::cancelled(format!("the request broke off: {error}")))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn length(start: &[u8], max_message: usize) -> Result<usize, Status> {
    if start[0] > 1 {
        return Err(Status::internal(format!("the compressed-flag is 0 or 1, not {}", start[0])));
    }
    let length = u32::from_be_bytes([start[1], start[2], start[3], start[4]]) as usize;
    if length > max_message { Err(too_large(Some(length), max_message)) } else { Ok(length) }
}

fn too_large(length: Option<usize>, max_message: usize) -> Status {
    let length =
        length.map_or("unpacked, the message".to_owned(), |length| format!("a message of {length} bytes"));
    Status::resource_exhausted(format!(
        "{length} is larger than the {max_message} bytes that the gateway takes (max_message)"
    ))
}

async fn unpack(
    headers: &HeaderMap,
    packed: Bytes,
    max_message: usize,
    permit: &mut Permit,
) -> Result<Bytes, Status> {
    match headers.get("grpc-encoding").map(|value| value.as_bytes()) {
        Some(b"gzip") => {}
        Some(b"identity") | None => {
            return Err(Status::internal(
                "the message is flagged as compressed, but grpc-encoding names no compression",
            ));
        }
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            let mut status = Status::unimplemented(format!("compression {other:?} is not taken: gzip is"));
            status
                .metadata_mut()
                .insert("grpc-accept-encoding", tonic::metadata::MetadataValue::from_static("identity,gzip"));
            return Err(status);
        }
    }
    // The room is taken before anything is unpacked.
    let most = packed.len().saturating_mul(MOST_PER_BYTE).min(max_message);
    permit.hold(most)?;
    let message = if packed.len() <= SMALL {
        gunzip(&packed, max_message)
    } else {
        task::run_blocking("gateway.gunzip", move || gunzip(&packed, max_message)).await
    }?;
    permit.give_back(most - message.len().min(most));
    Ok(message)
}

/// Stops where the limit is passed, however much more would come.
fn gunzip(packed: &[u8], max_message: usize) -> Result<Bytes, Status> {
    let mut message = Vec::new();
    let read = MultiGzDecoder::new(packed).take(max_message as u64 + 1).read_to_end(&mut message);
    read.map_err(|error| Status::internal(format!("the message is not gzip: {error}")))?;
    if message.len() > max_message { Err(too_large(None, max_message)) } else { Ok(message.into()) }
}

#[cfg(test)]
mod tests {
    use super::{gunzip, length};
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    use tonic::Code;

    fn packed(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_not_unpacked_beyond_the_limit() {
        let bomb = packed(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(gunzip(&bomb, 1 << 20).unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!(gunzip(&packed(b"bread"), 5).unwrap(), "bread");
        assert_eq!(gunzip(b"not gzip at all", 100).unwrap_err().code(), Code::Internal);
    }

    #[test]
    fn a_message_above_the_limit_is_refused_by_its_prefix() {
        assert_eq!(length(&[0, 0, 0, 1, 0], 256).unwrap(), 256);
        assert_eq!(length(&[0, 0, 0, 1, 1], 256).unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!(length(&[2, 0, 0, 0, 0], 256).unwrap_err().code(), Code::Internal);
    }
}
