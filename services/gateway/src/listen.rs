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
/// Calls that a client may give up before they are even looked at, as callers do that share a connection and a deadline;
/// more end the connection (as a "rapid reset" attack). Each costs as much as one that is open, of which there may be ten
/// times as many.
const MOST_GIVEN_UP: usize = MOST_STREAMS as usize / 10;
/// As large as HTTP/2 has it: streams limit themselves, and one that is not read must not stop the others.
const CONNECTION_WINDOW: u32 = i32::MAX as u32;
const HEADERS: u32 = 64 * 1024;
/// A client that has connected when the port closes has so long to say something.
const FIRST_WORD_PATIENCE: Duration = Duration::from_millis(250);
/// A connection is asked to end when no call is on it, or after so long.
const QUIET_PATIENCE: Duration = Duration::from_secs(1);

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
    /// Accepts until `closing`; then every connection is asked to end, and `open` says when the last has. In this order: a
    /// client that is asked to end dials again at once, and must find nobody there rather than a port that is closing.
    pub(crate) async fn run(self, edge: Arc<Edge>, closing: CancellationToken, open: TaskTracker) {
        let Self { listener, is_node, max_connections } = self;
        let places = Arc::new(Semaphore::new(max_connections));
        let ending = CancellationToken::new();
        let serve = |stream, peer, place| {
            let connection = connection(stream, edge.clone(), Origin { peer, is_node }, ending.clone());
            let held = async move {
                connection.await;
                drop(place);
            };
            task::spawn("gateway.connection", open.track_future(held));
        };
        loop {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
                () = closing.cancelled() => break,
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = closing.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => serve(stream, peer, place),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        for (stream, peer) in last_arrivals(listener) {
            // Without a place: it ends at once in any case.
            if let Ok(place) = places.clone().try_acquire_owned() {
                serve(stream, peer, place);
            }
        }
        ending.cancel();
    }
}

/// Whoever has connected before the port closed, and may have sent a call already: a port that is just closed resets them.
fn last_arrivals(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let arrivals = std::iter::from_fn(|| listener.accept().ok());
    let served = arrivals.filter_map(|(stream, peer)| {
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer))
    });
    served.collect()
}

async fn connection(stream: TcpStream, edge: Arc<Edge>, origin: Origin, ending: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let closed = async {
        ending.cancelled().await;
        tokio::time::sleep(FIRST_WORD_PATIENCE).await;
    };
    tokio::select! {
        speaks = tokio::time::timeout(HEADER_PATIENCE, stream.readable()) => if speaks.is_err() {
            return tracing::debug!(peer = %origin.peer, "a connection on which nothing came");
        },
        () = closed => return,
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let edge = edge.clone();
        // hyper moves it several times before it is at home: a pointer is cheaper to move.
        Box::pin(async move { Ok::<_, Infallible>(edge.answer(request, origin).await) })
    });
    let exchanges = TaskTracker::new();
    let builder = builder(origin.is_node, Named { exchanges: exchanges.clone() });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = ending.cancelled() => None,
    };
    if ended.is_none() {
        ended = tokio::select! {
            biased;
            // Comes before the last answer is written: both leave together.
            () = quiet(&exchanges) => None,
            ended = connection.as_mut() => Some(ended),
        };
    }
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %origin.peer, %error, "connection ended");
    }
}

/// A good moment for GOAWAY. A client that has no call on the connection when it comes dials again before its next one;
/// but some clients, tonic's among them, notice only by failing the next call if others are still on their way.
async fn quiet(exchanges: &TaskTracker) {
    exchanges.close();
    // Too late to matter: it is asked to end all the same.
    let _busy = tokio::time::timeout(QUIET_PATIENCE, exchanges.wait()).await;
}

fn builder(is_node: bool, executor: Named) -> Builder<Named> {
    let mut builder = Builder::new(executor);
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
        .max_pending_accept_reset_streams(MOST_GIVEN_UP)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS);
    builder
}

/// hyper's tasks under a name: one for each call that is on a connection.
#[derive(Clone)]
struct Named {
    exchanges: TaskTracker,
}

impl<F> Executor<F> for Named
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, exchange: F) {
        task::spawn("gateway.exchange", self.exchanges.track_future(exchange));
    }
}
