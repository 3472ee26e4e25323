//! Waits for a ticket's end, and reads what it has ended with.

use std::time::{Duration, Instant};

use prost::Message;
use tonic::Status;
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::google::longrunning::{Operation, WaitOperationRequest};
use turno_proto::status;

use crate::calls::Mesh;
use crate::client::trouble::Trouble;
use crate::ticket::claim::{Claim, Sort};
use crate::ticket::desk::{is_gone, no_room};
use crate::ticket::rpcs;
use crate::ticket::snapshot::is_a;

/// One question lasts so long; then the next one takes its place.
const ONE_WAIT: Duration = Duration::from_secs(30);
/// A gateway that answers later than this has fallen silent.
const SILENCE: Duration = Duration::from_secs(10);
/// What a gateway calls a response whose type no node has told it.
const UNKNOWN: &str = "turno.v1.UnknownResponse";

impl Claim {
    /// Waits until it has ended, for as long as it takes; reads what it has ended with.
    pub(super) async fn response<T: Message + Default>(&self) -> crate::Result<T> {
        answer(self.sort, self.ended().await?)
    }

    async fn ended(&self) -> crate::Result<Operation> {
        let mut trouble = Trouble::new(self.patience);
        loop {
            let _place = self.desk.place().await;
            let mesh = self.desk.mesh_within(trouble.left()).await.map_err(|status| self.lost(status))?;
            let status = match self.wait_once(&mesh, &mut trouble).await {
                Ok(operation) if operation.done => return Ok(operation),
                // A gateway that is about to end lets no question stand.
                Ok(_) => Status::unavailable("the gateway is ending"),
                Err(status) => match no_room(status) {
                    status if is_gone(&status) => status,
                    status => return Err(status),
                },
            };
            trouble.pause(status).await.map_err(|status| self.lost(status))?;
        }
    }

    async fn wait_once(&self, mesh: &Mesh, trouble: &mut Trouble) -> crate::Result<Operation> {
        let asked = Instant::now();
        let timeout = ONE_WAIT.try_into().ok();
        let request = self.desk.request(WaitOperationRequest { name: self.name.clone(), timeout });
        let answered = tokio::time::timeout(ONE_WAIT + SILENCE, mesh.unary::<rpcs::Wait>(request)).await;
        if answered.is_ok() {
            trouble.over_if_it_stood(asked.elapsed());
        }
        trouble.heard(asked, answered)
    }
}

/// What a ticket has ended with.
fn answer<T: Message + Default>(sort: Sort, operation: Operation) -> crate::Result<T> {
    sort.checked(&operation)?;
    let name = operation.name;
    let any = match operation.result {
        Some(Ended::Response(any)) => any,
        Some(Ended::Error(error)) => return Err(status::from_rpc(error)),
        None => return Err(Status::internal(format!("{name} has ended with neither response nor error"))),
    };
    let wanted = sort.response;
    if !wanted.is_empty() && !is_a(&any, wanted) && !is_a(&any, UNKNOWN) {
        let answered = any.type_url;
        return Err(Status::failed_precondition(format!(
            "the response of {name} is a {answered}, not a {wanted}"
        )));
    }
    T::decode(any.value.as_slice())
        .map_err(|error| Status::internal(format!("the response of {name} cannot be read: {error}")))
}

#[cfg(test)]
mod tests;
