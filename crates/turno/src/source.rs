//! Where a method that takes a stream gets its messages from: the call's own HTTP/2 stream, which is read when the
//! method asks and not before, so that a method that stops reading stops its client.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use tonic::codec::{DecodeBuf, Decoder};
use tonic::{Status, Streaming};

use crate::rpc::{RequestOf, Rpc};

/// The encoded messages of a caller, until it has ended its side. Broken off, it yields an error.
pub(crate) type Source = Pin<Box<dyn Stream<Item = crate::Result<Bytes>> + Send>>;

/// The messages as the method takes them: tonic's own type, as `ctx.stream` answers it.
pub(crate) fn typed<R: Rpc, Q: RequestOf<R, R::Request>>(source: Source) -> Streaming<Q> {
    let (decoder, body) = (Decode::<R, Q>(PhantomData), Framed { source, message: None, over: false });
    // As a response: in a request, tonic would take CANCELLED for the end, and half of an upload for all of it.
    Streaming::new_response(decoder, body, StatusCode::OK, None, Some(usize::MAX))
}

/// Messages behind their lengths, as gRPC has them on the wire.
struct Framed {
    source: Source,
    /// Its prefix is out already.
    message: Option<Bytes>,
    over: bool,
}

impl Body for Framed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let next = ready!(self.source.as_mut().poll_next(cx));
        self.over = !matches!(next, Some(Ok(_)));
        Poll::Ready(Some(match next {
            Some(Ok(message)) => {
                let prefix = prefix(&message);
                self.message = Some(message);
                Ok(Frame::data(prefix))
            }
            Some(Err(status)) => Err(status),
            None => Ok(Frame::trailers(ended_well())),
        }))
    }
}

fn prefix(message: &Bytes) -> Bytes {
    let mut prefix = [0; 5];
    // The gateway takes no message of 4 GiB.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    prefix[1..].copy_from_slice(&length.to_be_bytes());
    Bytes::copy_from_slice(&prefix)
}

fn ended_well() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

/// Reads the rpc's message, and says so if it is another.
struct Decode<R, Q>(PhantomData<fn() -> (R, Q)>);

impl<R: Rpc, Q: RequestOf<R, R::Request>> Decoder for Decode<R, Q> {
    type Item = Q;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> crate::Result<Option<Q>> {
        Q::from_wire(from.copy_to_bytes(from.remaining())).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::{Source, typed};
    use crate::io::v1::{FetchRequest, http};
    use bytes::Bytes;
    use prost::Message as _;
    use tonic::{Code, Status};

    fn source(items: Vec<crate::Result<Bytes>>) -> Source {
        Box::pin(futures_util::stream::iter(items))
    }

    fn request(url: &str) -> FetchRequest {
        FetchRequest { url: url.to_owned(), ..FetchRequest::default() }
    }

    fn encoded(request: &FetchRequest) -> crate::Result<Bytes> {
        Ok(request.encode_to_vec().into())
    }

    #[tokio::test]
    async fn messages_come_whole_and_in_order_and_then_the_end() {
        let sent = [request("a"), FetchRequest::default(), request(&"long".repeat(100_000))];
        let mut taken = typed::<http::Fetch, FetchRequest>(source(sent.iter().map(encoded).collect()));
        for expected in sent {
            assert_eq!(taken.message().await.unwrap(), Some(expected));
        }
        assert_eq!(taken.message().await.unwrap(), None);
        assert_eq!(taken.message().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_is_an_error_and_no_end() {
        let gone = Err(Status::cancelled("the caller has gone away"));
        let mut taken = typed::<http::Fetch, FetchRequest>(source(vec![encoded(&request("a")), gone]));
        taken.message().await.unwrap().unwrap();
        assert_eq!(taken.message().await.unwrap_err().code(), Code::Cancelled);
    }

    #[tokio::test]
    async fn another_message_is_an_invalid_argument() {
        let other = Ok(Bytes::from_static(b"\xff\xff\xff"));
        let mut taken = typed::<http::Fetch, FetchRequest>(source(vec![other]));
        let error = taken.message().await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("FetchRequest"), "{error}");
    }
}
