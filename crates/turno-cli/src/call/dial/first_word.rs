//! How who dials learns that somebody is there: a server of HTTP/2 says what it wants as soon as it has the client's first bytes,
//! before it is asked anything.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::codegen::{BoxFuture, Service};

/// Makes connections, and tells when the other end of the first one has said something.
pub(super) struct Connector {
    http: HttpConnector,
    tell: Option<oneshot::Sender<()>>,
}

impl Connector {
    /// Of several addresses that a name has, each has its share of `patience`.
    pub(super) fn new(patience: Duration) -> (Self, oneshot::Receiver<()>) {
        let (tell, first_word) = oneshot::channel();
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(patience));
        (Self { http, tell: Some(tell) }, first_word)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Line>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let tell = self.tell.take();
        let connecting = self.http.call(to);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Line { stream, tell }))
        })
    }
}

/// A connection, and who waits for its first word.
pub(super) struct Line {
    stream: TcpStream,
    tell: Option<oneshot::Sender<()>>,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before
            && let Some(tell) = self.tell.take()
        {
            // Whoever has waited long enough has left.
            let _heard = tell.send(());
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
