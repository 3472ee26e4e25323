//! Reads the messages of a client's stream, in parts, when they are asked for and not before: what nobody takes stays
//! with the client, whose window is full then.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use hyper::body::Incoming;
use tonic::Status;
use turno_proto::mesh::v1::Part;

use crate::admission::Room;
use crate::edge::prefixed::{ENCODING, Limit, PREFIX, STALL, length, next_data, stalled, unpack};

/// What a client sends until it ends its side.
pub(crate) struct Messages<B = Incoming> {
    body: B,
    encoding: Option<HeaderValue>,
    limit: Limit,
    /// Holds what is here.
    room: Room,
    /// Of what has come, the rest that was not taken yet.
    arrived: Bytes,
    current: Option<Current>,
}

/// The message that is being taken.
enum Current {
    /// It is passed on as it comes: so many bytes of it are missing.
    Coming(usize),
    /// It was packed and had to be here as a whole; this is left of it.
    Unpacked(Bytes),
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    pub(crate) fn new(headers: &HeaderMap, body: B, max_message: usize, room: Room) -> Self {
        let encoding = headers.get(ENCODING).cloned();
        let limit = Limit::max_message(max_message);
        Self { body, encoding, limit, room, arrived: Bytes::new(), current: None }
    }

    /// The next part, of at most so many bytes; `None` when the client has ended its side.
    pub(crate) async fn part(&mut self, most: usize) -> Result<Option<Part>, Status> {
        let current = match self.current.take() {
            Some(current) => current,
            None => match self.prefix().await? {
                Some(prefix) => self.begin(prefix).await?,
                None => return Ok(None),
            },
        };
        let (data, rest) = match current {
            Current::Coming(0) => (Bytes::new(), None),
            Current::Coming(left) => {
                let data = self.take(left.min(most)).await?;
                let left = left - data.len();
                (data, (left > 0).then_some(Current::Coming(left)))
            }
            Current::Unpacked(mut message) => {
                let data = message.split_to(message.len().min(most));
                self.room.give_back(data.len());
                (data, (!message.is_empty()).then_some(Current::Unpacked(message)))
            }
        };
        self.current = rest;
        Ok(Some(Part { data, last: self.current.is_none() }))
    }

    async fn begin(&mut self, prefix: [u8; PREFIX]) -> Result<Current, Status> {
        let length = length(&prefix, self.limit)?;
        if prefix[0] == 0 {
            return Ok(Current::Coming(length));
        }
        let mut packed = BytesMut::new();
        while packed.len() < length {
            let data = self.take(length - packed.len()).await?;
            self.room.hold(data.len())?;
            packed.extend_from_slice(&data);
        }
        let (encoding, packed) = (self.encoding.as_ref(), packed.freeze());
        let unpacking = unpack(encoding, packed, self.limit, &mut self.room, Duration::ZERO);
        let message = Box::pin(unpacking).await?;
        self.room.give_back(length);
        Ok(Current::Unpacked(message))
    }

    /// Between two messages a client may be silent as long as it likes.
    async fn prefix(&mut self) -> Result<Option<[u8; PREFIX]>, Status> {
        if self.arrived.is_empty() {
            let Some(data) = next_data(&mut self.body).await? else { return Ok(None) };
            self.arrive(data)?;
        }
        let (mut prefix, mut known) = ([0; PREFIX], 0);
        while known < PREFIX {
            let data = self.take(PREFIX - known).await?;
            prefix[known..known + data.len()].copy_from_slice(&data);
            known += data.len();
        }
        Ok(Some(prefix))
    }

    /// At least one byte of a message that has begun, and at most so many.
    async fn take(&mut self, most: usize) -> Result<Bytes, Status> {
        if self.arrived.is_empty() {
            let data = tokio::time::timeout(STALL, next_data(&mut self.body)).await.map_err(stalled)??;
            let broken_off = || Status::internal("the stream of requests ended inside a message");
            self.arrive(data.ok_or_else(broken_off)?)?;
        }
        let data = self.arrived.split_to(most.min(self.arrived.len()));
        self.room.give_back(data.len());
        Ok(data)
    }

    fn arrive(&mut self, data: Bytes) -> Result<(), Status> {
        self.room.hold(data.len())?;
        self.arrived = data;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Messages;
    use crate::admission::Admission;
    use crate::edge::wire::{Wire, packed, prefixed};
    use bytes::{Bytes, BytesMut};
    use http::{HeaderMap, HeaderValue};
    use std::sync::Arc;
    use tonic::{Code, Status};

    fn messages(wire: &[u8], frame: usize, admission: &Arc<Admission>) -> Messages<Wire> {
        let gzip =
            HeaderMap::from_iter([("grpc-encoding".parse().unwrap(), HeaderValue::from_static("gzip"))]);
        let permit = admission.admit().unwrap();
        Messages::new(&gzip, Wire::of(wire, frame), 100_000, permit.more_room())
    }

    async fn next(messages: &mut Messages<Wire>) -> Result<Option<Bytes>, Status> {
        let mut message = BytesMut::new();
        while let Some(part) = messages.part(1000).await? {
            assert!(part.data.len() <= 1000);
            message.extend_from_slice(&part.data);
            if part.last {
                return Ok(Some(message.freeze()));
            }
        }
        assert!(message.is_empty(), "a message without its last part");
        Ok(None)
    }

    #[tokio::test]
    async fn messages_are_the_same_however_they_are_cut() {
        let sent: [&[u8]; 5] = [b"bread", b"", &[7; 5000], b"x", &[9; 3000]];
        let mut wire: Vec<u8> = sent[..4].iter().flat_map(|message| prefixed(0, message)).collect();
        wire.extend(prefixed(1, &packed(sent[4])));
        for frame in [1, 2, 3, 7, 999, 1 << 20] {
            let admission = Admission::new(1, 1 << 20);
            let mut messages = messages(&wire, frame, &admission);
            for expected in sent {
                assert_eq!(next(&mut messages).await.unwrap().unwrap(), expected, "frames of {frame}");
            }
            assert!(next(&mut messages).await.unwrap().is_none());
            assert_eq!(admission.bytes(), 0, "what was passed on is not held");
        }
    }

    #[tokio::test]
    async fn what_is_not_whole_is_no_end() {
        let admission = Admission::new(10, 1 << 20);
        let mut inside = messages(&prefixed(0, b"bread")[..8], 100, &admission);
        assert_eq!(next(&mut inside).await.unwrap_err().code(), Code::Internal);
        let mut between = messages(&prefixed(0, b"bread"), 100, &admission);
        between.body.1 = true;
        assert_eq!(next(&mut between).await.unwrap().unwrap(), "bread");
        assert_eq!(next(&mut between).await.unwrap_err().code(), Code::Cancelled);
    }

    #[tokio::test]
    async fn each_message_has_its_limit_and_all_of_them_theirs() {
        let admission = Admission::new(10, 2000);
        let mut large = messages(&prefixed(0, &[0; 100_001]), 100, &admission);
        assert_eq!(next(&mut large).await.unwrap_err().code(), Code::ResourceExhausted);
        drop(large);
        let mut packed = messages(&prefixed(1, &packed(&[0; 100_001])), 100, &admission);
        assert_eq!(next(&mut packed).await.unwrap_err().code(), Code::ResourceExhausted);
        drop(packed);
        // Passed on as it comes, it is never here as a whole.
        let mut flowing = messages(&prefixed(0, &[0; 50_000]), 100, &admission);
        assert_eq!(next(&mut flowing).await.unwrap().unwrap().len(), 50_000);
        drop(flowing);
        assert_eq!(admission.bytes(), 0);
    }
}
