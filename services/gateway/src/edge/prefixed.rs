//! A message as it stands on the wire: five bytes of prefix (compressed or not, length), then the message, packed or
//! not (gRPC over HTTP/2, "Length-Prefixed-Message"). What reading one message and reading many have in common.

use std::fmt::Display;
use std::io::Read as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderValue;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::error::Elapsed;
use tonic::Status;
use turno_runtime::task;
use turno_runtime::units::Rounded;

use crate::admission::Room;
use crate::config::TAKE_LARGER;
use crate::quote::beginning;

pub(super) const PREFIX: usize = 5;
/// A request that stands still this long gives its place to others.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// The header that names the compression.
pub(super) const ENCODING: &str = "grpc-encoding";
/// Unpacking more than this is work for a thread that may block.
const SMALL: usize = 1024;
/// What deflate may make of a byte at the most (zlib's "Technical Details").
const MOST_PER_BYTE: usize = 1032;
/// Before who waits for room looks for it again.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// How many bytes a message may have, unpacked too, and what says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    pub(super) said_by: &'static str,
    /// What to do about it, behind that; or nothing.
    pub(super) hint: &'static str,
}

impl Limit {
    pub(super) fn max_message(bytes: usize) -> Self {
        Self { bytes, said_by: "max_message", hint: TAKE_LARGER }
    }
}

pub(super) fn stalled(_: Elapsed) -> Status {
    Status::deadline_exceeded(format!("no byte of the request came for {}", Rounded(STALL)))
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
pub(super) fn length(start: &[u8], limit: Limit) -> Result<usize, Status> {
    if start[0] > 1 {
        return Err(Status::internal(format!("the compressed-flag is 0 or 1, not {}", start[0])));
    }
    let length = u32::from_be_bytes([start[1], start[2], start[3], start[4]]) as usize;
    if length > limit.bytes { Err(too_large(Some(length), limit)) } else { Ok(length) }
}

fn too_large(length: Option<usize>, Limit { bytes, said_by, hint }: Limit) -> Status {
    let length =
        length.map_or("unpacked, the message".to_owned(), |length| format!("a message of {length} bytes"));
    Status::resource_exhausted(format!(
        "{length} is larger than the {bytes} bytes that the gateway takes ({said_by}){hint}"
    ))
}

/// Holds so much more. Who unpacks holds the most that may come of it, and mostly gives nearly all of that back at once: who has
/// patience finds room then. What is too much for a house with nobody else in it is not waited for.
pub(super) async fn hold(room: &mut Room, bytes: usize, patience: Duration) -> Result<(), Status> {
    let patience = if room.could_hold(bytes) { patience } else { Duration::ZERO };
    let until = Instant::now() + patience;
    loop {
        match room.hold(bytes) {
            Err(_) if Instant::now() < until => room.give_back(bytes),
            held => return held,
        }
        tokio::time::sleep(ROOM_PAUSE).await;
    }
}

/// Unpacks what is flagged as compressed; `room` holds the message then, if there is some within `patience`.
pub(super) async fn unpack(
    encoding: Option<&HeaderValue>,
    packed: Bytes,
    limit: Limit,
    room: &mut Room,
    patience: Duration,
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
            let other = beginning(&other);
            let mut status = Status::unimplemented(format!("compression {other:?} is not taken: gzip is"));
            status
                .metadata_mut()
                .insert("grpc-accept-encoding", tonic::metadata::MetadataValue::from_static("identity,gzip"));
            return Err(status);
        }
    }
    // The room is taken before anything is unpacked.
    let most = packed.len().saturating_mul(MOST_PER_BYTE).min(limit.bytes);
    hold(room, most, patience).await?;
    let message = if packed.len() <= SMALL {
        gunzip(&packed, limit)
    } else {
        task::run_blocking("gateway.gunzip", move || gunzip(&packed, limit)).await
    }?;
    room.give_back(most - message.len().min(most));
    Ok(message)
}

/// Stops where the limit is passed, however much more would come.
fn gunzip(packed: &[u8], limit: Limit) -> Result<Bytes, Status> {
    let mut message = Vec::new();
    let read = MultiGzDecoder::new(packed).take(limit.bytes as u64 + 1).read_to_end(&mut message);
    read.map_err(|error| Status::internal(format!("the message is not gzip: {error}")))?;
    if message.len() > limit.bytes { Err(too_large(None, limit)) } else { Ok(message.into()) }
}

#[cfg(test)]
mod tests {
    use super::{Limit, gunzip, length, unpack};
    use crate::admission::Admission;
    use crate::edge::wire::packed;
    use bytes::Bytes;
    use http::HeaderValue;
    use std::time::Duration;
    use tonic::Code;

    #[test]
    fn a_bomb_is_not_unpacked_beyond_the_limit() {
        let bomb = packed(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(gunzip(&bomb, Limit::max_message(1 << 20)).unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!(gunzip(&packed(b"bread"), Limit::max_message(5)).unwrap(), "bread");
        assert_eq!(gunzip(b"not gzip at all", Limit::max_message(100)).unwrap_err().code(), Code::Internal);
    }

    #[tokio::test]
    async fn a_compression_that_is_not_taken_is_not_told_whole() {
        let (other, mut room) = (HeaderValue::from_str(&"z".repeat(20_000)), Admission::new(1, 1).room());
        let (other, limit) = (other.unwrap(), Limit::max_message(1));
        let refused = unpack(Some(&other), Bytes::new(), limit, &mut room, Duration::ZERO).await;
        let error = refused.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert!(error.message().len() < 1000, "{error}");
    }

    #[test]
    fn a_message_above_the_limit_is_refused_by_its_prefix() {
        let limit = Limit::max_message(256);
        assert_eq!(length(&[0, 0, 0, 1, 0], limit).unwrap(), 256);
        let refused = length(&[0, 0, 0, 1, 1], limit).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let what = "a message of 257 bytes is larger than the 256 bytes that the gateway takes (max_message); \
                    start the gateway with a larger --max-message (TURNO_MAX_MESSAGE)";
        assert_eq!(refused.message(), what);
        assert_eq!(length(&[2, 0, 0, 0, 0], limit).unwrap_err().code(), Code::Internal);
    }
}
