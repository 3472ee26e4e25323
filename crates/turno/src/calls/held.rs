//! A connection by which one call goes, with what is kept for the call until its answer has ended or is dropped: its place
//! among the streams of its client, and its weight on its gateway.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::codegen::Service;
use tonic::transport::Channel;
use tonic::Status;

/// A connection, and what is kept for what goes by it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    channel: Channel,
    kept: Kept,
}

type Kept = Option<Arc<dyn Any + Send + Sync>>;
type Request = http::Request<tonic::body::Body>;

impl Held {
    pub(crate) fn keeping(channel: Channel, kept: impl Any + Send + Sync) -> Self {
        Self { channel, kept: Some(Arc::new(kept)) }
    }
}

impl From<Channel> for Held {
    /// Keeps nothing.
    fn from(channel: Channel) -> Self {
        Self { channel, kept: None }
    }
}

impl Service<Request> for Held {
    type Response = http::Response<Answer>;
    type Error = tonic::transport::Error;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request>::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, request: Request) -> Answering {
        Answering { answer: self.channel.call(request), kept: self.kept.clone() }
    }
}

/// The beginning of an answer is waited for.
pub(crate) struct Answering {
    answer: <Channel as Service<Request>>::Future,
    kept: Kept,
}

impl Future for Answering {
    type Output = Result<http::Response<Answer>, tonic::transport::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(Pin::new(&mut self.answer).poll(cx));
        let kept = self.kept.take();
        Poll::Ready(answered.map(|answer| answer.map(|body| Answer { body, kept })))
    }
}

/// The messages of an answer, and its trailers.
pub(crate) struct Answer {
    body: tonic::body::Body,
    kept: Kept,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // Nothing comes behind trailers.
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            self.kept = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
