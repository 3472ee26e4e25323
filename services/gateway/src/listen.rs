//! A port: accepts connections, speaks HTTP/2 (and enough HTTP/1 to say that this is gRPC), and ends in order.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turno_runtime::{Error, task};

use crate::edge::Edge;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    /// It came by the nodes' port.
    pub(crate) is_node: bool,
}

/// A port that is bound.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) is_node: bool,
    pub(crate) max_connections: usize,
}

// Together less than the 3 s in which a black-holed peer is to be noticed.
const NODE_PING_EVERY: Duration = Duration::from_secs(1);
const NODE_PING_PATIENCE: Duration = Duration::from_millis(1500);
const CLIENT_PING_EVERY: Duration = Duration::from_secs(20);
const CLIENT_PING_PATIENCE: Duration = Duration::from_secs(10);
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
const MOST_STREAMS: u32 = 10_000;
const STREAM_WINDOW: u32 = 1 << 20;
/// As large as HTTP/2 has it: streams limit themselves, and one that is not read must not stop the others.
const CONNECTION_WINDOW: u32 = i32::MAX as u32;
const HEADERS: u32 = 64 * 1024;

/// Binds, and answers what is listened on.
pub(crate) async fn bind(
    address: SocketAddr,
    purpose: &'static str,
) -> Result<(TcpListener, SocketAddr), Error> {
    let listen = |source| Error::Listen { address, purpose, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    Ok((listener, bound))
}

impl Port {
    /// Accepts until `closing`; then every connection is asked to end, and `open` says when the last has.
    pub(crate) async fn run(self, edge: Arc<Edge>, closing: CancellationToken, open: TaskTracker) {
        let places = Arc::new(Semaphore::new(self.max_connections));
        loop {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
                () = closing.cancelled() => return,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = closing.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let origin = Origin { peer, is_node: self.is_node };
                    let connection = connection(stream, edge.clone(), origin, closing.clone());
                    task::spawn(
                        "gateway.connection",
                        open.track_future(async move {
                            connection.await;
                            drop(place);
                        }),
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, edge: Arc<Edge>, origin: Origin, closing: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    tokio::select! {
        speaks = tokio::time::timeout(HEADER_PATIENCE, stream.readable()) => if speaks.is_err() {
            return tracing::debug!(peer = %origin.peer, "a connection on which nothing came");
        },
        () = closing.cancelled() => return,
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let edge = edge.clone();
        // hyper moves it several times before it is at home: a pointer is cheaper to move.
        Box::pin(async move { Ok::<_, Infallible>(edge.answer(request, origin).await) })
    });
    let builder = builder(origin.is_node);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %origin.peer, %error, "connection ended");
    }
}

fn builder(is_node: bool) -> Builder<Named> {
    let mut builder = Builder::new(Named);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    let (every, patience) = if is_node {
        (NODE_PING_EVERY, NODE_PING_PATIENCE)
    } else {
        (CLIENT_PING_EVERY, CLIENT_PING_PATIENCE)
    };
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(every)
        .keep_alive_timeout(patience)
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS);
    builder
}

/// hyper's tasks under a name.
#[derive(Clone, Copy)]
struct Named;

impl<F> Executor<F> for Named
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, exchange: F) {
        task::spawn("gateway.exchange", exchange);
    }
}
