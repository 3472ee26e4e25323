//! The same verbs for clients that are linked (`turno.v1.Calls`), without a stream of HTTP/2 for each.

use std::time::Instant;

use bytes::Bytes;
use prost::Message;
use tonic::{Request, Response, Status};
use turno_proto::google::longrunning::WaitOperationRequest;
use turno_proto::google::longrunning::operations_server::Operations as _;
use turno_proto::mesh::v1::Outcome;
use turno_proto::v1::tickets_server::Tickets as _;

use crate::tickets::envelope::Envelope;
use crate::tickets::{OperationsService, Tickets, TicketsService};

const OPERATIONS: &str = "/google.longrunning.Operations/";
const TICKETS: &str = "/turno.v1.Tickets/";

/// Whether [`Tickets::linked`] may answer it.
pub(crate) fn is_linked(path: &str) -> bool {
    path.starts_with(OPERATIONS) || path.starts_with(TICKETS)
}

impl Tickets {
    /// Answers a call of a unary method of either service, which ends at its deadline.
    pub(crate) async fn linked(
        &self,
        path: &str,
        envelope: Envelope,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Outcome, Status> {
        let tickets = TicketsService { tickets: self.clone() };
        let answered = match path.strip_prefix(TICKETS) {
            Some("Submit") => {
                self.submit(decoded(body)?, &envelope).await.map(|operation| encoded(&operation))
            }
            Some("Show") => answered(body, |request| tickets.show(request)).await,
            Some("Redrive") => answered(body, |request| tickets.redrive(request)).await,
            Some("Edit") => answered(body, |request| tickets.edit(request)).await,
            _ => self.linked_operation(path, body, deadline).await,
        };
        answered.map(|body| Outcome { body, ..Outcome::default() })
    }

    async fn linked_operation(&self, path: &str, body: Bytes, deadline: Instant) -> Result<Bytes, Status> {
        let operations = OperationsService { tickets: self.clone() };
        match path.strip_prefix(OPERATIONS) {
            Some("GetOperation") => answered(body, |asked| operations.get_operation(asked)).await,
            Some("ListOperations") => answered(body, |asked| operations.list_operations(asked)).await,
            Some("WaitOperation") => {
                answered(body, |mut asked: Request<WaitOperationRequest>| {
                    // As it stands in a call by plain gRPC.
                    asked.set_timeout(deadline.saturating_duration_since(Instant::now()));
                    operations.wait_operation(asked)
                })
                .await
            }
            Some("CancelOperation") => answered(body, |asked| operations.cancel_operation(asked)).await,
            Some("DeleteOperation") => answered(body, |asked| operations.delete_operation(asked)).await,
            _ => {
                let name = path.trim_start_matches('/');
                Err(Status::unimplemented(format!("{name} is a stream, or no method: call it by plain gRPC")))
            }
        }
    }
}

async fn answered<Q, A, F>(body: Bytes, answer: impl FnOnce(Request<Q>) -> F) -> Result<Bytes, Status>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<Response<A>, Status>>,
{
    Ok(encoded(answer(Request::new(decoded(body)?)).await?.get_ref()))
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn decoded<Q: Message + Default>(body: Bytes) -> Result<Q, Status> {
    Q::decode(body).map_err(|error| Status::invalid_argument(format!("the request cannot be read: {error}")))
}
