//! Answers as they come back.

use std::error::Error as _;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use prost::Message as _;
use tonic::Status;
use turno_proto::google::rpc;
use turno_proto::status;
use turno_proto::v1::{MapResponse, MapResult, MapSummary};

use super::{BoxStream, unreadable};
use crate::node::link::root;
use crate::rpc::Unary;

/// A stream of answers, each with the number of its request, from 0 on. A request that failed has its own error beside
/// its number; an error of the stream itself is the end of the map: `ABORTED` when it was told to stop at failures,
/// `UNAVAILABLE` when the gateway was lost. What has no answer by then may have run.
///
/// Who stops reading stops the map; who drops it cancels what is on its way.
pub struct Answers<R> {
    messages: BoxStream<crate::Result<MapResponse>>,
    arrived: std::vec::IntoIter<MapResult>,
    summary: Option<Summary>,
    over: bool,
    rpc: PhantomData<fn() -> R>,
}

/// What became of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Requests that were taken.
    pub items: u64,
    /// Those that were answered well.
    pub succeeded: u64,
    /// Those that were answered an error.
    pub failed: u64,
}

impl Summary {
    /// What an error says of a map that its failures have stopped: of one that is a ticket, it is a detail of `ABORTED`.
    pub fn of(error: &Status) -> Option<Self> {
        let details = rpc::Status::decode(error.details()).ok()?.details;
        let any = details.iter().find(|any| any.type_url.ends_with("/turno.v1.MapSummary"))?;
        MapSummary::decode(any.value.as_slice()).ok().map(Self::read)
    }

    pub(crate) fn read(said: MapSummary) -> Self {
        let MapSummary { items, succeeded, failed } = said;
        Self { items, succeeded, failed }
    }
}

impl<R> Answers<R> {
    pub(crate) fn new(messages: impl Stream<Item = crate::Result<MapResponse>> + Send + 'static) -> Self {
        let messages = Box::pin(messages);
        Self { messages, arrived: Vec::new().into_iter(), summary: None, over: false, rpc: PhantomData }
    }

    /// Known once the stream has ended, unless the map broke.
    pub fn summary(&self) -> Option<Summary> {
        self.summary
    }

    fn take(&mut self, message: MapResponse) {
        self.arrived = message.results.into_iter();
        self.summary = message.summary.map(Summary::read).or(self.summary);
    }
}

impl<R: Unary> Stream for Answers<R> {
    type Item = crate::Result<(u64, crate::Result<R::Response>)>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(result) = self.arrived.next() {
                return Poll::Ready(Some(Ok((result.index, answer::<R>(result)))));
            }
            if self.over {
                return Poll::Ready(None);
            }
            match ready!(self.messages.as_mut().poll_next(cx)) {
                Some(Ok(message)) => self.take(message),
                Some(Err(status)) => {
                    self.over = true;
                    self.summary = Summary::of(&status).or(self.summary);
                    return Poll::Ready(Some(Err(broken(status))));
                }
                None if self.summary.is_none() => {
                    self.over = true;
                    let broken = Status::unavailable("the map broke off before its summary");
                    return Poll::Ready(Some(Err(broken)));
                }
                None => self.over = true,
            }
        }
    }
}

/// What has a cause was not said by the gateway: the connection broke.
fn broken(status: Status) -> Status {
    match status.source() {
        Some(cause) => Status::unavailable(format!("the map broke off: {}", root(cause))),
        None => status,
    }
}

fn answer<R: Unary>(result: MapResult) -> crate::Result<R::Response> {
    match result.error {
        Some(error) => Err(status::from_map(error)),
        None => R::Response::decode(result.response).map_err(|error| unreadable(R::NAME, &error)),
    }
}

impl<R> fmt::Debug for Answers<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("summary", &self.summary).finish_non_exhaustive()
    }
}
