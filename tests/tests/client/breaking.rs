//! A gateway of one's own, whose links break.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use turno_proto::mesh::v1::Outcome;
use turno_proto::v1::calls_server::{Calls, CallsServer};
use turno_proto::v1::{CallsFrame, OutcomesFrame};

struct Breaking(std::sync::Arc<AtomicU64>);

#[tonic::async_trait]
impl Calls for Breaking {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<OutcomesFrame, Status>> + Send>>;

    /// Every first call of two breaks its link, the other is answered with what was sent.
    async fn link(
        &self,
        request: Request<Streaming<CallsFrame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let calls = self.0.clone();
        let welcome = OutcomesFrame { max_body: 1000, ..OutcomesFrame::default() };
        let answers = request.into_inner().map(move |frame| {
            let mut outcomes = Vec::new();
            for call in frame?.calls {
                if calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    return Err(Status::unavailable("the link breaks"));
                }
                outcomes.push(Outcome { call: call.call, body: call.body, ..Outcome::default() });
            }
            Ok(OutcomesFrame { outcomes, ..OutcomesFrame::default() })
        });
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(welcome)).chain(answers))))
    }
}

pub(crate) async fn serve() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = CallsServer::new(Breaking(std::sync::Arc::default()));
    let server = tonic::transport::Server::builder().add_service(service);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    drop(tokio::spawn(server.serve_with_incoming(incoming)));
    address
}
