//! A message as it stands on the wire: five bytes of prefix (compressed or not, length), then the message, packed or
//! not (gRPC over HTTP/2, "Length-Prefixed-Message"). What reading one message and reading many have in common.

use std::fmt::Display;
use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderValue;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::error::Elapsed;
use tonic::Status;
use turno_runtime::task;

use crate::admission::Room;

pub(super) const PREFIX: usize = 5;
/// A request that stands still this long gives its place to others.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// The header that names the compression.
pub(super) const ENCODING: &str = "grpc-encoding";
/// Unpacking more than this is work for a thread that may block.
const SMALL: usize = 1024;
/// What deflate may make of a byte at the most (zlib's "Technical Details").
const MOST_PER_BYTE: usize = 1032;

pub(super) fn stalled(_: Elapsed) -> Status {
    Status::deadline_exceeded(format!("no byte of the request came for {STALL:?}"))
}

/// The next bytes of a request; `None` at its end.
pub(super) async fn next_data<B>(body: &mut B) -> Result<Option<Bytes>, Status>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::cancelled(format!("the request broke off: {error}")))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    // A client that resets its stream with NO_ERROR, as some do to cancel, is no error to hyper; and no end.
    if body.is_end_stream() { Ok(None) } else { Err(Status::cancelled("the request broke off")) }
}

/// The length of the message behind the prefix that `start` begins with.
pub(super) fn length(start: &[u8], max_message: usize) -> Result<usize, Status> {
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

/// Unpacks what is flagged as compressed; `room` holds the message then.
pub(super) async fn unpack(
    encoding: Option<&HeaderValue>,
    packed: Bytes,
    max_message: usize,
    room: &mut Room,
) -> Result<Bytes, Status> {
    match encoding.map(HeaderValue::as_bytes) {
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
    room.hold(most)?;
    let message = if packed.len() <= SMALL {
        gunzip(&packed, max_message)
    } else {
        task::run_blocking("gateway.gunzip", move || gunzip(&packed, max_message)).await
    }?;
    room.give_back(most - message.len().min(most));
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
