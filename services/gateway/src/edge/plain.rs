//! A request to one of the gateway's own services as tonic is given it: unpacked, and with nothing in it that is too large.
//! tonic would unpack on a thread that moves calls, without a word to `admission`, and call what is too large OUT_OF_RANGE.

use std::error::Error;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use http::{HeaderValue, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use tonic::Status;

use crate::admission::Room;
use crate::config::TAKE_LARGER;
use crate::edge::prefixed::{ENCODING, Limit, PREFIX, STALL, hold, length, stalled, unpack};
use crate::edge::response::framed;

/// What a client sends until it ends its side. Messages that are not packed go through as they come.
struct Plain<B = Incoming> {
    body: B,
    encoding: Option<HeaderValue>,
    limit: Limit,
    takes_stream: bool,
    /// For so long it may stand still where one message is taken, or inside a packed one; and a packed one of a stream waits
    /// for room.
    stall: Duration,
    /// A message has begun.
    begun: bool,
    /// Of what was unpacked last. Who takes a stream has read it when the next message is asked for; who takes one message
    /// hears of it when the client has ended its side, which may take its time.
    room: Room,
    /// Of what has come, the rest that was not passed on yet.
    arrived: Bytes,
    /// So many bytes are missing of a message that is passed on as it comes.
    left: usize,
    /// Its prefix was passed on.
    unpacked: Option<Bytes>,
}

/// Beside a method's message: labels, key, method.
const BESIDE: usize = 64 * 1024;
/// Of what brings no such message. It is tonic's own limit, where no other is set.
const QUESTION: usize = 4 * 1024 * 1024;

/// What tonic is to read, with room for what has to be unpacked.
pub(crate) fn request(
    request: Request<Incoming>,
    max_message: usize,
    room: Room,
) -> Request<tonic::body::Body> {
    let path = request.uri().path();
    // Of nodes, which pack nothing; and what they say is as large as it is.
    if path.starts_with("/turno.mesh.") {
        return request.map(tonic::body::Body::new);
    }
    let (limit, takes_stream) = (limit(path, max_message), takes_stream(path));
    let (mut head, body) = request.into_parts();
    let encoding = head.headers.remove(ENCODING);
    let plain = Plain {
        body,
        encoding,
        limit,
        takes_stream,
        stall: STALL,
        begun: false,
        room,
        arrived: Bytes::new(),
        left: 0,
        unpacked: None,
    };
    Request::from_parts(head, tonic::body::Body::new(StreamBody::new(frames(plain))))
}

fn limit(path: &str, max_message: usize) -> Limit {
    if path.starts_with("/turno.v1.Map/") {
        return Limit::max_message(max_message);
    }
    if path.starts_with("/turno.v1.Tickets/") {
        let bytes = max_message.saturating_add(BESIDE);
        return Limit { bytes, said_by: "max_message, and 64 KiB beside it", hint: TAKE_LARGER };
    }
    Limit { bytes: QUESTION, said_by: "in a frame, or a question", hint: "" }
}

fn takes_stream(path: &str) -> bool {
    let submits = ["/turno.v1.Tickets/SubmitMany", "/turno.v1.Tickets/SubmitMap"];
    let others = ["/turno.v1.Map/", "/turno.v1.Calls/", "/grpc.reflection."];
    submits.contains(&path) || others.iter().any(|service| path.starts_with(service))
}

fn frames(plain: Plain) -> impl Stream<Item = Result<Frame<Bytes>, Status>> + Send {
    stream::try_unfold(plain, async |mut plain| {
        let next = plain.next().await?;
        Ok(next.map(|frame| (frame, plain)))
    })
}

impl<B> Plain<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    /// `None` when the client has ended its side.
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, Status> {
        if let Some(message) = self.unpacked.take() {
            return Ok(Some(Frame::data(message)));
        }
        if self.takes_stream {
            self.room.give_back(usize::MAX);
        }
        loop {
            let plain = self.plain()?;
            if plain > 0 {
                return Ok(Some(Frame::data(self.arrived.split_to(plain))));
            }
            if self.arrived.len() >= PREFIX {
                return self.whole().await.map(Some);
            }
            match self.next_frame().await?.map(Frame::into_data) {
                Some(Ok(data)) if self.arrived.is_empty() => self.arrived = data,
                // The rest of a prefix.
                Some(Ok(data)) => self.arrived = [&self.arrived[..], &data[..]].concat().into(),
                // tonic takes trailers for the end wherever they come, and so it does the end right behind a prefix.
                _ if self.left > 0 || !self.arrived.is_empty() => return Err(broken_off()),
                Some(Err(trailers)) => return Ok(Some(trailers)),
                None => return Ok(None),
            }
        }
    }

    /// How many of the bytes that have come go on as they are: those of messages that are not packed.
    fn plain(&mut self) -> Result<usize, Status> {
        let mut end = 0;
        loop {
            let part = self.left.min(self.arrived.len() - end);
            self.left -= part;
            end += part;
            let prefix = self.arrived.get(end..end + PREFIX).filter(|prefix| prefix[0] != 1);
            let Some(prefix) = prefix else { return Ok(end) };
            match self.length(prefix) {
                Ok(length) => {
                    (self.begun, self.left) = (true, length);
                    end += PREFIX;
                }
                // What came before it is passed on first.
                Err(_) if end > 0 => return Ok(end),
                Err(error) => return Err(error),
            }
        }
    }

    /// The length of the message that begins here.
    fn length(&self, start: &[u8]) -> Result<usize, Status> {
        if self.begun && !self.takes_stream {
            return Err(Status::internal("more than one message in the request of a unary method"));
        }
        length(start, self.limit)
    }

    /// Waits for all of a packed message. What is answered begins it anew, as one that is not packed.
    async fn whole(&mut self) -> Result<Frame<Bytes>, Status> {
        let length = self.length(&self.arrived)?;
        self.begun = true;
        self.arrived.advance(PREFIX);
        // A stream would end with all of its work; who sends one message sends it again.
        let patience = if self.takes_stream { self.stall } else { Duration::ZERO };
        let mut packed = BytesMut::new();
        loop {
            let part = self.arrived.split_to(self.arrived.len().min(length - packed.len()));
            hold(&mut self.room, part.len(), patience).await?;
            packed.extend_from_slice(&part);
            if packed.len() == length {
                break;
            }
            self.arrived = self.more().await?;
        }
        let (encoding, packed) = (self.encoding.as_ref(), packed.freeze());
        let unpacking = unpack(encoding, packed, self.limit, &mut self.room, patience);
        let message = Box::pin(unpacking).await?;
        self.room.give_back(length);
        let (start, rest) = framed(message);
        self.unpacked = rest;
        Ok(Frame::data(start))
    }

    async fn more(&mut self) -> Result<Bytes, Status> {
        let frame = self.frame_soon().await?;
        frame.and_then(|frame| frame.into_data().ok()).ok_or_else(broken_off)
    }

    /// Between two messages of a stream a client may be silent as long as it likes.
    async fn next_frame(&mut self) -> Result<Option<Frame<Bytes>>, Status> {
        if self.takes_stream { self.frame().await } else { self.frame_soon().await }
    }

    async fn frame_soon(&mut self) -> Result<Option<Frame<Bytes>>, Status> {
        tokio::time::timeout(self.stall, self.frame()).await.map_err(stalled)?
    }

    /// One with nothing in it does not count. An error is what tonic would have made of it.
    async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, Status> {
        loop {
            let frame = self.body.frame().await.transpose();
            let frame = frame.map_err(|error| Status::from_error(error.into()))?;
            if !frame.as_ref().and_then(Frame::data_ref).is_some_and(Bytes::is_empty) {
                return Ok(frame);
            }
        }
    }
}

fn broken_off() -> Status {
    Status::internal("the request broke off inside its message")
}

#[cfg(test)]
mod tests {
    use super::{Limit, Plain, takes_stream};
    use crate::admission::Admission;
    use crate::edge::prefixed::STALL;
    use crate::edge::wire::{Wire, packed, prefixed};
    use bytes::Bytes;
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http::{HeaderMap, HeaderValue};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;
    use tonic::{Code, Status};
    use tonic_types::StatusExt as _;

    fn plain(wire: &[u8], frame: usize, takes_stream: bool, admission: &Arc<Admission>) -> Plain<Wire> {
        plain_of(Wire::of(wire, frame), takes_stream, admission)
    }

    fn plain_of<B>(body: B, takes_stream: bool, admission: &Arc<Admission>) -> Plain<B> {
        Plain {
            body,
            encoding: Some(HeaderValue::from_static("gzip")),
            limit: Limit::max_message(100_000),
            takes_stream,
            stall: STALL,
            begun: false,
            room: admission.room(),
            arrived: Bytes::new(),
            left: 0,
            unpacked: None,
        }
    }

    /// What tonic is given, and why no more.
    async fn all(mut plain: Plain<Wire>) -> (Vec<u8>, Option<Status>) {
        let mut given = Vec::new();
        loop {
            match plain.next().await {
                Ok(Some(frame)) => given.extend_from_slice(&frame.into_data().unwrap()),
                Ok(None) => return (given, None),
                Err(error) => return (given, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn tonic_sees_the_same_messages_packed_or_not_and_however_they_are_cut() {
        let sent: [&[u8]; 5] = [b"bread", b"", &[7; 50_000], b"x", &[9; 40_000]];
        let both = |message: &[u8]| [prefixed(0, message), prefixed(1, &packed(message))].concat();
        let wire: Vec<u8> = sent.iter().flat_map(|message| both(message)).collect();
        let expected: Vec<u8> = sent.iter().flat_map(|message| prefixed(0, message).repeat(2)).collect();
        for frame in [1, 2, 3, 7, 999, 1 << 20] {
            let admission = Admission::new(1, 1 << 20);
            let (given, error) = all(plain(&wire, frame, true, &admission)).await;
            assert!(error.is_none() && given == expected, "frames of {frame}: {error:?}");
            assert_eq!(admission.bytes(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_behind_what_came_before_it() {
        let large = vec![0; 100_001];
        for large in [prefixed(0, &large), prefixed(1, &packed(&large))] {
            let wire = [prefixed(0, b"bread"), large].concat();
            for frame in [3, 1 << 20] {
                let admission = Admission::new(1, 1 << 20);
                let (given, error) = all(plain(&wire, frame, true, &admission)).await;
                let error = error.unwrap();
                assert_eq!(given, prefixed(0, b"bread"), "{error}");
                assert_eq!(error.code(), Code::ResourceExhausted);
                assert!(
                    error.message().contains("100000 bytes that the gateway takes (max_message)"),
                    "{error}"
                );
                assert_eq!(admission.bytes(), 0);
            }
        }
    }

    #[tokio::test]
    async fn what_was_unpacked_has_its_room_until_it_is_read() {
        let wire = [prefixed(1, &packed(&[7; 50_000])), prefixed(0, b"bread")].concat();
        for takes_stream in [true, false] {
            let admission = Admission::new(1, 1 << 20);
            let mut plain = plain(&wire, 1 << 20, takes_stream, &admission);
            for _ in ["prefix", "message"] {
                plain.next().await.unwrap().unwrap();
                assert_eq!(admission.bytes(), 50_000);
            }
            // Only who takes a stream has read the one when it asks for the next.
            assert_eq!(plain.next().await.is_ok(), takes_stream);
            assert_eq!(admission.bytes(), if takes_stream { 0 } else { 50_000 });
            drop(plain);
            assert_eq!(admission.bytes(), 0);
        }
        let plain = plain(&wire, 1 << 20, true, &Admission::new(1, 10_000));
        let (given, error) = all(Plain { stall: Duration::ZERO, ..plain }).await;
        assert!(given.is_empty());
        assert!(error.unwrap().get_details_retry_info().is_some(), "a full house says when to come again");
    }

    #[tokio::test]
    async fn a_stream_waits_for_what_others_give_back() {
        let wire = prefixed(1, &packed(&[7; 50_000]));
        // Room for what it is, and not for what may come of it; no room at all.
        for taken in [60_000, 1 << 17] {
            let admission = Admission::new(1, 1 << 17);
            let mut others = admission.room();
            others.hold(taken).unwrap();
            let refused = all(plain(&wire, 1 << 20, false, &admission)).await.1;
            assert_eq!(refused.unwrap().code(), Code::ResourceExhausted, "who sends one message comes again");
            let mut waiting = Box::pin(all(plain(&wire, 1 << 20, true, &admission)));
            assert!(waiting.as_mut().now_or_never().is_none(), "{taken}");
            drop(others);
            let (given, error) = waiting.await;
            assert!(error.is_none() && given == prefixed(0, &[7; 50_000]), "{error:?}");
            assert_eq!(admission.bytes(), 0);
        }
    }

    #[tokio::test]
    async fn a_stream_does_not_wait_for_room_that_nobody_can_give_back() {
        // As much as the largest message may be: with its packed bytes beside it, it is more.
        let (wire, admission) = (prefixed(1, &packed(&[7; 100_000])), Admission::new(1, 100_000));
        let answered = all(plain(&wire, 1 << 20, true, &admission)).now_or_never();
        let (given, error) = answered.expect("it is refused at once");
        assert_eq!((given.len(), error.unwrap().code()), (0, Code::ResourceExhausted));
        assert_eq!(admission.bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_not_whole_is_no_end() {
        for wire in [prefixed(0, b"bread"), prefixed(1, &packed(b"bread"))] {
            let admission = Admission::new(1, 1 << 20);
            let inside_the_prefix = all(plain(&wire[..3], 1 << 20, true, &admission)).await.1;
            assert_eq!(inside_the_prefix.unwrap().code(), Code::Internal);
        }
        let wire = prefixed(1, &packed(b"bread"));
        let inside = all(plain(&wire[..9], 4, true, &Admission::new(1, 1 << 20))).await.1;
        assert_eq!(inside.unwrap().code(), Code::Internal);
        let (wire, admission) = (prefixed(0, b"bread"), Admission::new(1, 1 << 20));
        for length in [5, 8] {
            let behind_the_prefix = all(plain(&wire[..length], 1 << 20, true, &admission)).await.1;
            assert_eq!(behind_the_prefix.unwrap().code(), Code::Internal, "{length}");
        }
    }

    #[tokio::test]
    async fn trailers_are_an_end_behind_a_message_alone() {
        let (wire, admission) = (prefixed(0, b"bread"), Admission::new(1, 1 << 20));
        for length in [3, 5, 8, 10] {
            let data = Frame::data(Bytes::copy_from_slice(&wire[..length]));
            let frames = [data, Frame::trailers(HeaderMap::new())].map(Ok::<_, Infallible>);
            let mut plain = plain_of(StreamBody::new(stream::iter(frames)), true, &admission);
            let end = loop {
                match plain.next().await {
                    Ok(Some(frame)) if frame.is_data() => {}
                    end => break end,
                }
            };
            assert_eq!(end.is_ok_and(|frame| frame.is_some()), length == wire.len(), "{length}");
        }
    }

    #[tokio::test]
    async fn one_message_is_all_of_a_unary_request() {
        for wire in [prefixed(0, b"bread"), prefixed(1, &packed(b"bread"))] {
            let admission = Admission::new(1, 1 << 20);
            let (given, error) = all(plain(&wire, 1 << 20, false, &admission)).await;
            assert!(error.is_none() && given == prefixed(0, b"bread"), "{error:?}");
            let (given, error) = all(plain(&wire.repeat(2), 1 << 20, false, &admission)).await;
            assert_eq!((given, error.unwrap().code()), (prefixed(0, b"bread"), Code::Internal));
        }
    }

    #[tokio::test]
    async fn a_unary_request_that_is_not_ended_is_not_waited_for_for_ever() {
        let admission = Admission::new(1, 1 << 20);
        let wire = prefixed(1, &packed(&[7; 50_000]));
        // Frames with nothing in them are no sign of life.
        let frame = |data: Vec<u8>| Ok::<_, Infallible>(Frame::data(Bytes::from(data)));
        let frames = [wire, Vec::new(), Vec::new()].map(frame);
        let body = StreamBody::new(stream::iter(frames).chain(stream::pending()));
        let mut plain = Plain { stall: Duration::ZERO, ..plain_of(body, false, &admission) };
        for _ in ["prefix", "message"] {
            plain.next().await.unwrap().unwrap();
        }
        let patience = Duration::from_secs(10);
        let ended = tokio::time::timeout(patience, plain.next()).await.expect("it is not waited for");
        assert_eq!(ended.unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[test]
    fn methods_that_take_a_stream_are_known() {
        let set = FileDescriptorSet::decode(turno_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut streams = 0;
        for file in &set.file {
            for service in file.service.iter().filter(|service| service.name() != "Mesh") {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert_eq!(takes_stream(&path), method.client_streaming(), "{path}");
                    streams += usize::from(method.client_streaming());
                }
            }
        }
        assert!(streams > 3, "{streams}");
    }
}
