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

/// Encoded messages on their way out.
pub(crate) type RawSink = mpsc::Sender<Bytes>;

/// The messages of a stream on their way out, typed.
pub struct Sink<A> {
    raw: RawSink,
    message: PhantomData<fn(A)>,
}

impl<A> fmt::Debug for Sink<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

impl<A: Message> Sink<A> {
    pub(crate) fn new(raw: RawSink) -> Self {
        Self { raw, message: PhantomData }
    }

    /// Sends what the stream yields until it ends, yields an error, or nobody reads any more.
    pub async fn forward<E: Into<Status>>(
        self,
        stream: impl Stream<Item = Result<A, E>>,
    ) -> crate::Result<()> {
        let mut stream = pin!(stream);
        while let Some(item) = stream.next().await {
            let message = item.map_err(Into::into)?.encode_to_vec().into();
            if self.raw.send(message).await.is_err() {
                return Err(Status::cancelled("nobody reads the stream any more"));
            }
        }
        Ok(())
    }
}
