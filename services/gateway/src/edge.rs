//! The edge: reads a request, lets it in, has it carried, writes the answer. The gateway's own services (health,
//! reflection, admin) are answered here too.

mod body;
mod messages;
mod plain;
mod prefixed;
mod refusals;
mod request;
mod response;
#[cfg(test)]
pub(crate) mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use tower::Service as _;
use turno_proto::google::longrunning::operations_server::OperationsServer;
use turno_proto::mesh::v1::mesh_server::MeshServer;
use turno_proto::mesh::v1::{Caller, Kind, Outcome};
use turno_proto::v1::admin_server::AdminServer;
use turno_proto::v1::tickets_server::TicketsServer;
use turno_proto::{entries, headers, timeout};
use turno_runtime::task;

use crate::admin::AdminService;
use crate::admission::{Admission, Permit};
use crate::bill::{self, Bill};
use crate::calls::{self, Call, Stream};
use crate::clients;
use crate::link::pending::Unfetched;
use crate::listen::Origin;
use crate::map;
use crate::mesh::MeshService;
use crate::methods::{Method, Methods};
use crate::quote::beginning;
use crate::reflection::Reflection;
use crate::router::Router;
use crate::tickets::{OperationsService, Tickets, TicketsService};
use crate::token::Token;
use crate::unread::Unread;
use crate::wishes;
use body::Counted;
use refusals::{ending, name, unknown};

pub(crate) use body::Body;
pub(crate) use messages::Messages;
pub(crate) use refusals::{not_begun, too_late, unserved};

/// A call that is older than this hears at once that the time to drain is over, and another one when it is as old.
const BRIEF: Duration = Duration::from_millis(250);

/// Both ports' way in.
pub(crate) struct Edge {
    pub(crate) methods: Arc<Methods>,
    pub(crate) router: Arc<Router>,
    pub(crate) tickets: Tickets,
    pub(crate) admission: Arc<Admission>,
    pub(crate) unread: Arc<Unread>,
    pub(crate) max_message: usize,
    pub(crate) longest_call: Duration,
    /// Until then nodes may still be on their way, and a method that is not known yet is waited for.
    pub(crate) settled: Instant,
    pub(crate) token: Token,
    pub(crate) own: Own,
}

/// The gateway's own services.
pub(crate) struct Own {
    pub(crate) admin: AdminServer<AdminService>,
    pub(crate) tickets: TicketsServer<TicketsService>,
    pub(crate) operations: OperationsServer<OperationsService>,
    pub(crate) health: HealthServer<HealthService>,
    pub(crate) mesh: MeshServer<MeshService>,
    pub(crate) reflection: Reflection,
    /// The clients' port is closing.
    pub(crate) closing: CancellationToken,
    /// The nodes' port is closing.
    pub(crate) nodes_closing: CancellationToken,
    /// The time to drain is over: who still waits is told so.
    pub(crate) over: CancellationToken,
}

impl Edge {
    /// Answers a request from either port. hyper moves this future into a task of its own for each call: what is not
    /// on the way of a small unary call is boxed, so that little is moved.
    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Box<Request<Incoming>>,
        origin: Arc<Origin>,
    ) -> Response<Body> {
        if let Some(refused) = not_grpc(&request) {
            return refused;
        }
        let known = self.methods.get(request.uri().path());
        if known.is_none() && is_own(request.uri().path()) {
            request.extensions_mut().insert(origin.clone());
            let is_node = origin.is_node;
            let answered = Box::pin(self.answer_own(request, origin));
            if is_node {
                // What it still brings back is wanted.
                return answered.await;
            }
            let in_time = self.own.over.run_until_cancelled(answered).await;
            return in_time.unwrap_or_else(|| ending("what was asked of it").into_http());
        }
        if origin.is_node && !self.admits(request.headers()) {
            return Status::unauthenticated("wrong or missing join token").into_http();
        }
        let Some(method) = known else { return Box::pin(self.answer_later(request, origin)).await };
        if !task::is_watched() {
            return self.serve(method, request, &origin, None).await;
        }
        Box::pin(self.serve_watched(method, request, origin, None)).await
    }

    /// Of a method that no node has served yet. The call is in the house while it waits, with what it has sent.
    async fn answer_later(
        self: Arc<Self>,
        request: Box<Request<Incoming>>,
        origin: Arc<Origin>,
    ) -> Response<Body> {
        let permit = match self.admission.admit_beside(&origin.reader) {
            Ok(permit) => permit,
            Err(refused) => return refused.into_http(),
        };
        let path = request.uri().path();
        let Some(found) = self.own.over.run_until_cancelled(self.method(path)).await else {
            return not_begun(&name(path)).into_http();
        };
        let Some(method) = found else { return self.unknown(path).into_http() };
        self.serve_watched(method, request, origin, Some(permit)).await
    }

    /// The method, if it is known, or appears in time.
    pub(crate) async fn method(&self, path: &str) -> Option<Arc<Method>> {
        let known = self.methods.get(path);
        if known.is_some() || is_own(path) {
            return known;
        }
        let at_last = Instant::now() + self.router.patience;
        Box::pin(self.methods.wait_for(path, self.settled, at_last)).await
    }

    /// What is told of a method that has not appeared.
    pub(crate) fn unknown(&self, path: &str) -> Status {
        if is_own(path) { unknown(path) } else { unserved(&self.methods, self.router.patience, path) }
    }

    async fn answer_own(
        self: &Arc<Self>,
        request: Box<Request<Incoming>>,
        origin: Arc<Origin>,
    ) -> Response<Body> {
        let request = plain::request(*request, self.max_message, self.admission.room());
        let own = &self.own;
        let service = request.uri().path().rsplit_once('/').map_or("", |(service, _)| service).to_owned();
        let counted = Counted::of(request.uri().path(), &origin.reader);
        let has_method_of_nodes = matches!(&*service, "/turno.v1.Tickets" | "/google.longrunning.Operations");
        if has_method_of_nodes && origin.is_node && !self.admits(request.headers()) {
            return Status::unauthenticated("wrong or missing join token").into_http();
        }
        if takes_place(request.uri().path())
            && let Err(refused) = self.admission.welcome(&origin.reader)
        {
            return refused.into_http();
        }
        let response = match service.as_str() {
            "/turno.mesh.v1.Mesh" if origin.is_node => own.mesh.clone().call(request).await,
            // Ends its streams by itself, once what came by them is answered; or when there is no more time for that, and
            // what has not run is told so.
            "/turno.v1.Calls" => {
                let (reader, told) = (origin.reader.clone(), CancellationToken::new());
                let linked = clients::serve(self.clone(), request, origin, told.clone()).await;
                return linked.map(|body| Body::own(body, Some(told), Counted::Always(reader)));
            }
            // So does a map: what is out comes back first.
            "/turno.v1.Map" => {
                let (reader, over) = (origin.reader.clone(), Some(own.over.clone()));
                let mapped = map::serve(self.clone(), request, origin).await;
                return mapped.map(|body| Body::own(body, over, Counted::Map(reader, Arc::default())));
            }
            "/turno.v1.Tickets" => own.tickets.clone().call(request).await,
            "/google.longrunning.Operations" => own.operations.clone().call(request).await,
            "/turno.v1.Admin" => own.admin.clone().call(request).await,
            "/grpc.health.v1.Health" => own.health.clone().call(request).await,
            "/grpc.reflection.v1.ServerReflection" | "/grpc.reflection.v1alpha.ServerReflection" => {
                Ok(own.reflection.call(request, self.settled).await)
            }
            _ => return self.unknown(request.uri().path()).into_http(),
        };
        // Streams of the gateway's own would hold a gateway that is asked to end: they end with it.
        let closing = (!origin.is_node).then(|| own.closing.clone());
        response.unwrap_or_else(|never| match never {}).map(|body| Body::own(body, closing, counted))
    }

    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        self.token.admits(headers.get(headers::AUTHORIZATION).map(|value| value.as_bytes()))
    }

    /// Shown under the method's name while tokio-console watches.
    async fn serve_watched(
        self: Arc<Self>,
        method: Arc<Method>,
        request: Box<Request<Incoming>>,
        origin: Arc<Origin>,
        inside: Option<Permit>,
    ) -> Response<Body> {
        let name = method.clone();
        let served = Box::pin(async move { self.serve(method, request, &origin, inside).await });
        task::watched(name.name(), served).await
    }

    /// Lets a call in, unless it is inside, and answers it.
    async fn serve(
        &self,
        method: Arc<Method>,
        request: Box<Request<Incoming>>,
        origin: &Origin,
        inside: Option<Permit>,
    ) -> Response<Body> {
        let bill = Bill::open(method, origin.peer, is_explained(request.headers()));
        let mut permit = match inside.map_or_else(|| self.admission.admit_beside(&origin.reader), Ok) {
            Ok(permit) => permit,
            Err(refused) => return bill.failed(refused).into_http(),
        };
        let begun = match self.begin(request, origin, &bill, &mut permit).await {
            Ok(begun) => begun,
            Err(error) => return bill.failed(error).into_http(),
        };
        let begun = match begun {
            Begun::Once(outcome) => response::once(bill.answered(outcome)),
            Begun::Stream(stream, deadline) => {
                Ok(Response::new(Body::stream(*stream, deadline, &self.own.over, bill)))
            }
        };
        let mut response = match begun {
            Ok(response) => response,
            Err(error) => return error.into_http(),
        };
        response.body_mut().keep(permit, &origin.reader);
        response.headers_mut().insert(http::header::CONTENT_TYPE, response::GRPC);
        response
    }

    /// Has a call carried until its answer begins.
    async fn begin(
        &self,
        mut request: Box<Request<Incoming>>,
        origin: &Origin,
        bill: &Bill,
        permit: &mut Permit,
    ) -> Result<Begun, Status> {
        let Bill { method, started, course, .. } = bill;
        let asked = asked(request.headers())?.into_iter().chain(method.served().policy.timeout).min();
        let deadline = *started + asked.unwrap_or(self.longest_call).min(self.longest_call);
        // Pinned where they are: what is handed to `select!` is moved there.
        let serving = std::pin::pin!(async {
            if method.served().kind == Kind::Unspecified {
                // Its first node is just joining.
                course.seek(Instant::now());
                Box::pin(method.wait_for_a_node()).await;
            }
            let caller = caller(request.headers(), origin);
            let metadata = metadata(request.headers(), origin);
            wishes::understood(&metadata)?;
            let (body, messages) = if method.served().takes_stream {
                (Bytes::new(), Some(messages(*request, self.max_message, permit)))
            } else {
                (request::read(&mut request, self.max_message, &mut permit.room).await?, None)
            };
            let deadline_of_caller = asked.map(|_| deadline);
            let call = Call {
                method: method.clone(),
                deadline: deadline_of_caller,
                metadata,
                caller,
                body,
                items: 0,
                reader: Some(origin.reader.clone()),
                begins_batch: false,
            };
            if method.served().kind == Kind::Stream {
                let stream = Box::pin(calls::stream(&self.router, call, messages, course)).await?;
                return Ok(Begun::Stream(Box::new(stream), deadline));
            }
            calls::unary(&self.router, &call, course).await.map(Begun::Once)
        });
        let late = std::pin::pin!(self.late(bill, deadline));
        tokio::select! {
            biased;
            begun = serving => begun,
            late = late => Err(late),
        }
    }

    /// Completes when a call may not go on, at its deadline or the gateway's own, with what is told of it.
    async fn late(&self, bill: &Bill, deadline: Instant) -> Status {
        // Most are over by then, and need no place among those who are told.
        tokio::time::sleep_until(deadline.min(bill.started + BRIEF).into()).await;
        let over = Box::pin(tokio::time::timeout_at(deadline.into(), self.own.over.cancelled()));
        match over.await {
            Ok(()) if bill.course.may_have_run() => ending(bill.method.name()),
            Ok(()) => not_begun(bill.method.name()),
            Err(_) => too_late(bill.method.name(), deadline.saturating_duration_since(bill.started)),
        }
    }
}

/// How the answer to a call begins.
enum Begun {
    /// With all of it.
    Once(Outcome),
    /// As a stream, which has this deadline.
    Stream(Box<Stream>, Instant),
}

pub(crate) fn is_explained(map: &HeaderMap) -> bool {
    map.get(headers::EXPLAIN).is_some_and(|value| bill::is_yes(value.as_bytes()))
}

/// A stream of requests, of which nothing is read before a node asks for it.
fn messages(request: Request<Incoming>, max_message: usize, permit: &Permit) -> Unfetched {
    let (head, body) = request.into_parts();
    Unfetched::new(Messages::new(&head.headers, body, max_message, permit.more_room()))
}

/// The time that the caller gives the call.
pub(crate) fn asked(map: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = map.get(headers::GRPC_TIMEOUT) else { return Ok(None) };
    let asked = timeout::parse(value.as_bytes());
    asked.map(Some).map_err(|_| {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = beginning(&value);
        Status::invalid_argument(format!("grpc-timeout: {value:?} does not follow the protocol"))
    })
}

/// Answered by the gateway itself.
pub(crate) fn is_own(path: &str) -> bool {
    ["/grpc.", "/turno.v1.", "/turno.mesh.", "/google.longrunning."].iter().any(|own| path.starts_with(own))
}

/// Questions about tickets that have a call's place: what submits, and what stands until it is read. Others are answered
/// also to who leaves answers unread.
fn takes_place(path: &str) -> bool {
    path.strip_prefix("/turno.v1.Tickets/")
        .is_some_and(|method| method.starts_with("Submit") || matches!(method, "ReadMap" | "Watch"))
}

/// A node speaks for the client that its own call came from.
pub(crate) fn caller(headers: &HeaderMap, origin: &Origin) -> Caller {
    let said = |name| headers.get(name).filter(|_| origin.is_node).and_then(|value| value.to_str().ok());
    Caller {
        peer: said(headers::CALLER_PEER).map_or_else(|| origin.peer.to_string(), str::to_owned),
        method: said(headers::CALLER_METHOD).unwrap_or_default().to_owned(),
    }
}

/// The join token is between node and gateway, and none of the method's business.
pub(crate) fn metadata(headers: &HeaderMap, origin: &Origin) -> Vec<turno_proto::mesh::v1::Entry> {
    let mut entries = entries::from_request(headers);
    if origin.is_node {
        entries.retain(|entry| entry.key != headers::AUTHORIZATION);
    }
    entries
}

fn not_grpc<B>(request: &Request<B>) -> Option<Response<Body>> {
    let kind = request.headers().get(http::header::CONTENT_TYPE).map(|value| value.as_bytes());
    if request.version() == Version::HTTP_2 && kind.is_some_and(is_grpc) {
        return None;
    }
    let text = "This port speaks gRPC over HTTP/2. Try: turno methods\n";
    let response = Response::builder().status(StatusCode::UNSUPPORTED_MEDIA_TYPE).body(Body::text(text));
    Some(response.expect("a response of constants is valid"))
}

/// "application/grpc", "application/grpc+proto"; not "application/grpc-web".
fn is_grpc(kind: &[u8]) -> bool {
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::{Edge, asked, takes_place, unknown};
    use http::{HeaderMap, HeaderValue};
    use std::future::Future;

    fn size_of_answer<A, B, C, F: Future>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn who_asks_of_a_ticket_without_a_place_is_not_asked_what_he_reads() {
        for method in ["Submit", "SubmitMany", "SubmitMap", "ReadMap", "Watch"] {
            assert!(takes_place(&format!("/turno.v1.Tickets/{method}")), "{method}");
        }
        for path in ["Show", "Redrive", "Edit"].map(|method| format!("/turno.v1.Tickets/{method}")) {
            assert!(!takes_place(&path), "{path}");
        }
        assert!(!takes_place("/google.longrunning.Operations/CancelOperation"));
    }

    #[test]
    fn what_is_not_understood_is_not_told_whole() {
        let long = "x".repeat(20_000);
        let timeout = HeaderValue::from_str(&long).unwrap();
        let wrong = asked(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), timeout)])).unwrap_err();
        assert!(wrong.message().starts_with("grpc-timeout: \"xxx"), "{wrong}");
        for error in [wrong, unknown(&long)] {
            assert!(error.message().len() < 1000, "{error}");
        }
    }

    #[test]
    fn the_future_of_a_call_is_small() {
        let size = size_of_answer(Edge::answer);
        assert!(size <= 3072, "{size} bytes are moved for each call");
    }
}
