//! Nodes that were lost with attempts of a ticket. The record of such an attempt says so, of which ticket it is, and which
//! node it was, so that whichever gateway runs the next one can count them, however much later. What a gateway that was killed
//! had under way has no such record: nobody knows whether its node lived. Pure.
//!
//! Why it names the ticket: a method's error may pass on what came of another ticket, details and all. What names its own it
//! has from its own record, and that is left out.
//!
//! A method that has answered, be it with an error, acquits its ticket of what was before, as it does in the quarantine. So what
//! ends an attempt without an answer says so too, or it would look like one.
//!
//! Why it names the node: a link may break and its node live. That shows when it comes again, which may be later than the
//! record, and at another gateway; and a node whose link breaks twice is one.

use std::collections::{BTreeSet, HashMap};

use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, ErrorInfo, StatusExt as _, pb};
use turno_proto::google::rpc;
use turno_proto::status::DOMAIN;
use turno_store::{AttemptRecord, Failure, TicketId};

use crate::tickets::operation::{failure_of, name_of};

/// The reason of a `google.rpc.ErrorInfo`.
const NODE_LOST: &str = "NODE_LOST";
/// The same of what may have run, where no node died of it.
const NOT_ANSWERED: &str = "NOT_ANSWERED";
/// In its metadata.
const TICKET: &str = "ticket";
const NODE: &str = "node";

/// What the attempt is recorded with whose node was lost.
pub(crate) fn marked(lost: Failure, ticket: TicketId, node: &str) -> Failure {
    with_info(lost, NODE_LOST, [(TICKET, name_of(ticket)), (NODE, node.to_owned())])
}

/// What it is recorded with if it is not known to have ended, and its node did not die.
pub(crate) fn unanswered(lost: Failure, ticket: TicketId) -> Failure {
    with_info(lost, NOT_ANSWERED, [(TICKET, name_of(ticket))])
}

/// The error of a method, as it is, but for what only the gateway says of the ticket.
pub(crate) fn of_method(error: Failure, ticket: TicketId) -> Failure {
    let (name, Ok(mut rich)) = (name_of(ticket), rpc::Status::decode(error.details.clone())) else {
        return error;
    };
    let before = rich.details.len();
    rich.details.retain(|detail| !is_said_of(&name, detail));
    if rich.details.len() == before {
        return error;
    }
    Failure { details: rich.encode_to_vec().into(), ..error }
}

fn is_said_of(name: &str, detail: &Any) -> bool {
    detail.type_url == ErrorInfo::TYPE_URL
        && pb::ErrorInfo::decode(&detail.value[..])
            .is_ok_and(|info| is_own(&info.domain, &info.metadata, name))
}

fn is_own(domain: &str, metadata: &HashMap<String, String>, name: &str) -> bool {
    domain == DOMAIN && metadata.get(TICKET).is_some_and(|ticket| ticket == name)
}

fn with_info<const N: usize>(lost: Failure, reason: &str, metadata: [(&str, String); N]) -> Failure {
    let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    failure_of(&Status::with_error_details(Code::from_i32(lost.code), lost.message, details))
}

/// The nodes that were lost with a ticket since a method has answered it.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    nodes: BTreeSet<String>,
    /// Of which nobody knows more: each is one.
    nameless: u32,
}

impl Losses {
    /// By the records of its attempts, the first one first.
    pub(crate) fn of(ticket: TicketId, attempts: &[AttemptRecord]) -> Self {
        let (name, mut losses) = (name_of(ticket), Self::default());
        for attempt in attempts.iter().rev() {
            match end_of(&attempt.failure, &name) {
                End::Lost(node) if node.is_empty() => losses.nameless = losses.nameless.saturating_add(1),
                End::Lost(node) => {
                    losses.nodes.insert(node);
                }
                End::Unknown => {}
                End::Answered => break,
            }
        }
        losses
    }

    /// How many there are beside this one, but for those that live.
    pub(crate) fn others(&self, node: &str, lives: impl Fn(&str) -> bool) -> u32 {
        let others = self.nodes.iter().filter(|other| *other != node && !lives(other)).count();
        u32::try_from(others).unwrap_or(u32::MAX).saturating_add(self.nameless)
    }
}

/// What has ended an attempt.
enum End {
    /// This node was lost.
    Lost(String),
    /// Nobody knows.
    Unknown,
    Answered,
}

fn end_of(failure: &Failure, name: &str) -> End {
    let status = Status::with_details(Code::from_i32(failure.code), "", failure.details.clone());
    let info = status.get_details_error_info();
    match info.filter(|info| is_own(&info.domain, &info.metadata, name)) {
        Some(mut info) if info.reason == NODE_LOST => {
            End::Lost(info.metadata.remove(NODE).unwrap_or_default())
        }
        Some(_) => End::Unknown,
        None if failure.is_the_stores() => End::Unknown,
        None => End::Answered,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};
    use turno_proto::google::rpc;
    use turno_store::{AttemptRecord, Failure, TicketId, Timestamp};

    use super::{Losses, marked, of_method, unanswered};
    use crate::tickets::operation::failure_of;

    fn lost() -> Failure {
        let message = "node n was lost while kitchen.v1.Kitchen/Risk was there: it may have run".to_owned();
        Failure { code: 14, message, ..Failure::default() }
    }

    fn records(failures: impl IntoIterator<Item = Failure>) -> Vec<AttemptRecord> {
        let record = |(number, failure)| {
            let (began_at, ended_at) = (Timestamp(5), Timestamp(6));
            AttemptRecord { number, began_at, ended_at, failure }
        };
        (1..).zip(failures).map(record).collect()
    }

    /// Beside node "z", where these live.
    fn others(ticket: TicketId, failures: impl IntoIterator<Item = Failure>, living: &[&str]) -> u32 {
        Losses::of(ticket, &records(failures)).others("z", |node| living.contains(&node))
    }

    #[test]
    fn what_is_recorded_says_the_same_to_people_and_more_to_programs() {
        let failure = marked(lost(), TicketId::new(), "a");
        assert_eq!((failure.code, &failure.message), (lost().code, &lost().message));
        assert!(!failure.details.is_empty());
    }

    #[test]
    fn attempts_whose_node_was_lost_are_told_from_all_others() {
        let (ticket, other) = (TicketId::new(), TicketId::new());
        // The same words, and no mark: of a method.
        let odd = Failure { details: "no status".into(), ..lost() };
        let passed_on = marked(lost(), other, "a");
        let own = |node| marked(lost(), ticket, node);
        assert_eq!(others(ticket, [lost(), odd, passed_on], &[]), 0);
        assert_eq!(others(ticket, [lost(), own("a")], &[]), 1);
        assert_eq!(others(ticket, [own("a"), own("b")], &[]), 2);
        assert_eq!(others(ticket, [], &[]), 0);
    }

    #[test]
    fn a_method_that_has_answered_acquits_of_what_was_before_and_nothing_else_does() {
        let ticket = TicketId::new();
        let own = |node| marked(lost(), ticket, node);
        let answered = || Failure { code: 14, message: "the oven is cold".into(), ..Failure::default() };
        assert_eq!(others(ticket, [own("a"), answered()], &[]), 0);
        assert_eq!(others(ticket, [own("a"), answered(), own("b"), own("c")], &[]), 2);
        // Of a node that was leaving, or did not keep a timeout; of a gateway that was lost.
        let of_another = marked(lost(), TicketId::new(), "a");
        let gateway = "the gateway that ran it has ended, or its lease has".to_owned();
        let gateway = Failure { message: gateway, ..lost() };
        assert_eq!(others(ticket, [own("a"), unanswered(lost(), ticket), own("b")], &[]), 2);
        assert_eq!(others(ticket, [own("a"), gateway, own("b")], &[]), 2);
        assert_eq!(others(ticket, [own("a"), of_another, own("b")], &[]), 1, "which a method has passed on");
    }

    #[test]
    fn a_method_does_not_speak_for_the_gateway_of_its_own_ticket() {
        let ticket = TicketId::new();
        let passed_on = marked(lost(), ticket, "a");
        let error = of_method(passed_on.clone(), ticket);
        assert_eq!((error.code, &error.message), (lost().code, &lost().message));
        assert_eq!(others(ticket, [error], &[]), 0);
        // All else of it is untouched, be it beside that.
        let mut details =
            ErrorDetails::with_error_info("COLD", "kitchen", [("oven".to_owned(), "2".to_owned())]);
        details.set_localized_message("de", "kalt");
        let own = failure_of(&Status::with_error_details(Code::Unavailable, "cold", details));
        assert_eq!(of_method(own.clone(), ticket), own);
        assert_eq!(of_method(passed_on.clone(), TicketId::new()), passed_on);
        let odd = Failure { details: "no status".into(), ..lost() };
        assert_eq!(of_method(odd.clone(), ticket), odd);
        let details_of = |failure: &Failure| rpc::Status::decode(failure.details.clone()).unwrap();
        let mut both = details_of(&own);
        both.details.insert(0, details_of(&passed_on).details.remove(0));
        let both = Failure { details: both.encode_to_vec().into(), ..own.clone() };
        assert_eq!(of_method(both, ticket), own);
    }

    #[test]
    fn a_node_is_one_however_often_its_link_breaks_and_none_while_it_lives() {
        let ticket = TicketId::new();
        let own = |node| marked(lost(), ticket, node);
        assert_eq!(others(ticket, [own("a"), own("a")], &[]), 1);
        assert_eq!(others(ticket, [own("a"), own("z"), own("z")], &[]), 1);
        assert_eq!(others(ticket, [own("a"), own("b"), own("c")], &["c", "a"]), 1);
        assert_eq!(others(ticket, [own(""), own("")], &[""]), 2, "of these nobody knows");
    }
}
