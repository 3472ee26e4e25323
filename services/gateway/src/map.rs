//! `turno.v1.Map`: one method over many requests. Tiny items travel many to a chunk, and a chunk takes one slot; so what a
//! call costs is paid once for all of them.
//!
//! `terms` reads what the client wants; `sizes` says how large a chunk is, `window` how much may be here, `book` knows where
//! each item is, `outbox` what the client is owed: these decide, and know neither clock nor network. `errand` brings a chunk
//! to a node and back, `run` is the map itself, `bill` what it leaves behind, and here is its door.

mod bill;
mod book;
mod errand;
pub(crate) mod gate;
mod outbox;
mod run;
mod sizes;
mod terms;
mod window;

pub(crate) use errand::Errands;
pub(crate) use outbox::Earlier;
pub(crate) use run::{Fed, Map};
pub(crate) use terms::Terms;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tower::Service as _;
use turno_proto::mesh::v1::{Entry, Kind};
use turno_proto::v1::map_server::{Map as MapRpc, MapServer};
use turno_proto::v1::{MapRequest, MapResponse};
use turno_proto::{entries, headers};
use turno_runtime::task;

use crate::admission::RoomOfMap;
use crate::edge::{self, Edge};
use crate::listen::Origin;
use crate::methods::Method;
use crate::wishes;

/// Answers a request to map.
pub(crate) async fn serve(
    edge: Arc<Edge>,
    request: http::Request<tonic::body::Body>,
    origin: Arc<Origin>,
) -> http::Response<tonic::body::Body> {
    // The edge has its own.
    let mut server = MapServer::new(MapService { edge, origin }).max_decoding_message_size(usize::MAX);
    server.call(request).await.unwrap_or_else(|never| match never {})
}

struct MapService {
    edge: Arc<Edge>,
    origin: Arc<Origin>,
}

/// For the header.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Messages on their way to the client; flow control is HTTP/2's.
const MESSAGES_WAITING: usize = 4;
/// In one message.
const MOST_ITEMS: usize = 1 << 16;
/// Words of chunks that have gone to their nodes.
pub(crate) const SENT_WAITING: usize = 1024;

#[tonic::async_trait]
impl MapRpc for MapService {
    type MapStream = ReceiverStream<Result<MapResponse, Status>>;

    async fn map(
        &self,
        request: Request<Streaming<MapRequest>>,
    ) -> Result<Response<Self::MapStream>, Status> {
        let started = Instant::now();
        let (metadata, _, mut requests) = request.into_parts();
        let headers = metadata.into_headers();
        if self.origin.is_node && !self.edge.admits(&headers) {
            return Err(Status::unauthenticated(format!(
                "wrong or missing join token ({})",
                headers::AUTHORIZATION
            )));
        }
        let metadata_of_items = edge::metadata(&headers, &self.origin);
        wishes::understood(&metadata_of_items)?;
        let permit = self.edge.admission.admit_beside(&self.origin.reader)?;
        let (terms, first) = begin(&mut requests).await?;
        let method = self.method(&terms.path).await?;
        let deadline = edge::asked(&headers)?.and_then(|asked| started.checked_add(asked));
        let room = self.edge.admission.room_of_map();
        room.welcome()?;
        let (results, answers) = mpsc::channel(MESSAGES_WAITING);
        let map = self.prepared(terms, method, (&headers, metadata_of_items), deadline, room);
        task::spawn("gateway.map", async move {
            // It is in the house until it ends.
            let _permit = permit;
            let items = stream::iter([Ok(Fed::Items(first))]).chain(items(requests));
            map.run(Box::pin(items), results).await;
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl MapService {
    /// A method that can be mapped.
    async fn method(&self, path: &str) -> Result<Arc<Method>, Status> {
        let known = if edge::is_own(path) { None } else { self.edge.method(path).await };
        let method = known.ok_or_else(|| self.edge.unknown(path))?;
        if method.served().kind == Kind::Unspecified {
            method.wait_for_a_node().await;
        }
        if method.served().kind == Kind::Stream {
            return Err(Status::invalid_argument(format!(
                "{} takes or answers a stream: a map is for methods that take one message and answer one",
                method.name()
            )));
        }
        Ok(method)
    }

    fn prepared(
        &self,
        terms: Terms,
        method: Arc<Method>,
        (headers, metadata): (&HeaderMap, Vec<Entry>),
        deadline: Option<Instant>,
        room: RoomOfMap,
    ) -> Map {
        let (sent, has_sent) = mpsc::channel(SENT_WAITING);
        let errands = Errands {
            router: self.edge.router.clone(),
            longest_call: self.edge.longest_call,
            at_most: self.edge.longest_call,
            method,
            // Of a method that is of the batch: it has its turn, and would wait for itself.
            begins_batch: !(self.origin.is_node && entries::is_batch(&metadata)),
            metadata: batch(metadata),
            caller: edge::caller(headers, &self.origin),
            deadline,
            turns: Errands::turns(),
            sent,
        };
        let own = &self.edge.own;
        let closing = if self.origin.is_node { &own.nodes_closing } else { &own.closing };
        Map {
            terms,
            errands,
            room,
            patience: if self.origin.is_node { Duration::ZERO } else { self.edge.longest_call },
            closing: closing.clone(),
            stop: CancellationToken::new(),
            sent: has_sent,
            earlier: Earlier::default(),
            ticket: None,
            in_trailers: edge::is_explained(headers),
        }
    }
}

/// The header, and the items that came with it.
async fn begin(requests: &mut Streaming<MapRequest>) -> Result<(Terms, Vec<Bytes>), Status> {
    let first = tokio::time::timeout(PATIENCE, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the map's header did not come"))??;
    let MapRequest { header, items } = first.unwrap_or_default();
    let header = header.ok_or_else(|| Status::invalid_argument("a map begins with its header"))?;
    Ok((Terms::read(&header)?, counted(items)?))
}

fn items(requests: Streaming<MapRequest>) -> impl Stream<Item = Result<Fed, Status>> + Send {
    requests.map(|request| match request? {
        MapRequest { header: None, items } => counted(items).map(Fed::Items),
        _ => Err(Status::invalid_argument("a map has one header, in its first message")),
    })
}

/// A message of empty items is small, and what is kept of each is not.
pub(crate) fn counted(items: Vec<Bytes>) -> Result<Vec<Bytes>, Status> {
    if items.len() > MOST_ITEMS {
        let what = format!("{} items in one message, where {MOST_ITEMS} may be", items.len());
        return Err(Status::resource_exhausted(what));
    }
    Ok(items)
}

/// Whatever the client says of the lane; what the items call is in it too.
fn batch(mut metadata: Vec<Entry>) -> Vec<Entry> {
    metadata.retain(|entry| entry.key != headers::LANE);
    metadata
        .push(Entry { key: headers::LANE.to_owned(), value: Bytes::from_static(headers::BATCH.as_bytes()) });
    metadata
}
