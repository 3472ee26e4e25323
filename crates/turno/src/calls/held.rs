//! A connection by which one call goes, with what is kept for the call until its answer has ended or is dropped: its place
//! among the streams of its client, and its weight on its gateway.

use std::any::Any;
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tonic::codegen::Service;
use tonic::transport::Channel;

use crate::node::link::root;

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
        Poll::Ready(frame.map(|frame| frame.map_err(broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that breaks under an answer is a gateway that is not there any more, as it is one before the answer begins;
/// tonic calls most of it UNKNOWN or INTERNAL, and the rest after the reason of a GOAWAY. So its cause is asked, not its code:
/// only what this end has made up has one. What a gateway says of the stream alone stays what it is.
fn broken(status: Status) -> Status {
    if status.source().is_none() || is_reset(&status) {
        return status;
    }
    let why = root(&status);
    let mut told =
        Status::unavailable(format!("the connection broke while the answer was on its way: {why}"));
    told.set_source(Arc::new(Broken(why)));
    told
}

/// Why it broke. It was this end that noticed, and what is answered was sent, whatever the connection says of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

fn is_reset(status: &Status) -> bool {
    let causes = std::iter::successors(status.source(), |&error| error.source());
    causes.filter_map(|error| error.downcast_ref::<h2::Error>()).any(h2::Error::is_reset)
}

#[cfg(test)]
mod tests {
    use super::{Status, broken};
    use std::error::Error as _;
    use tonic::Code;

    #[test]
    fn a_connection_that_breaks_is_unavailable_and_has_a_cause() {
        let told = broken(Status::from_error(Box::new(std::io::Error::other("broken pipe"))));
        assert_eq!(told.code(), Code::Unavailable);
        assert!(told.message().ends_with(": broken pipe"), "{told}");
        assert!(told.source().is_some());
    }

    #[test]
    fn why_a_gateway_ends_a_connection_is_not_what_it_says_of_a_call() {
        use h2::Reason;
        for reason in
            [Reason::ENHANCE_YOUR_CALM, Reason::INADEQUATE_SECURITY, Reason::CANCEL, Reason::NO_ERROR]
        {
            let told = broken(Status::from_error(Box::new(h2::Error::from(reason))));
            assert_eq!(told.code(), Code::Unavailable, "{reason:?}");
        }
    }

    #[test]
    fn what_a_method_or_a_gateway_says_stays_what_it_is() {
        assert_eq!(broken(Status::unknown("what a method says")).code(), Code::Unknown);
        assert_eq!(broken(Status::data_loss("what a method says")).code(), Code::DataLoss);
    }
}
