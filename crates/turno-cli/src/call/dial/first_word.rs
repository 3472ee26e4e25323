//! How who dials learns that somebody is there: a server of HTTP/2 says what it wants as soon as it has the client's first bytes,
//! before it is asked anything.

use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::io::InspectReader;
use tonic::codegen::{BoxFuture, Service};

/// Makes connections, and tells when the other end of the first one has said something.
pub(super) struct Connector {
    http: HttpConnector,
    tell: Option<oneshot::Sender<()>>,
}

/// A connection that says what comes on it.
type Line = InspectReader<TcpStream, Box<dyn FnMut(&[u8]) + Send>>;

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
        let mut tell = self.tell.take();
        let heard = move |bytes: &[u8]| {
            // At its end it says nothing, and whoever has waited long enough has left.
            let _heard = tell.take_if(|_| !bytes.is_empty()).map(|tell| tell.send(()));
        };
        let connecting = self.http.call(to);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Line::new(stream, Box::new(heard))))
        })
    }
}
