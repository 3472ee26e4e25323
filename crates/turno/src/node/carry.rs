//! A call on an HTTP/2 stream of its own: a body too large for the link, or messages that come or go one after
//! another. The node opens the stream; the gateway's half is in its own `carry.rs`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use turno_proto::mesh::v1::mesh_client::MeshClient;
use turno_proto::mesh::v1::{CarryDown, CarryOpen, CarryUp, Outcome, Part};

use crate::node::lines::Lines;
use crate::node::token::Token;

/// Opens streams for calls of one link.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    pub(crate) lines: Arc<Lines>,
    pub(crate) token: Token,
    pub(crate) link_id: String,
}

/// The stream of one call.
pub(crate) struct Carry {
    up: mpsc::Sender<CarryUp>,
    down: Down,
}

/// What comes down. It is the method's to read as long as it runs; then the carry's own, for the receipt.
#[derive(Clone)]
struct Down(Arc<Mutex<Reading>>);

struct Reading {
    /// `None` once the carry has taken it back.
    stream: Option<Streaming<CarryDown>>,
    /// Of a method's task that may have to hear so.
    reader: Option<Waker>,
}

/// The messages that come down, until the caller has ended its side.
pub(crate) struct Messages {
    down: Down,
    message: BytesMut,
    over: bool,
}

/// Bytes in one part.
const PART: usize = 256 * 1024;
/// Parts on their way; flow control is HTTP/2's.
const PARTS_IN_FLIGHT: usize = 4;

impl Carrier {
    /// For an answer of so many bytes, or of none yet. A gateway that has no room for it answers later.
    pub(crate) async fn open(&self, call: u64, bytes: usize) -> crate::Result<Carry> {
        let (up, parts) = mpsc::channel(PARTS_IN_FLIGHT);
        let open = CarryOpen { link_id: self.link_id.clone(), call, bytes: bytes as u64 };
        // It cannot fail: the channel is new and empty.
        let _sent = up.try_send(CarryUp { open: Some(open), ..CarryUp::default() });
        let mut request = Request::new(ReceiverStream::new(parts));
        self.token.write(request.metadata_mut());
        let mut client = MeshClient::new(self.lines.carry()).max_decoding_message_size(usize::MAX);
        let down = client.carry(request).await?.into_inner();
        Ok(Carry { up, down: Down(Arc::new(Mutex::new(Reading { stream: Some(down), reader: None }))) })
    }
}

impl Carry {
    /// The request's body.
    pub(crate) async fn receive(&self) -> crate::Result<Bytes> {
        self.messages().next().await.unwrap_or_else(|| Err(broken_off()))
    }

    /// The requests of a method that takes a stream.
    pub(crate) fn messages(&self) -> Messages {
        Messages { down: self.down.clone(), message: BytesMut::new(), over: false }
    }

    /// Says that the method has begun to answer.
    pub(crate) async fn begin(&self) -> crate::Result<()> {
        self.push(CarryUp { begun: true, ..CarryUp::default() }).await
    }

    /// One whole message, in parts.
    pub(crate) async fn send(&self, mut message: Bytes) -> crate::Result<()> {
        loop {
            let data = message.split_to(message.len().min(PART));
            let last = message.is_empty();
            self.push(CarryUp { part: Some(Part { data, last }), ..CarryUp::default() }).await?;
            if last {
                return Ok(());
            }
        }
    }

    /// Completes once nothing that is sent would arrive.
    pub(crate) async fn broken(&self) {
        self.up.closed().await;
    }

    /// The outcome, and with it the end: waits until the gateway has it all.
    pub(crate) async fn finish(self, outcome: Outcome) -> crate::Result<()> {
        self.push(CarryUp { outcome: Some(outcome), ..CarryUp::default() }).await?;
        drop(self.up);
        // What the method has not read is read by nobody.
        let Some(mut down) = self.down.take_back() else { return Ok(()) };
        while down.message().await?.is_some() {}
        Ok(())
    }

    /// Ends it without an outcome: the gateway knows already, or soon will.
    pub(crate) fn abandon(self) {
        drop(self.down.take_back());
    }

    async fn push(&self, up: CarryUp) -> crate::Result<()> {
        self.up.send(up).await.map_err(|_| Status::unavailable("the gateway has closed the stream"))
    }
}

impl Down {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<crate::Result<CarryDown>>> {
        let mut reading = self.0.lock();
        let Reading { stream, reader } = &mut *reading;
        let Some(stream) = stream else {
            return Poll::Ready(Some(Err(Status::cancelled("the call is over"))));
        };
        *reader = Some(cx.waker().clone());
        Pin::new(stream).poll_next(cx)
    }

    /// A method may leave its messages to a task that outlives it: that hears that the call is over.
    fn take_back(&self) -> Option<Streaming<CarryDown>> {
        let (stream, reader) = {
            let mut reading = self.0.lock();
            (reading.stream.take(), reading.reader.take())
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        stream
    }
}

impl Messages {
    /// A part of a message, or the whole of it.
    fn part(&mut self, Part { data, last }: Part) -> Option<Bytes> {
        if last && self.message.is_empty() {
            return Some(data);
        }
        self.message.extend_from_slice(&data);
        last.then(|| self.message.split().freeze())
    }
}

impl Stream for Messages {
    type Item = crate::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<crate::Result<Bytes>>> {
        while !self.over {
            let failed = match ready!(self.down.poll_next(cx)) {
                Some(Ok(CarryDown { part: Some(part), .. })) => match self.part(part) {
                    Some(message) => return Poll::Ready(Some(Ok(message))),
                    None => continue,
                },
                Some(Ok(down)) => {
                    self.over = down.end;
                    continue;
                }
                Some(Err(status)) => status,
                None => broken_off(),
            };
            self.over = true;
            return Poll::Ready(Some(Err(failed)));
        }
        Poll::Ready(None)
    }
}

fn broken_off() -> Status {
    Status::unavailable("the request broke off")
}
