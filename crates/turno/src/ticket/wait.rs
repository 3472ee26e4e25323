//! Waits for a ticket's end, and reads what it has ended with.

use std::time::{Duration, Instant};

use prost::Message as _;
use tonic::Status;
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::google::longrunning::{Operation, WaitOperationRequest};
use turno_proto::status;
use turno_proto::v1::TicketMetadata;

use crate::calls::Mesh;
use crate::rpc::Unary;
use crate::ticket::desk::{Trouble, is_gone};
use crate::ticket::snapshot::{is_a, metadata};
use crate::ticket::{Answer, Ticket, rpcs};

/// One question lasts so long; then the next one takes its place.
const ONE_WAIT: Duration = Duration::from_secs(30);
/// A gateway that answers later than this has fallen silent.
const SILENCE: Duration = Duration::from_secs(10);
/// What a gateway calls a response whose type no node has told it.
const UNKNOWN: &str = "turno.v1.UnknownResponse";

impl<R: Unary> Ticket<R> {
    /// Waits until the method has answered, for as long as it takes.
    ///
    /// # Errors
    /// The method's own, with its code, message and details, if that is how the ticket has ended: `failed`, or `dead` when
    /// every attempt has failed. `CANCELLED`: somebody has cancelled it. `NOT_FOUND`: there is no such ticket, or it is
    /// forgotten. `FAILED_PRECONDITION`: it is one of another method. `UNAVAILABLE`: no gateway for as long as the
    /// [patience](Ticket::patience) lasts; the ticket goes on.
    pub async fn response(&self) -> crate::Result<R::Response> {
        answer::<R>(self.ended().await?)
    }

    async fn ended(&self) -> crate::Result<Operation> {
        let mut trouble = Trouble::new(self.patience);
        loop {
            let _place = self.desk.place().await;
            let mesh = self.desk.mesh_within(self.patience).await.map_err(|status| self.lost(status))?;
            let status = match self.wait_once(&mesh, &mut trouble).await {
                Ok(operation) if operation.done => return Ok(operation),
                // A gateway that is about to end lets no question stand.
                Ok(_) => Status::unavailable("the gateway is ending"),
                Err(status) if is_gone(&status) => status,
                Err(status) => return Err(status),
            };
            trouble.pause(status).await.map_err(|status| self.lost(status))?;
        }
    }

    async fn wait_once(&self, mesh: &Mesh, trouble: &mut Trouble) -> crate::Result<Operation> {
        let asked = Instant::now();
        let timeout = ONE_WAIT.try_into().ok();
        let request = self.desk.request(WaitOperationRequest { name: self.name.clone(), timeout });
        let answered = tokio::time::timeout(ONE_WAIT + SILENCE, mesh.unary::<rpcs::Wait>(request)).await;
        trouble.over_if_it_stood(asked.elapsed());
        answered.unwrap_or_else(|_| Err(Status::unavailable("the gateway has fallen silent")))
    }
}

impl<R> Ticket<R> {
    /// Patience is at its end.
    pub(super) fn lost(&self, status: Status) -> Status {
        lost(status, &self.name, self.patience)
    }
}

/// What a ticket has ended with.
fn answer<R: Unary>(operation: Operation) -> crate::Result<R::Response> {
    checked::<R>(&operation)?;
    let name = operation.name;
    let any = match operation.result {
        Some(Ended::Response(any)) => any,
        Some(Ended::Error(error)) => return Err(status::from_rpc(error)),
        None => return Err(Status::internal(format!("{name} has ended with neither response nor error"))),
    };
    if !R::RESPONSE.is_empty() && !is_a(&any, R::RESPONSE) && !is_a(&any, UNKNOWN) {
        let (answered, wanted) = (any.type_url, R::RESPONSE);
        return Err(Status::failed_precondition(format!(
            "the response of {name} is a {answered}, not a {wanted}"
        )));
    }
    R::Response::decode(any.value.as_slice())
        .map_err(|error| Status::internal(format!("the response of {name} cannot be read: {error}")))
}

/// What is said of a ticket of this method, and no other.
pub(super) fn checked<R: Unary>(operation: &Operation) -> crate::Result<TicketMetadata> {
    let metadata = metadata(operation)?;
    if metadata.method == R::NAME {
        return Ok(metadata);
    }
    let (name, method) = (&operation.name, metadata.method);
    Err(Status::failed_precondition(format!("{name} is a ticket of {method}, not of {}", R::NAME)))
}

/// What the last gateway said when patience is at its end. Other errors are answers, and stay what they are.
pub(super) fn lost(status: Status, name: &str, patience: Duration) -> Status {
    if !is_gone(&status) {
        return status;
    }
    Status::unavailable(format!(
        "no gateway has answered for {name} in {patience:?}: {}; the ticket goes on, and can be picked up again by its name",
        status.message()
    ))
}

impl<R: Unary> IntoFuture for Ticket<R> {
    type Output = crate::Result<R::Response>;
    type IntoFuture = Answer<R::Response>;

    /// As [`Ticket::response`].
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.response().await })
    }
}

#[cfg(test)]
mod tests;
