//! The gateway's half of a carry: gives a node the body of its request, takes messages and the outcome from it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use turno_proto::mesh::v1::{CarryDown, CarryUp, Outcome, Part};
use turno_proto::status;
use turno_runtime::task;

use crate::link::Link;
use crate::link::pending::Event;

/// Bytes in one part.
const PART: usize = 256 * 1024;
/// Parts on their way down; flow control is HTTP/2's.
const PARTS_IN_FLIGHT: usize = 4;

pub(crate) type CarryStream = tokio_stream::wrappers::ReceiverStream<Result<CarryDown, Status>>;

/// Serves the carry of `call`.
pub(crate) fn serve(link: Arc<Link>, call: u64, up: Streaming<CarryUp>, max_message: usize) -> CarryStream {
    let (down, parts) = mpsc::channel(PARTS_IN_FLIGHT);
    let body = link.take_body(call);
    task::spawn("gateway.carry", async move {
        // The stream down stays open until the outcome is in: its end tells the node so.
        let ending = down.clone();
        let (sent, received) = tokio::join!(send(body, down), receive(&link, call, up, max_message));
        if let Some(outcome) = received {
            link.outcome(outcome);
        } else if sent.is_err() {
            tracing::debug!(call, "a node has given up fetching a body");
        }
        drop(ending);
    });
    CarryStream::new(parts)
}

async fn send(body: Option<Bytes>, down: mpsc::Sender<Result<CarryDown, Status>>) -> Result<(), ()> {
    let Some(mut body) = body else { return Ok(()) };
    loop {
        let data = body.split_to(body.len().min(PART));
        let last = body.is_empty();
        down.send(Ok(CarryDown { part: Some(Part { data, last }), ..CarryDown::default() }))
            .await
            .map_err(drop)?;
        if last {
            return Ok(());
        }
    }
}

/// Takes messages until the outcome. A node that breaks off is noticed by its link.
async fn receive(link: &Link, call: u64, mut up: Streaming<CarryUp>, max_message: usize) -> Option<Outcome> {
    let mut message = BytesMut::new();
    let mut whole = Bytes::new();
    loop {
        let frame = up.message().await.ok().flatten()?;
        if let Some(Part { data, last }) = frame.part {
            if message.len() + data.len() > max_message {
                return Some(too_large(call, max_message));
            }
            message.extend_from_slice(&data);
            if last {
                whole = message.split().freeze();
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

fn too_large(call: u64, max_message: usize) -> Outcome {
    let what =
        format!("the answer is larger than the {max_message} bytes that the gateway takes (max_message)");
    status::to_outcome(call, Status::new(Code::ResourceExhausted, what))
}
