//! The ticket of a map: many requests are handed in at once, and what comes of each is read by its number, from anywhere.
//!
//! `submit` hands the requests in, out of a `source` that can be lent again as long as nothing was taken of it; `results`
//! reads what comes.

mod results;
mod source;
mod submit;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use tonic::IntoStreamingRequest;
use turno_proto::v1::MapSummary;

use crate::client::Client;
use crate::context::Context;
use crate::map::Summary;
use crate::rpc::{Rpc, Unary};
use crate::ticket::claim::{Claim, Sort};
use crate::ticket::desk::{Desk, Way};
use crate::ticket::{Answer, Changes, Snapshot, State};

pub use results::Results;
pub use submit::SubmitMap;

/// A map that was submitted: it goes on by itself, whether anybody waits for it or not. Cheap to clone.
///
/// Awaiting it, or [`summary`](Self::summary), waits until it has ended; [`results`](Self::results) reads what has come of
/// each request, while it runs and afterwards. Dropping any of these changes nothing; [`cancel`](Self::cancel) does.
///
/// ```no_run
/// # use futures_util::{StreamExt as _, TryStreamExt as _, stream};
/// # use turno::cpu::v1::{InfoRequest, images};
/// # async fn example(client: turno::Client, pictures: Vec<bytes::Bytes>) -> turno::Result<()> {
/// let requests = stream::iter(pictures).map(|data| InfoRequest { data });
/// let ticket = client.submit_map::<images::Info>(requests).key("pictures").await?;    // all of it is on disk
/// let mut results = ticket.results();
/// while let Some((index, answer)) = results.try_next().await? {
///     match answer {
///         Ok(info) => println!("{index}: {}x{}", info.width, info.height),
///         Err(error) => eprintln!("{index}: {error}"),
///     }
/// }
/// let summary = ticket.await?;
/// println!("{} of {} have failed", summary.failed, summary.items);
/// # Ok(()) }
/// ```
///
/// Gateways may come and go meanwhile: what waits, watches or reads goes on by another one, or by the same when it is back,
/// and gives up only when none was there for as long as [`patience`](Self::patience) says.
pub struct MapTicket<R> {
    claim: Claim,
    rpc: PhantomData<fn() -> R>,
}

impl<R: Unary> MapTicket<R> {
    fn new(desk: Desk, name: String) -> Self {
        Self { claim: Claim::new(Sort::map::<R>(), desk, name), rpc: PhantomData }
    }

    /// "operations/0198…": what [`Client::map_ticket`] takes, and what generic clients of `google.longrunning` do.
    pub fn name(&self) -> &str {
        &self.claim.name
    }

    /// "0198…": the name without its first part. Later tickets sort behind earlier ones.
    pub fn id(&self) -> &str {
        self.claim.id()
    }

    /// How long [`summary`](Self::summary), [`results`](Self::results) and the others go on without a gateway; 60 s unless
    /// told otherwise. While gateways answer they wait for as long as it takes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.claim.patience = patience;
        self
    }

    /// Waits until the map has ended, for as long as it takes.
    ///
    /// # Errors
    /// `ABORTED`: its failures have stopped it; [`Summary::of`] reads how many there were. `CANCELLED`: somebody has
    /// cancelled it. Any other code, with its message and details, if every attempt at the map as a whole has failed.
    /// `NOT_FOUND`: there is no such ticket, or it is forgotten. `FAILED_PRECONDITION`: it is one of another method, or none
    /// of a map. `UNAVAILABLE`: no gateway for as long as the [patience](Self::patience) lasts; the ticket goes on.
    pub async fn summary(&self) -> crate::Result<Summary> {
        self.claim.response::<MapSummary>().await.map(Summary::read)
    }

    /// What has come of its requests, and what comes until it has ended. Nothing is asked before the stream is.
    pub fn results(&self) -> Results<R> {
        self.results_from(0)
    }

    /// The same, behind so many results that have been read already: a [`Results::position`].
    pub fn results_from(&self, position: u64) -> Results<R> {
        Results::new(self.claim.clone(), position)
    }

    /// Wants it cancelled: what runs of it is told, and the ticket has ended once nothing does. Results that had come by then
    /// are kept. Of a map that has ended it changes nothing.
    ///
    /// # Errors
    /// As [`Ticket::cancel`](crate::Ticket::cancel).
    pub async fn cancel(&self) -> crate::Result<()> {
        self.claim.cancel().await
    }

    /// Where it stands.
    ///
    /// # Errors
    /// As [`MapTicket::snapshot`].
    pub async fn state(&self) -> crate::Result<State> {
        Ok(self.snapshot().await?.state)
    }

    /// What is known of it. Its progress counts requests.
    ///
    /// # Errors
    /// `NOT_FOUND`: there is no such ticket, or it is forgotten. `FAILED_PRECONDITION`: it is one of another method, or none
    /// of a map. `UNAVAILABLE`: no gateway for as long as the patience lasts.
    pub async fn snapshot(&self) -> crate::Result<Snapshot> {
        self.claim.snapshot().await
    }

    /// Follows it to its end. Nothing is asked before the stream is.
    pub fn watch(&self) -> Changes {
        self.claim.watch()
    }
}

impl<R: Unary> IntoFuture for MapTicket<R> {
    type Output = crate::Result<Summary>;
    type IntoFuture = Answer<Summary>;

    /// As [`MapTicket::summary`].
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.summary().await })
    }
}

impl<R> Clone for MapTicket<R> {
    fn clone(&self) -> Self {
        Self { claim: self.claim.clone(), rpc: PhantomData }
    }
}

impl<R: Rpc> fmt::Debug for MapTicket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, method) = (&self.claim.name, &R::NAME);
        f.debug_struct("MapTicket").field("name", name).field("method", method).finish_non_exhaustive()
    }
}

/// Its [name](MapTicket::name).
impl<R> fmt::Display for MapTicket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.claim.name)
    }
}

impl Client {
    /// Submits a map: the answer is a [`MapTicket`], once all of its requests are on disk. See [`SubmitMap`] for what can be
    /// asked of it, and for what becomes of it when a connection breaks meanwhile. To have the answers at once, and only as
    /// long as this process lives, [`map`](Self::map).
    ///
    /// ```no_run
    /// # use futures_util::stream;
    /// # use turno::cpu::v1::{InfoRequest, images};
    /// # async fn example(client: turno::Client, requests: Vec<InfoRequest>) -> turno::Result<()> {
    /// let ticket = client.submit_map::<images::Info>(stream::iter(requests)).key("pictures").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Metadata (`Request::new(stream)`) goes along: `turno-tenant` says whose map it is, in at most 256 bytes.
    pub fn submit_map<R: Unary>(
        &self,
        requests: impl IntoStreamingRequest<Message = R::Request>,
    ) -> SubmitMap<R> {
        SubmitMap::new(Way::Client(self.clone()), requests)
    }

    /// Picks up the ticket of a map again by its name, with or without "operations/". Nothing is asked yet.
    ///
    /// ```no_run
    /// # use turno::cpu::v1::images;
    /// # async fn example(client: turno::Client, name: &str) -> turno::Result<()> {
    /// let results = client.map_ticket::<images::Info>(name).results_from(20_000);
    /// # Ok(()) }
    /// ```
    pub fn map_ticket<R: Unary>(&self, name: impl Into<String>) -> MapTicket<R> {
        MapTicket::new(Desk::plain(Way::Client(self.clone())), name.into())
    }
}

impl Context {
    /// Submits a map over another method: the answer is a [`MapTicket`], once all of its requests are on disk. As with
    /// [`submit`](Self::submit), it goes on when this method has ended, and knows nothing of its deadline; while its requests
    /// are on their way, that holds.
    pub fn submit_map<R: Unary>(
        &self,
        requests: impl IntoStreamingRequest<Message = R::Request>,
    ) -> SubmitMap<R> {
        SubmitMap::new(Way::Method(self.clone()), requests)
    }

    /// Picks up the ticket of a map again by its name, with or without "operations/". Nothing is asked yet.
    pub fn map_ticket<R: Unary>(&self, name: impl Into<String>) -> MapTicket<R> {
        MapTicket::new(Desk::plain(Way::Method(self.clone())), name.into())
    }
}
