//! Servers for tests: of single methods, each of which answers as a test says, or of whole services.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::vec;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use prost::Message;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Serves on a port of its own.
#[allow(clippy::disallowed_methods, reason = "a test's server needs no name")]
pub(crate) async fn serve(routes: impl Into<Routes>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_routes(routes.into());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// The method at `path` ("/package.Service/Method"), which answers one message.
pub(crate) fn unary<Q, A>(
    path: &str,
    answer: impl Fn(Q) -> Result<A, Status> + Clone + Send + Sync + 'static,
) -> Router
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    let answer = Answer(answer);
    let call = move |request: http::Request<Body>| async move {
        Grpc::new(ProstCodec::<A, Q>::default()).unary(answer, request).await
    };
    Router::new().route(path, post(call))
}

/// The same, of one that answers a stream.
pub(crate) fn streaming<Q, A>(
    path: &str,
    answers: impl Fn(Q) -> Vec<Result<A, Status>> + Clone + Send + Sync + 'static,
) -> Router
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    let answers = Answer(answers);
    let call = move |request: http::Request<Body>| async move {
        Grpc::new(ProstCodec::<A, Q>::default()).server_streaming(answers, request).await
    };
    Router::new().route(path, post(call))
}

#[derive(Clone)]
struct Answer<F>(F);

impl<Q, A, F: Fn(Q) -> Result<A, Status>> UnaryService<Q> for Answer<F> {
    type Response = A;
    type Future = Ready<Result<Response<A>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(Response::new))
    }
}

impl<Q, A, F: Fn(Q) -> Vec<Result<A, Status>>> ServerStreamingService<Q> for Answer<F> {
    type Response = A;
    type ResponseStream = tokio_stream::Iter<vec::IntoIter<Result<A, Status>>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready(Ok(Response::new(tokio_stream::iter((self.0)(request.into_inner())))))
    }
}
