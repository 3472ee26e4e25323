//! Nodes that were lost with attempts of a ticket. The record of such an attempt says so, and of which ticket it is, so that
//! whichever gateway runs the next one can count them, however much later. What a gateway that was killed had under way has
//! no such record: nobody knows whether its node lived. Pure.
//!
//! Why it names the ticket: a method's error may pass on what came of another ticket, details and all.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use turno_store::{AttemptRecord, Failure, TicketId};

use crate::tickets::operation::{failure_of, name_of};

/// The reason of a `google.rpc.ErrorInfo`.
const NODE_LOST: &str = "NODE_LOST";
const DOMAIN: &str = "turno";
/// In its metadata.
const TICKET: &str = "ticket";

/// What the attempt is recorded with whose node was lost.
pub(crate) fn marked(lost: &Status, ticket: TicketId) -> Failure {
    let metadata = HashMap::from([(TICKET.to_owned(), name_of(ticket))]);
    let details = ErrorDetails::with_error_info(NODE_LOST, DOMAIN, metadata);
    failure_of(&Status::with_error_details(lost.code(), lost.message(), details))
}

/// How many of these attempts of the ticket have such a record.
pub(crate) fn count(ticket: TicketId, attempts: &[AttemptRecord]) -> u32 {
    let name = name_of(ticket);
    let lost = attempts.iter().filter(|attempt| is_marked(&attempt.failure, &name)).count();
    u32::try_from(lost).unwrap_or(u32::MAX)
}

fn is_marked(failure: &Failure, name: &str) -> bool {
    let status = Status::with_details(Code::from_i32(failure.code), "", failure.details.clone());
    status.get_details_error_info().is_some_and(|info| {
        info.reason == NODE_LOST
            && info.domain == DOMAIN
            && info.metadata.get(TICKET).is_some_and(|ticket| ticket == name)
    })
}

#[cfg(test)]
mod tests {
    use tonic::Status;
    use turno_store::{AttemptRecord, Failure, TicketId, Timestamp};

    use super::{count, marked};
    use crate::tickets::operation::failure_of;

    fn lost() -> Status {
        Status::unavailable("node n was lost while kitchen.v1.Kitchen/Risk was there: it may have run")
    }

    fn records(failures: impl IntoIterator<Item = Failure>) -> Vec<AttemptRecord> {
        let record = |(number, failure)| {
            let (began_at, ended_at) = (Timestamp(5), Timestamp(6));
            AttemptRecord { number, began_at, ended_at, failure }
        };
        (1..).zip(failures).map(record).collect()
    }

    #[test]
    fn what_is_recorded_says_the_same_to_people_and_more_to_programs() {
        let failure = marked(&lost(), TicketId::new());
        assert_eq!((failure.code, failure.message.as_str()), (lost().code() as i32, lost().message()));
        assert!(!failure.details.is_empty());
    }

    #[test]
    fn attempts_whose_node_was_lost_are_told_from_all_others() {
        let (ticket, other) = (TicketId::new(), TicketId::new());
        // The same words, and no mark: of a node that was leaving, of a gateway that was lost, of a method.
        let unmarked = failure_of(&lost());
        let odd = Failure { details: "no status".into(), ..failure_of(&lost()) };
        let passed_on = marked(&lost(), other);
        let own = || marked(&lost(), ticket);
        assert_eq!(count(ticket, &records([unmarked.clone(), odd, passed_on])), 0);
        assert_eq!(count(ticket, &records([own(), unmarked.clone()])), 1);
        assert_eq!(count(ticket, &records([own(), unmarked, own()])), 2);
        assert_eq!(count(ticket, &[]), 0);
    }
}
