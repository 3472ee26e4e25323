//! What who holds a ticket has of it: its name, the way to a gateway that knows it, and what it has to be a ticket of. The
//! ticket of a call and that of a map are claims; what they answer is theirs.

use std::time::Duration;

use tonic::Status;
use turno_proto::google::longrunning::{CancelOperationRequest, GetOperationRequest, Operation};
use turno_proto::v1::TicketMetadata;
use turno_runtime::units::Rounded;

use crate::rpc::Unary;
use crate::ticket::desk::{Desk, is_gone, no_room};
use crate::ticket::rpcs;
use crate::ticket::snapshot::{Snapshot, metadata};

/// A gateway that is started anew is back by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// A question that has no answer by then is asked again, and maybe of another gateway. What answers one may be 64 MiB large.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);
const COLLECTION: &str = "operations/";

/// A ticket, whatever it is one of.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) name: String,
    pub(super) desk: Desk,
    pub(super) patience: Duration,
    /// How long a gateway may say nothing to a question.
    pub(super) longest_answer: Duration,
    pub(super) sort: Sort,
}

/// What a ticket has to be one of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sort {
    pub(super) method: &'static str,
    /// The full name of the message that it ends with; empty when it is not known.
    pub(super) response: &'static str,
    is_map: bool,
}

impl Sort {
    /// One call.
    pub(super) fn call<R: Unary>() -> Self {
        Self { method: R::NAME, response: R::RESPONSE, is_map: false }
    }

    /// A map.
    pub(super) fn map<R: Unary>() -> Self {
        Self { method: R::NAME, response: "turno.v1.MapSummary", is_map: true }
    }

    /// What is said of a ticket of this sort, and no other.
    pub(super) fn checked(self, operation: &Operation) -> crate::Result<TicketMetadata> {
        let metadata = metadata(operation)?;
        let (name, method) = (&operation.name, &metadata.method);
        if *method != self.method {
            let wanted = self.method;
            return Err(Status::failed_precondition(format!(
                "{name} is a ticket of {method}, not of {wanted}"
            )));
        }
        match (metadata.map_items, self.is_map) {
            (Some(_), false) => Err(Status::failed_precondition(format!(
                "{name} is the ticket of a map over {method}, not of one call: `map_ticket` picks it up"
            ))),
            (None, true) => Err(Status::failed_precondition(format!(
                "{name} is the ticket of one call of {method}, not of a map: `ticket` picks it up"
            ))),
            _ => Ok(metadata),
        }
    }
}

impl Claim {
    /// `name` may lack its first part.
    pub(super) fn new(sort: Sort, desk: Desk, name: String) -> Self {
        let name = if name.contains('/') { name } else { format!("{COLLECTION}{name}") };
        Self { name, desk, patience: PATIENCE, longest_answer: LONGEST_ANSWER, sort }
    }

    pub(super) fn id(&self) -> &str {
        self.name.strip_prefix(COLLECTION).unwrap_or(&self.name)
    }

    pub(super) async fn cancel(&self) -> crate::Result<()> {
        self.ask::<rpcs::Cancel>(CancelOperationRequest { name: self.name.clone() }).await
    }

    pub(super) async fn snapshot(&self) -> crate::Result<Snapshot> {
        let operation = self.ask::<rpcs::Get>(GetOperationRequest { name: self.name.clone() }).await?;
        Snapshot::of(self.name.clone(), self.sort.checked(&operation)?)
    }

    async fn ask<Q: Unary>(&self, question: Q::Request) -> crate::Result<Q::Response>
    where
        Q::Request: Clone,
    {
        let answered = self.desk.ask::<Q>(question, self.patience, self.longest_answer, no_room).await;
        answered.map_err(|status| self.lost(status))
    }

    /// Patience is at its end.
    pub(super) fn lost(&self, status: Status) -> Status {
        lost(status, &self.name, self.patience)
    }
}

/// What the last gateway said when patience is at its end. Other errors are answers, and stay what they are.
fn lost(status: Status, name: &str, patience: Duration) -> Status {
    if !is_gone(&status) {
        return status;
    }
    Status::unavailable(format!(
        "no gateway has answered for {name} in {}: {}; the ticket goes on, and can be picked up again by its name",
        Rounded(patience),
        status.message()
    ))
}

#[cfg(test)]
mod tests {
    use super::{Duration, Operation, Sort, Status, TicketMetadata, lost};
    use crate::cpu::v1::images;
    use prost::Message as _;
    use tonic::Code;

    #[test]
    fn only_silence_is_told_as_silence() {
        let minute = Duration::from_secs(60);
        let error = lost(Status::unavailable("refused"), "operations/7", minute);
        let said = "no gateway has answered for operations/7 in 60 s: refused; the ticket goes on,";
        assert!(error.message().starts_with(said), "{error}");
        assert_eq!(lost(Status::not_found("forgotten"), "operations/7", minute).message(), "forgotten");
    }

    fn refused(sort: Sort, map_items: Option<u64>) -> Option<String> {
        let method = "turno.cpu.v1.Images/Info".to_owned();
        let said = TicketMetadata { method, map_items, ..TicketMetadata::default() };
        let type_url = "type.googleapis.com/turno.v1.TicketMetadata".to_owned();
        let metadata = Some(prost_types::Any { type_url, value: said.encode_to_vec() });
        let operation = Operation { name: "operations/7".into(), metadata, ..Operation::default() };
        let error = sort.checked(&operation).err()?;
        assert_eq!(error.code(), Code::FailedPrecondition);
        Some(error.message().to_owned())
    }

    #[test]
    fn a_ticket_of_another_sort_is_refused() {
        assert_eq!(refused(Sort::call::<images::Info>(), None), None);
        assert_eq!(refused(Sort::map::<images::Info>(), Some(0)), None);
        let said = refused(Sort::map::<images::Resize>(), Some(3)).unwrap();
        assert_eq!(
            said,
            "operations/7 is a ticket of turno.cpu.v1.Images/Info, not of turno.cpu.v1.Images/Resize"
        );
        assert!(refused(Sort::call::<images::Info>(), Some(3)).unwrap().contains("`map_ticket`"));
        assert!(refused(Sort::map::<images::Info>(), None).unwrap().contains("`ticket`"));
    }
}
