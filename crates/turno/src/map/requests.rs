//! Requests on their way: what is ready goes in one message, and nothing is waited for to fill it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_util::stream::Fuse;
use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use turno_proto::v1::{MapHeader, MapRequest};

use super::BoxStream;
use crate::rpc::Unary;

/// The messages of one map.
pub(crate) struct Requests<R: Unary> {
    header: Option<MapHeader>,
    requests: Fuse<BoxStream<R::Request>>,
    /// Where items are encoded, one behind the other.
    buffer: BytesMut,
}

const MOST_ITEMS: usize = 1024;
/// But for the last item.
const MOST_BYTES: usize = 64 * 1024;

impl<R: Unary> Requests<R> {
    pub(crate) fn new(header: MapHeader, requests: BoxStream<R::Request>) -> Self {
        Self { header: Some(header), requests: requests.fuse(), buffer: BytesMut::new() }
    }

    fn gather(&mut self, cx: &mut Context<'_>, message: &mut MapRequest) -> bool {
        let mut bytes = 0;
        while message.items.len() < MOST_ITEMS && bytes < MOST_BYTES {
            match self.requests.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => {
                    request.encode(&mut self.buffer).expect("the buffer grows as it must");
                    bytes += self.buffer.len();
                    message.items.push(self.buffer.split().freeze());
                }
                Poll::Ready(None) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }
}

impl<R: Unary> Stream for Requests<R> {
    type Item = MapRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<MapRequest>> {
        if let Some(header) = self.header.take() {
            // It goes first and at once: its mistakes are heard of before the first item is there.
            return Poll::Ready(Some(MapRequest { header: Some(header), items: Vec::new() }));
        }
        let mut message = MapRequest::default();
        let ended = self.gather(cx, &mut message);
        match (message.items.is_empty(), ended) {
            (false, _) => Poll::Ready(Some(message)),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_ITEMS, Requests};
    use crate::cpu::v1::{InfoRequest, images};
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use turno_proto::v1::{MapHeader, MapRequest};

    fn requests(
        infos: impl futures_util::Stream<Item = InfoRequest> + Send + 'static,
    ) -> Requests<images::Info> {
        let mut requests = Requests::new(MapHeader::default(), Box::pin(infos));
        let first = requests.next().now_or_never().unwrap().unwrap();
        assert!(first.header.is_some() && first.items.is_empty());
        requests
    }

    fn info(size: usize) -> InfoRequest {
        InfoRequest { data: vec![7; size].into() }
    }

    fn next(requests: &mut Requests<images::Info>) -> Option<Option<usize>> {
        requests.next().now_or_never().map(|message: Option<MapRequest>| message.map(|it| it.items.len()))
    }

    #[test]
    fn what_is_ready_goes_and_more_is_not_waited_for() {
        let (tx, rx) = tokio::sync::mpsc::channel(8);
        let mut requests = requests(tokio_stream::wrappers::ReceiverStream::new(rx));
        assert_eq!(next(&mut requests), None);
        for _ in 0..3 {
            tx.try_send(info(1)).unwrap();
        }
        assert_eq!(next(&mut requests), Some(Some(3)));
        assert_eq!(next(&mut requests), None);
        tx.try_send(info(1)).unwrap();
        drop(tx);
        assert_eq!(next(&mut requests), Some(Some(1)));
        assert_eq!(next(&mut requests), Some(None));
    }

    #[test]
    fn a_stream_that_has_ended_is_not_asked_again() {
        // An unfold panics if it is.
        let mut three = requests(stream::unfold(3, async |left| (left > 0).then(|| (info(1), left - 1))));
        assert_eq!((next(&mut three), next(&mut three)), (Some(Some(3)), Some(None)));
    }

    #[test]
    fn a_message_has_its_limits() {
        let mut tiny = requests(stream::iter((0..=MOST_ITEMS).map(|_| info(0))));
        assert_eq!((next(&mut tiny), next(&mut tiny)), (Some(Some(MOST_ITEMS)), Some(Some(1))));
        let mut large = requests(stream::iter((0..3).map(|_| info(40_000))));
        assert_eq!((next(&mut large), next(&mut large)), (Some(Some(2)), Some(Some(1))));
    }
}
