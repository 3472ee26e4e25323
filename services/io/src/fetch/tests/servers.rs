//! Servers on loopback that live as long as their test's runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
}

impl Server {
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(super) async fn serve(router: Router) -> Server {
    let (listener, address) = listen().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let listener = listener.tap_io(move |_| _ = counter.fetch_add(1, Ordering::SeqCst));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { address, connections }
}

/// Reads each connection's request head, then leaves it to `answer`.
pub(super) async fn serve_raw<F, Fut>(answer: F) -> Server
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listen().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            read_head(&mut stream).await;
            tokio::spawn(answer(stream));
        }
    });
    Server { address, connections }
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}

/// Says the same to everyone and hangs up.
pub(super) async fn serve_bytes(bytes: &'static [u8]) -> Server {
    serve_raw(move |mut stream| async move {
        _ = stream.write_all(bytes).await;
        _ = stream.shutdown().await;
    })
    .await
}

/// An address where nobody listens.
pub(super) async fn nobody() -> SocketAddr {
    listen().await.1
}
