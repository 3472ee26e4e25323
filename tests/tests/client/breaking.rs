//! A gateway of one's own, whose links break.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use turno_proto::mesh::v1::Outcome;
use turno_proto::v1::calls_server::{Calls, CallsServer};
use turno_proto::v1::{CallsFrame, OutcomesFrame};

/// What becomes of a call.
pub(crate) enum Fate {
    /// It is answered with what was sent.
    Answered,
    /// It is not answered.
    Held,
    /// It breaks its link, under those that are held too.
    Breaks,
}

struct Breaking {
    calls: Arc<AtomicU64>,
    fate: fn(u64) -> Fate,
}

#[tonic::async_trait]
impl Calls for Breaking {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<OutcomesFrame, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<CallsFrame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (calls, fate) = (self.calls.clone(), self.fate);
        let welcome = OutcomesFrame { max_body: 1000, ..OutcomesFrame::default() };
        let answers = request.into_inner().map(move |frame| {
            let mut outcomes = Vec::new();
            for call in frame?.calls {
                match fate(calls.fetch_add(1, Ordering::SeqCst)) {
                    Fate::Answered => {
                        outcomes.push(Outcome { call: call.call, body: call.body, ..Outcome::default() });
                    }
                    Fate::Held => {}
                    Fate::Breaks => return Err(Status::unavailable("the link breaks")),
                }
            }
            Ok(OutcomesFrame { outcomes, ..OutcomesFrame::default() })
        });
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(welcome)).chain(answers))))
    }
}

/// Calls are counted over all links, the first is number 0.
pub(crate) async fn serve(fate: fn(u64) -> Fate) -> SocketAddr {
    serve_some(fate, usize::MAX).await
}

/// It takes so many connections, and is then gone.
pub(crate) async fn serve_some(fate: fn(u64) -> Fate, connections: usize) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = CallsServer::new(Breaking { calls: Arc::default(), fate });
    let server = tonic::transport::Server::builder().add_service(service);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener).take(connections);
    drop(tokio::spawn(server.serve_with_incoming(incoming)));
    address
}
