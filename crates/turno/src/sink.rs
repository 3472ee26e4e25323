//! Where a method that answers a stream puts its messages: through a bounded channel to the call's own HTTP/2
//! stream, so that a client that stops reading stops the method.

use std::fmt;
use std::marker::PhantomData;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;

/// What a method has said on its stream.
pub(crate) enum Said {
    /// That it answers, for a caller that waits to hear so before it sends anything.
    Begun,
    /// An encoded message.
    Message(Bytes),
}

/// What was said, on its way out.
pub(crate) type RawSink = mpsc::Sender<Said>;

/// The messages of a stream on their way out, typed.
pub struct Sink<A> {
    raw: RawSink,
    announces: bool,
    message: PhantomData<fn(A)>,
}

impl<A> fmt::Debug for Sink<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

impl<A: Message> Sink<A> {
    pub(crate) fn new(raw: RawSink) -> Self {
        Self { raw, announces: false, message: PhantomData }
    }

    /// Says that the answer has begun before there is a message of it.
    pub(crate) fn announcing(raw: RawSink) -> Self {
        Self { announces: true, ..Self::new(raw) }
    }

    /// Sends what the stream yields until it ends, yields an error, or nobody reads any more.
    pub async fn forward<E: Into<Status>>(
        self,
        stream: impl Stream<Item = Result<A, E>>,
    ) -> crate::Result<()> {
        if self.announces {
            say(&self.raw, Said::Begun).await?;
        }
        let mut stream = pin!(stream);
        while let Some(item) = stream.next().await {
            let message = item.map_err(Into::into)?.encode_to_vec();
            say(&self.raw, Said::Message(message.into())).await?;
        }
        Ok(())
    }
}

/// Waits for room.
pub(crate) async fn say(raw: &RawSink, said: Said) -> crate::Result<()> {
    raw.send(said).await.map_err(|_| Status::cancelled("nobody reads the stream any more"))
}
