//! A client for programs that call a mesh a thousand times a second: calls travel in batches, over one standing link to
//! each gateway. What a call is, does and answers is the same as by plain gRPC.
//!
//! `search` finds a gateway for a call, and has its patience; `call` takes it through its attempts, `repeats` says whether
//! there is one more, `plain` takes one that is too large for a link or answers a stream, `streams` says how many of those
//! may be open, and `beside` has the connections for both; `links` knows the links that are up, `choice` picks one of them,
//! `dialer` keeps them up, `link` speaks to one gateway, `pending` and `frames` make frames of what gathers; `trouble` is the
//! patience of questions about tickets. The gateway's half is in its own `clients.rs`.

pub(crate) mod beside;
pub(crate) mod call;
mod choice;
mod dialer;
mod frames;
mod link;
mod links;
mod pending;
mod places;
mod plain;
mod repeats;
mod search;
pub(crate) mod streams;
pub(crate) mod trouble;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::MetadataMap;
use tonic::{IntoRequest, IntoStreamingRequest, Request, Response, Status, Streaming};
use turno_proto::{entries, headers};
use turno_runtime::task;

use crate::calls::Mesh;
use crate::client::call::Call;
use crate::client::link::Link;
use crate::client::links::Links;
use crate::client::search::Search;
use crate::client::streams::{Place, Streams};
use crate::error::Error;
use crate::map::Map;
use crate::node::token::Token;
use crate::rpc::{ServerStreaming, Unary};

/// Calls the methods of a mesh from any tokio program, in batches: several times the calls a second of a plain gRPC
/// client, which works as well. Cheap to clone; the last clone's end is the end of its links.
///
/// It needs no node, and no gateway yet: it dials in the background, again and again. A call waits for a gateway as long
/// as [`Builder::patience`] says. Dropping the future of a call cancels the call.
///
/// ```no_run
/// use turno::cpu::v1::{images, InfoRequest};
///
/// # async fn example(data: bytes::Bytes) -> Result<(), Box<dyn std::error::Error>> {
/// let client = turno::Client::connect("127.0.0.1:7070")?;
/// let info = client.call::<images::Info>(InfoRequest { data }).await?;
///
/// let mut request = turno::Request::new(InfoRequest::default());
/// request.set_timeout(std::time::Duration::from_secs(2));
/// request.metadata_mut().insert("turno-tenant", "bakery".parse()?);
/// let answer = client.call::<images::Info>(request).await;
/// # Ok(()) }
/// ```
///
/// What may have run when its link breaks, or the connection of a large call, is repeated only if the method's
/// `idempotency_level` allows it, and as long as repetitions are no more than a fifth of the calls of the last ten seconds,
/// and 100 besides; else the caller hears `UNAVAILABLE`. What had not left goes by another gateway, unseen.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    links: Arc<Links>,
    /// Places for calls in flight.
    places: Semaphore,
    /// Places for those who wait for the end of a ticket.
    waits: Semaphore,
    /// They end with the last client.
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// A client before it dials.
#[derive(Clone, Debug)]
pub struct Builder {
    gateways: Vec<String>,
    patience: Duration,
    in_flight: usize,
    streams: usize,
}

const PATIENCE: Duration = Duration::from_secs(5);
const IN_FLIGHT: usize = 65_536;
/// Fewer than a gateway takes on one connection.
const WAITS: usize = 8192;

impl Client {
    /// A client of the gateway at `host:port`, or of every gateway that the name resolves to. Call it inside a tokio
    /// runtime, which it dials in.
    ///
    /// # Errors
    /// What is no `host:port`.
    pub fn connect(gateway: impl Into<String>) -> Result<Self, Error> {
        Self::to([gateway]).connect()
    }

    /// A client of several gateways: calls spread over those that are there.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), turno::Error> {
    /// let client = turno::Client::to(["10.0.0.1:7070", "10.0.0.2:7070"]).connect()?;
    /// # Ok(()) }
    /// ```
    pub fn to<G: Into<String>>(gateways: impl IntoIterator<Item = G>) -> Builder {
        let gateways = gateways.into_iter().map(Into::into).collect();
        Builder { gateways, patience: PATIENCE, in_flight: IN_FLIGHT, streams: streams::USUAL }
    }

    /// Calls a method, wherever it runs, and waits for its answer.
    ///
    /// # Errors
    /// The method's own, or the mesh's: `UNIMPLEMENTED`, `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`.
    pub async fn call<R: Unary>(&self, request: impl IntoRequest<R::Request>) -> crate::Result<R::Response> {
        self.call_with_metadata::<R>(request).await.map(Response::into_inner)
    }

    /// The same, with the metadata of the answer: what the method has said by
    /// [`Context::add_trailer`](crate::Context::add_trailer), and the account that `turno-explain: 1` asks for. With that of
    /// a large call, which goes by plain gRPC, are lines of the protocol's own.
    ///
    /// ```no_run
    /// # use turno::cpu::v1::{images, InfoRequest};
    /// # async fn example(client: turno::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut request = turno::Request::new(InfoRequest::default());
    /// request.metadata_mut().insert("turno-explain", "1".parse()?);
    /// let answer = client.call_with_metadata::<images::Info>(request).await?;
    /// println!("{:?}: {:?}", answer.metadata().get("turno-explain"), answer.get_ref());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_with_metadata<R: Unary>(
        &self,
        request: impl IntoRequest<R::Request>,
    ) -> crate::Result<Response<R::Response>> {
        let request = request.into_request();
        let deadline = call::asked(request.metadata())?;
        let answer = self.answer::<R>(request, deadline);
        match deadline {
            None => answer.await,
            Some(_) => call::within(deadline, answer).await,
        }
    }

    async fn answer<R: Unary>(
        &self,
        request: Request<R::Request>,
        deadline: Option<Instant>,
    ) -> crate::Result<Response<R::Response>> {
        let (repeats, mut search) = (&self.0.links.repeats, Search::new(&self.0.links));
        let _place = search.place(&self.0.places).await;
        let link = search.link().await?;
        if request.get_ref().encoded_len() + size_of(request.metadata()) > link.max_body() {
            // A connection of its own, where it does not stand in the way of small calls.
            return Box::pin(plain::unary::<R>(repeats, search, link, request, deadline)).await;
        }
        let outcome = Call::new::<R>(request, deadline).carry(repeats, search, link).await?;
        let message = R::Response::decode(outcome.body).map_err(|error| {
            Status::internal(format!("the answer of {} cannot be read: {error}", R::NAME))
        })?;
        Ok(Response::from_parts(entries::to_metadata(outcome.trailers), message, Default::default()))
    }

    /// Maps a method over many requests: each is answered as by [`Client::call`], tiny ones many at a time. A deadline and
    /// metadata (`Request::new(stream)`) are those of the whole map. Await what this answers, after telling it its options.
    ///
    /// It goes by plain gRPC on the connection of streams, of which it is one ([`Builder::streams`]), and in the batch lane,
    /// behind calls.
    pub fn map<R: Unary>(&self, requests: impl IntoStreamingRequest<Message = R::Request>) -> Map<R> {
        let requests = requests.into_streaming_request();
        let has_deadline = requests.metadata().contains_key(headers::GRPC_TIMEOUT);
        // It dials for as long as the map waits for it.
        let client = self.clone();
        let mesh = async move {
            let mut search = Search::of_stream(&client.0.links);
            let place = search.place_of_stream(has_deadline).await?;
            let link = search.link().await?;
            Ok(Mesh::new(link.streams.carry(place), Token::default()))
        };
        Map::new(mesh, requests)
    }

    /// Calls a method that answers a stream, by plain gRPC on a connection that only streams have. Once its answer has begun
    /// it is not called again, and what breaks is an error of the stream: `UNAVAILABLE`. It goes on when its gateway ends in
    /// order, while new ones go elsewhere. Dropping it cancels it.
    ///
    /// # Errors
    /// As [`Client::call`]; and `RESOURCE_EXHAUSTED` where [`Builder::streams`] are open and stay so: nothing was sent then,
    /// and [`never_sent`](crate::never_sent) says so.
    pub async fn stream<R: ServerStreaming>(
        &self,
        request: impl IntoRequest<R::Request>,
    ) -> crate::Result<Streaming<R::Response>> {
        let request = request.into_request();
        let deadline = call::asked(request.metadata())?;
        let (repeats, mut search) = (&self.0.links.repeats, Search::of_stream(&self.0.links));
        let begun = async {
            let place = search.place_of_stream(deadline.is_some()).await?;
            let link = search.link().await?;
            plain::server_streaming::<R>(repeats, search, link, request, deadline, place).await
        };
        Box::pin(call::within(deadline, begun)).await
    }

    /// A gateway to be asked for tickets, by plain gRPC.
    pub(crate) async fn mesh_within(&self, left: Duration) -> crate::Result<Mesh> {
        let link = self.0.links.live_within(left, Link::load).await?;
        Ok(Mesh::new(link.tickets.channel(), Token::default()))
    }

    /// The same for one question that is a stream, or is answered by one. If it has no place yet, it gets one in the same
    /// time, for as long as it is kept: while gateways come and go it is not for others.
    pub(crate) async fn stream_mesh_within(
        &self,
        left: Duration,
        kept: &mut Option<Arc<Place>>,
    ) -> crate::Result<Mesh> {
        let (links, began) = (&self.0.links, Instant::now());
        let place = match kept {
            Some(place) => place,
            empty => empty.insert(Arc::new(links.streams.place(Some(left)).await?)),
        };
        let left = left.saturating_sub(began.elapsed());
        let link = links.live_within(left, Link::load_of_streams).await?;
        Ok(Mesh::new(link.streams.carry(place.clone()), Token::default()))
    }

    /// How long a call waits for a gateway.
    pub(crate) fn patience(&self) -> Duration {
        self.0.links.patience()
    }

    /// A place for who waits for the end of a ticket.
    pub(crate) async fn place_to_wait(&self) -> Option<SemaphorePermit<'_>> {
        self.0.waits.acquire().await.ok()
    }
}

fn size_of(metadata: &MetadataMap) -> usize {
    metadata.as_ref().iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("linked", &self.0.links.gateways()).finish_non_exhaustive()
    }
}

impl Builder {
    /// How long a call waits for a gateway when none is there, in all and also before its turn; 5 s unless told otherwise.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Calls in flight at once, large ones among them; one more waits for its turn. 65,536 unless told otherwise. Streams do
    /// not count, however long they are quiet: [`streams`](Self::streams) says how many there may be.
    ///
    /// Methods that call others through the same client need room for all of them at once: where each place is taken by one
    /// that waits for such a call, none goes on before a deadline passes.
    #[must_use]
    pub fn in_flight(self, in_flight: usize) -> Self {
        Self { in_flight, ..self }
    }

    /// Streams that are open at once: answers of [`Client::stream`], maps on their way, and tickets that are watched or whose
    /// map is read or submitted. 2,000 unless told otherwise; 0 counts as 1, and what is above 8,192 as that, which is as many
    /// as one gateway can have of a client. The more, the less may be on its way of each.
    ///
    /// A stream has its place until it has ended or is dropped; that of a ticket also while gateways come and go. One more
    /// waits for its turn until its deadline; without one, for as long as [`patience`](Self::patience) says, or that of the
    /// ticket ([`Ticket::patience`](crate::Ticket::patience)), and hears `RESOURCE_EXHAUSTED` then.
    #[must_use]
    pub fn streams(self, streams: usize) -> Self {
        Self { streams, ..self }
    }

    /// Begins to dial. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// No gateway, or what is no `host:port`.
    pub fn connect(self) -> Result<Client, Error> {
        let mut gateways = self.gateways.into_iter().map(dialer::address).collect::<Result<Vec<_>, _>>()?;
        gateways.sort();
        gateways.dedup();
        if gateways.is_empty() {
            return Err(Error::Address { address: String::new(), reason: "no gateway is named" });
        }
        let links = Arc::new(Links::new(gateways.join(", "), self.patience, Streams::new(self.streams)));
        let dial = |gateway| task::spawn("client.dialer", dialer::run(links.clone(), gateway));
        let clock = task::spawn("client.clock", links::keep_time(links.clone()));
        let tasks = gateways.into_iter().map(dial).chain([clock]).map(AbortOnDropHandle::new).collect();
        let places = Semaphore::new(self.in_flight.clamp(1, Semaphore::MAX_PERMITS));
        let waits = Semaphore::new(WAITS);
        Ok(Client(Arc::new(Inner { links, places, waits, _tasks: tasks })))
    }
}
