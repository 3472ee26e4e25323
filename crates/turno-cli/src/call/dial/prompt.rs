//! A line on which answers have to begin in time. How long they take then is a matter of their size and the line's: that nothing
//! comes any more, pings tell.

use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::transport::Channel;

use super::{ANSWER, answer_within};

/// A line to a gateway, for questions that it answers once.
pub(crate) struct Prompt<S = Channel> {
    line: S,
    patience: Duration,
}

impl Prompt {
    pub(crate) fn new(line: Channel) -> Self {
        Self { line, patience: ANSWER }
    }
}

impl<S> Service<Request<Body>> for Prompt<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<Response<Body>, Status>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.line.poll_ready(cx).map_err(told)
    }

    fn call(&mut self, question: Request<Body>) -> Self::Future {
        let begins = self.line.call(question);
        Box::pin(answer_within(self.patience, async move { begins.await.map_err(told) }))
    }
}

fn told(error: impl Into<StdError>) -> Status {
    Status::from_error(error.into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{pending, ready};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use axum::body::to_bytes;
    use futures_util::stream;
    use http::{Request, Response};
    use tonic::Code;
    use tonic::body::Body;
    use tonic::codegen::{BoxFuture, Service};

    use super::Prompt;

    /// Begins to answer at once, or never.
    struct Line(Option<Response<Body>>);

    impl Service<Request<Body>> for Line {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Response<Body>, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            match self.0.take() {
                Some(answer) => Box::pin(ready(Ok(answer))),
                None => Box::pin(pending()),
            }
        }
    }

    #[tokio::test]
    async fn an_answer_has_to_begin_in_time_and_no_more() {
        let late = stream::once(async {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>("a large one")
        });
        let answer = Response::new(Body::new(axum::body::Body::from_stream(late)));
        let mut prompt = Prompt { line: Line(Some(answer)), patience: Duration::ZERO };
        let answer = prompt.call(Request::new(Body::empty())).await.unwrap();
        let answer = to_bytes(axum::body::Body::new(answer.into_body()), usize::MAX).await.unwrap();
        assert_eq!(answer, "a large one");
        let silence = prompt.call(Request::new(Body::empty())).await.unwrap_err();
        assert_eq!((silence.code(), silence.message()), (Code::DeadlineExceeded, "no answer within 0 s"));
    }
}
