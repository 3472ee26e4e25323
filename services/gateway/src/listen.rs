//! A port: accepts connections, and ends in order. `connection` serves them.

mod connection;
mod lingering;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turno_runtime::{Error, task};

use crate::edge::Edge;
use crate::unread::Reader;

/// Where a request came from: one for each connection.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    /// It came by the nodes' port.
    pub(crate) is_node: bool,
    /// Who is to read the answers.
    pub(crate) reader: Arc<Reader>,
    /// A client's link on it was waited for at the gateway's end, in vain.
    pub(crate) left_alone: AtomicBool,
}

/// A port that is bound.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) is_node: bool,
    pub(crate) max_connections: usize,
}

/// Binds, and answers what is listened on.
pub(crate) async fn bind(
    address: SocketAddr,
    purpose: &'static str,
    flag: &'static str,
) -> Result<(TcpListener, SocketAddr), Error> {
    let listen = |source| Error::Listen { address, purpose, flag, source };
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
            let origin = Origin { peer, is_node, reader: edge.unread.reader(), left_alone: false.into() };
            let served = connection::serve(stream, edge.clone(), Arc::new(origin), ending.clone());
            let held = open.track_future(async move {
                served.await;
                drop(place);
            });
            task::spawn("gateway.connection", held);
        };
        let next = async || {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        while let Some((accepted, place)) = closing.run_until_cancelled(next()).await {
            match accepted {
                Ok((stream, peer)) => serve(stream, peer, Some(place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        for (stream, peer) in last_arrivals(listener) {
            // With or without a place: they are no more than the kernel keeps for a port.
            serve(stream, peer, None);
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
