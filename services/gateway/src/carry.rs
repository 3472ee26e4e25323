//! The gateway's half of a carry: gives a node the body of its request, or the stream of them, and takes messages and
//! the outcome from it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use turno_proto::mesh::v1::{CarryDown, CarryUp, Outcome, Part};
use turno_proto::status;
use turno_runtime::task;

use crate::edge::Messages;
use crate::link::Link;
use crate::link::pending::Event;
use crate::unread::{LOST, Room};

/// Bytes in one part.
const PART: usize = 256 * 1024;
/// Parts on their way down; flow control is HTTP/2's.
const PARTS_IN_FLIGHT: usize = 4;
/// Up to this size a message is not counted: the call's own stream costs as much. Larger ones are, also small answers: a
/// stream may have several here, and be over.
const UNCOUNTED: usize = 1024;
/// How often a stream asks for room, and how long it waits in between.
const ROOM_TRIES: u32 = 100;
const ROOM_PAUSE: Duration = Duration::from_millis(10);

pub(crate) type CarryStream = tokio_stream::wrappers::ReceiverStream<Result<CarryDown, Status>>;

type Down = mpsc::Sender<Result<CarryDown, Status>>;

/// Serves the carry of `call`.
pub(crate) fn serve(link: Arc<Link>, call: u64, up: Streaming<CarryUp>, max_message: usize) -> CarryStream {
    let (down, parts) = mpsc::channel(PARTS_IN_FLIGHT);
    let (body, messages) = (link.take_body(call), link.take_messages(call));
    task::spawn("gateway.carry", async move {
        let outcome = tokio::select! {
            outcome = receive(&link, call, up, max_message) => outcome,
            broken = sent(body, messages, &down) => {
                // A node that cannot be told just now sees its stream of requests break off.
                let _full = down.try_send(Err(broken.clone()));
                Some(status::to_outcome(call, broken))
            }
        };
        if let Some(outcome) = outcome {
            link.carried(outcome);
        }
        // The stream down stays open until the outcome is in: its end tells the node so.
        drop(down);
    });
    CarryStream::new(parts)
}

/// Sends what the node has come for. Completes only if the client's stream breaks: that ends the call.
async fn sent(body: Option<Bytes>, messages: Option<Messages>, down: &Down) -> Status {
    if let Some(body) = body {
        send(body, down).await;
    }
    if let Some(messages) = messages
        && let Err(broken) = forward(messages, down).await
    {
        return broken;
    }
    std::future::pending().await
}

/// A node that does not want the rest says why in its outcome.
async fn send(mut body: Bytes, down: &Down) {
    loop {
        let data = body.split_to(body.len().min(PART));
        let last = body.is_empty();
        let part = CarryDown { part: Some(Part { data, last }), ..CarryDown::default() };
        if down.send(Ok(part)).await.is_err() || last {
            return;
        }
    }
}

/// Reads on from the client as fast as the node takes it.
async fn forward(mut messages: Messages, down: &Down) -> Result<(), Status> {
    while let Some(part) = messages.part(PART).await? {
        let part = CarryDown { part: Some(part), ..CarryDown::default() };
        if down.send(Ok(part)).await.is_err() {
            return Ok(());
        }
    }
    // As above.
    let _unwanted = down.send(Ok(CarryDown { end: true, ..CarryDown::default() })).await;
    Ok(())
}

/// Takes messages until the outcome. A node that breaks off is noticed by its link.
async fn receive(link: &Link, call: u64, mut up: Streaming<CarryUp>, max_message: usize) -> Option<Outcome> {
    let (mut message, mut whole) = (BytesMut::new(), Bytes::new());
    let (may_be_left, mut room) = (link.may_be_left(call), link.unread.room());
    loop {
        let frame = up.message().await.ok().flatten()?;
        if frame.begun
            && let Some(Some(events)) = link.stream_of(call)
        {
            // As below.
            let _gone = events.send(Event::Begun).await;
        }
        if let Some(Part { data, last }) = frame.part {
            let length = message.len() + data.len();
            if length > max_message {
                return Some(too_large(call, max_message));
            }
            if may_be_left && length > UNCOUNTED && !has_room(link, call, &mut room, length).await {
                return Some(status::to_outcome(call, link.unread.full(LOST)));
            }
            message.extend_from_slice(&data);
            if last {
                whole = room.around(message.split().freeze());
                if let Some(Some(events)) = link.stream_of(call) {
                    // A client that has gone away cancels the call, and the outcome follows.
                    let _gone = events.send(Event::Message(std::mem::take(&mut whole))).await;
                }
            }
        }
        if let Some(outcome) = frame.outcome {
            return Some(Outcome { call, body: whole, ..outcome });
        }
    }
}

/// Room for what has come of a message. A stream waits for it, which holds up its own method and nobody else: until its
/// client has taken the messages before, and then a second.
async fn has_room(link: &Link, call: u64, room: &mut Room, length: usize) -> bool {
    if room.reach(length) {
        return true;
    }
    let Some(events) = link.stream_of(call).flatten() else { return false };
    // A client that has gone away cancels the call, and the outcome follows.
    drop(events.reserve_many(events.max_capacity()).await);
    for _ in 0..ROOM_TRIES {
        if room.reach(length) {
            return true;
        }
        tokio::time::sleep(ROOM_PAUSE).await;
    }
    false
}

fn too_large(call: u64, max_message: usize) -> Outcome {
    let what =
        format!("the answer is larger than the {max_message} bytes that the gateway takes (max_message)");
    status::to_outcome(call, Status::new(Code::ResourceExhausted, what))
}
