//! A call on an HTTP/2 stream of its own: a body too large for the link, or an answer that is a stream. The node
//! opens the stream; the gateway's half is in its own `carry.rs`.

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use turno_proto::mesh::v1::mesh_client::MeshClient;
use turno_proto::mesh::v1::{CarryDown, CarryOpen, CarryUp, Outcome, Part};

use crate::node::token::Token;

/// Opens streams for calls of one link.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    pub(crate) channel: Channel,
    pub(crate) token: Token,
    pub(crate) link_id: String,
}

/// The stream of one call.
pub(crate) struct Carry {
    up: mpsc::Sender<CarryUp>,
    down: Streaming<CarryDown>,
}

/// Bytes in one part.
const PART: usize = 256 * 1024;
/// Parts on their way; flow control is HTTP/2's.
const PARTS_IN_FLIGHT: usize = 4;

impl Carrier {
    pub(crate) async fn open(&self, call: u64) -> crate::Result<Carry> {
        let (up, parts) = mpsc::channel(PARTS_IN_FLIGHT);
        let open = CarryOpen { link_id: self.link_id.clone(), call };
        // It cannot fail: the channel is new and empty.
        let _sent = up.try_send(CarryUp { open: Some(open), ..CarryUp::default() });
        let mut request = Request::new(ReceiverStream::new(parts));
        self.token.write(request.metadata_mut());
        let mut client = MeshClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        Ok(Carry { up, down: client.carry(request).await?.into_inner() })
    }
}

impl Carry {
    /// The request's body.
    pub(crate) async fn receive(&mut self) -> crate::Result<Bytes> {
        let mut body = BytesMut::new();
        while let Some(down) = self.down.message().await? {
            let part = down.part.unwrap_or_default();
            body.extend_from_slice(&part.data);
            if part.last {
                return Ok(body.freeze());
            }
        }
        Err(Status::unavailable("the request broke off"))
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
    pub(crate) async fn finish(mut self, outcome: Outcome) -> crate::Result<()> {
        self.push(CarryUp { outcome: Some(outcome), ..CarryUp::default() }).await?;
        drop(self.up);
        while self.down.message().await?.is_some() {}
        Ok(())
    }

    async fn push(&self, up: CarryUp) -> crate::Result<()> {
        self.up.send(up).await.map_err(|_| Status::unavailable("the gateway has closed the stream"))
    }
}
