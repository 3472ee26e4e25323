//! A map as its client sees it: a stream of requests goes in, a stream of answers with their numbers comes out.
//!
//! `requests` gathers what is ready into one message, `answers` takes messages apart. The gateway's half is in its own
//! `map.rs`.

mod answers;
mod requests;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Instant;

use futures_util::{StreamExt, stream};
use tonic::{IntoStreamingRequest, Request, Status};
use turno_proto::v1::{MapHeader, MapOrder, OnFailure as Wire};

use crate::calls::Mesh;
use crate::client::call::{asked, within};
use crate::rpc::Unary;

pub use answers::{Answers, Summary};
pub(crate) use requests::Requests;

/// A map that is about to begin: one method over many requests. Await it, and it begins.
///
/// ```no_run
/// use futures_util::{StreamExt as _, TryStreamExt as _, stream};
/// use turno::cpu::v1::{images, InfoRequest};
///
/// # async fn example(client: turno::Client, pictures: Vec<bytes::Bytes>) -> turno::Result<()> {
/// let requests = stream::iter(pictures).map(|data| InfoRequest { data });
/// let mut answers = client.map::<images::Info>(requests).ordered().await?;
/// while let Some((index, answer)) = answers.try_next().await? {
///     match answer {
///         Ok(info) => println!("{index}: {}x{}", info.width, info.height),
///         Err(error) => eprintln!("{index}: {error}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use = "a map begins when it is awaited"]
pub struct Map<R: Unary> {
    mesh: MeshOf,
    requests: Request<BoxStream<R::Request>>,
    header: MapHeader,
}

pub(crate) type BoxStream<T> = stream::BoxStream<'static, T>;

/// The way to the mesh; it may have to be waited for.
type MeshOf = Pin<Box<dyn Future<Output = crate::Result<Mesh>> + Send>>;

/// What the failure of an item does to its map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnFailure {
    /// Nothing: it is an answer like any other.
    Collect,
    /// It is the last answer; then the map ends with `ABORTED`.
    Stop,
    /// When more than this share of the items has failed (0.0 to 1.0; of 100 at least, as long as there may be more), the
    /// map ends with `ABORTED`.
    StopAbove(f64),
}

impl OnFailure {
    pub(crate) fn write(self, header: &mut MapHeader) {
        let (wire, share) = match self {
            Self::Collect => (Wire::Collect, 0.0),
            Self::Stop => (Wire::Stop, 0.0),
            Self::StopAbove(share) => (Wire::StopAbove, share),
        };
        (header.on_failure, header.failures) = (wire.into(), share);
    }
}

impl<R: Unary> Map<R> {
    pub(crate) fn new(
        mesh: impl Future<Output = crate::Result<Mesh>> + Send + 'static,
        requests: impl IntoStreamingRequest<Message = R::Request>,
    ) -> Self {
        let requests = requests.into_streaming_request().map(StreamExt::boxed);
        let header = MapHeader { method: R::NAME.to_owned(), ..MapHeader::default() };
        Self { mesh: Box::pin(mesh), requests, header }
    }

    /// Answers in the order of the requests; unless told so, as they come.
    pub fn ordered(mut self) -> Self {
        self.header.order = MapOrder::AsSent.into();
        self
    }

    /// What a failure does; unless told otherwise, nothing.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        on_failure.write(&mut self.header);
        self
    }

    /// The most items that are at nodes, or whose answers wait to be read: up to 1,048,576; unless told otherwise, 16,384.
    pub fn in_flight(mut self, items: u32) -> Self {
        self.header.in_flight = items;
        self
    }

    /// Begins.
    ///
    /// # Errors
    /// No gateway, `UNIMPLEMENTED` for a method that nobody serves, `INVALID_ARGUMENT` for options that make no sense,
    /// `RESOURCE_EXHAUSTED` from a full house, `DEADLINE_EXCEEDED` when the deadline passes before it has begun.
    async fn begin(self) -> crate::Result<Answers<R>> {
        let Self { mesh, mut requests, header } = self;
        let deadline = asked(requests.metadata())?;
        let mesh = within(deadline, mesh).await?;
        if let Some(deadline) = deadline {
            // The gateway is told what is left.
            requests.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let answers = mesh.map(requests.map(|requests| Requests::<R>::new(header, requests))).await?;
        Ok(Answers::new(answers))
    }
}

impl<R: Unary> IntoFuture for Map<R> {
    type Output = crate::Result<Answers<R>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

impl<R: Unary> fmt::Debug for Map<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("header", &self.header).finish_non_exhaustive()
    }
}

fn unreadable(name: &str, error: &prost::DecodeError) -> Status {
    Status::internal(format!("the answer of {name} cannot be read: {error}"))
}
