//! `turno.v1.Tickets`.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use turno_proto::google::longrunning::Operation;
use turno_proto::google::rpc;
use turno_proto::v1::submit_response::Result as Submitted;
use turno_proto::v1::tickets_server::Tickets as Service;
use turno_proto::v1::{
    EditRequest, MapResponse, ReadMapRequest, RedriveRequest, ShowRequest, ShowResponse, SubmitMapRequest,
    SubmitRequest, SubmitResponse, WatchRequest,
};

use crate::listen::Origin;
use crate::tickets::Tickets;
use crate::tickets::envelope::Envelope;
use crate::tickets::operation::{failure_of, rpc_status, ticket_of};
use crate::tickets::submit::AtLast;

/// Answers clients of either port.
pub(crate) struct TicketsService {
    pub(crate) tickets: Tickets,
}

/// Of one stream of submits, on their way to the disk.
const MANY: usize = 1024;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Service for TicketsService {
    type SubmitManyStream = Answers<SubmitResponse>;
    type WatchStream = Answers<Operation>;
    type ReadMapStream = Answers<MapResponse>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Operation>, Status> {
        let (envelope, request) = opened(request)?;
        Ok(Response::new(self.tickets.submit(request, &envelope).await?))
    }

    async fn submit_many(
        &self,
        request: Request<Streaming<SubmitRequest>>,
    ) -> Result<Response<Self::SubmitManyStream>, Status> {
        let (envelope, requests) = opened(request)?;
        let (tickets, at_last) = (self.tickets.clone(), Arc::new(AtLast::new()));
        let submitting = requests.map(move |request| {
            let (tickets, envelope, at_last) = (tickets.clone(), envelope.clone(), at_last.clone());
            // As it comes: many may be read before the first of them is looked at.
            let let_in = request.map(|request| tickets.let_in(request));
            async move {
                // A stream that breaks ends with its error; what was read of it is on disk.
                let submitted = match let_in? {
                    Ok(let_in) => tickets.submit_this(let_in, &envelope, &at_last).await,
                    Err(refused) => Err(refused),
                };
                let result =
                    submitted.map_or_else(|error| Submitted::Error(as_rpc(&error)), Submitted::Operation);
                Ok(SubmitResponse { result: Some(result) })
            }
        });
        Ok(Response::new(Box::pin(submitting.buffered(MANY))))
    }

    async fn submit_map(
        &self,
        request: Request<Streaming<SubmitMapRequest>>,
    ) -> Result<Response<Operation>, Status> {
        let (envelope, requests) = opened(request)?;
        Ok(Response::new(self.tickets.submit_map(requests, &envelope).await?))
    }

    async fn read_map(
        &self,
        request: Request<ReadMapRequest>,
    ) -> Result<Response<Self::ReadMapStream>, Status> {
        let ReadMapRequest { name, from } = request.into_inner();
        Ok(Response::new(Box::pin(self.tickets.read_map(ticket_of(&name)?, from).await?)))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let ticket = ticket_of(&request.get_ref().name)?;
        Ok(Response::new(Box::pin(self.tickets.watch(ticket).await?)))
    }

    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        let ticket = ticket_of(&request.get_ref().name)?;
        Ok(Response::new(self.tickets.show(ticket).await?))
    }

    async fn redrive(&self, request: Request<RedriveRequest>) -> Result<Response<Operation>, Status> {
        let ticket = ticket_of(&request.get_ref().name)?;
        Ok(Response::new(self.tickets.redrive(ticket).await?))
    }

    async fn edit(&self, request: Request<EditRequest>) -> Result<Response<Operation>, Status> {
        let EditRequest { name, request, retries } = request.into_inner();
        Ok(Response::new(self.tickets.edit(ticket_of(&name)?, request, retries).await?))
    }
}

fn opened<T>(request: Request<T>) -> Result<(Envelope, T), Status> {
    let (metadata, extensions, request) = request.into_parts();
    let origin = extensions.get::<Arc<Origin>>().expect("the edge marks every request with its origin");
    Ok((Envelope::of(&metadata.into_headers(), origin)?, request))
}

fn as_rpc(error: &Status) -> rpc::Status {
    rpc_status(failure_of(error))
}
