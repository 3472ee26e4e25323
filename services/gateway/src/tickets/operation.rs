//! A ticket in the words of `google.longrunning`.

use bytes::Bytes;
use prost::{Message as _, Name as _};
use prost_types::{Any, Timestamp};
use tonic::{Code, Status};
use turno_proto::google::longrunning::Operation;
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::google::rpc;
use turno_proto::mesh::v1::Progress;
use turno_proto::v1::{TicketMetadata, TicketProgress, TicketState};
use turno_store::{Failure, State, Ticket, TicketId};

use crate::quote::beginning;

const COLLECTION: &str = "operations/";
/// Taken as well, for people who type it.
const TICKETS: &str = "tickets/";
pub(super) const TYPES: &str = "type.googleapis.com/";
/// The type of a response whose description no node has brought.
const UNKNOWN: &str = "turno.v1.UnknownResponse";

/// "operations/0198…": google.longrunning wants names that end so, and its clients look for it.
pub(crate) fn name_of(ticket: TicketId) -> String {
    format!("{COLLECTION}{ticket}")
}

/// The ticket of that name.
pub(crate) fn ticket_of(name: &str) -> Result<TicketId, Status> {
    let id = name.strip_prefix(COLLECTION).or_else(|| name.strip_prefix(TICKETS)).unwrap_or(name);
    id.parse().map_err(|_| {
        let name = beginning(name);
        Status::invalid_argument(format!("{name:?} is no ticket's name: expected operations/ and a UUID"))
    })
}

/// A method's response as it is stored: an encoded `google.protobuf.Any`, so that it can be told what it is when no
/// node serves its method any more.
pub(crate) fn wrapped(response: Bytes, answer: Option<&str>) -> Bytes {
    let type_url = format!("{TYPES}{}", answer.unwrap_or(UNKNOWN));
    Any { type_url, value: response.into() }.encode_to_vec().into()
}

/// A ticket as clients see it. `response` is what is stored of it, `running` its method's last word if it runs here.
pub(crate) fn operation(
    ticket: Ticket,
    response: Option<Bytes>,
    running: Option<Progress>,
) -> Result<Operation, Status> {
    let result = ending(&ticket, response)?;
    Ok(ended_by(ticket, result, running))
}

/// A done ticket whose response cannot be read, and why: so that one spoils no listing.
pub(crate) fn unreadable(ticket: Ticket, why: &Status) -> Operation {
    ended_by(ticket, Some(Ending::Error(rpc_status(failure_of(why)))), None)
}

fn ended_by(ticket: Ticket, result: Option<Ending>, running: Option<Progress>) -> Operation {
    let name = name_of(ticket.id);
    let done = ticket.state.is_final();
    let metadata = packed(&metadata(ticket, running));
    Operation { name, metadata: Some(metadata), done, result }
}

fn ending(ticket: &Ticket, response: Option<Bytes>) -> Result<Option<Ending>, Status> {
    let error = |code: Code, text: &str| {
        Some(Ending::Error(rpc::Status { code: code as i32, message: text.to_owned(), details: Vec::new() }))
    };
    Ok(match ticket.state {
        State::Waiting | State::Running => None,
        _ if ticket.forgotten => error(
            Code::NotFound,
            "the ticket has ended, and what came of it is forgotten: only its idempotency key is remembered",
        ),
        State::Done => {
            response.map(|response| unwrapped(ticket.id, response)).transpose()?.map(Ending::Response)
        }
        State::Cancelled => error(Code::Cancelled, "the ticket was cancelled"),
        State::Failed | State::Dead => {
            let failure = ticket.failure.clone().unwrap_or_default();
            Some(Ending::Error(rpc_status(failure)))
        }
    })
}

fn unwrapped(ticket: TicketId, response: Bytes) -> Result<Any, Status> {
    Any::decode(response).map_err(|error| {
        Status::data_loss(format!("the response of ticket {ticket} cannot be read: {error}"))
    })
}

/// The method's own status, its details untouched.
pub(crate) fn rpc_status(failure: Failure) -> rpc::Status {
    let Failure { code, message, details } = failure;
    // Bytes that are no google.rpc.Status have no place in one.
    let rich = Some(details)
        .filter(|details| !details.is_empty())
        .and_then(|details| rpc::Status::decode(details).ok());
    let details = rich.map(|rich| rich.details).unwrap_or_default();
    rpc::Status { code, message, details }
}

/// What a status leaves behind in a ticket.
pub(crate) fn failure_of(status: &Status) -> Failure {
    Failure {
        code: status.code() as i32,
        message: storable(status.message().to_owned()),
        details: Bytes::copy_from_slice(status.details()),
    }
}

/// A text of a method: databases take no NUL.
pub(crate) fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

fn metadata(ticket: Ticket, running: Option<Progress>) -> TicketMetadata {
    let progress = match running {
        Some(Progress { done, total, note, .. }) => TicketProgress { done, total, note },
        None => TicketProgress {
            done: ticket.progress.done,
            // Of a map it is known before anything has run.
            total: ticket.inputs.map_or(ticket.progress.total, |inputs| inputs.items),
            note: ticket.progress.note,
        },
    };
    TicketMetadata {
        state: state(ticket.state).into(),
        method: ticket.method,
        labels: ticket.labels.into_iter().collect(),
        idempotency_key: ticket.key.unwrap_or_default(),
        tenant: ticket.tenant,
        attempts: ticket.attempts,
        failures: ticket.failures,
        retries: ticket.retries,
        progress: Some(progress).filter(|progress| *progress != TicketProgress::default()),
        cancel_requested: ticket.cancel_requested,
        submit_time: Some(timestamp(ticket.submitted_at)),
        not_before: ticket.not_before.map(timestamp),
        begin_time: ticket.began_at.map(timestamp),
        end_time: ticket.ended_at.map(timestamp),
        expire_time: ticket.expires_at.map(timestamp),
        last_failure: ticket.failure.map(rpc_status),
        request_bytes: ticket.request_bytes,
        response_bytes: ticket.response_bytes,
        redrive_of: ticket.redrive_of.map(name_of).unwrap_or_default(),
        redriven_as: ticket.redriven_as.map(name_of).unwrap_or_default(),
        map_items: ticket.inputs.map(|inputs| inputs.items),
        delete_requested: ticket.delete_requested,
    }
}

pub(crate) fn packed(metadata: &TicketMetadata) -> Any {
    Any { type_url: format!("{TYPES}{}", TicketMetadata::full_name()), value: metadata.encode_to_vec() }
}

fn state(state: State) -> TicketState {
    match state {
        State::Waiting => TicketState::Waiting,
        State::Running => TicketState::Running,
        State::Done => TicketState::Done,
        State::Failed => TicketState::Failed,
        State::Cancelled => TicketState::Cancelled,
        State::Dead => TicketState::Dead,
    }
}

pub(crate) fn timestamp(time: turno_store::Timestamp) -> Timestamp {
    let nanos = i32::try_from(time.0.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    Timestamp { seconds: time.0.div_euclid(1000), nanos }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::Any;
    use turno_store::{Failure, TicketId, Timestamp};

    use super::{name_of, rpc, rpc_status, ticket_of, timestamp, wrapped};

    #[test]
    fn a_name_is_read_in_each_of_its_forms_and_no_other() {
        let ticket = TicketId::new();
        for name in [name_of(ticket), format!("tickets/{ticket}"), ticket.to_string()] {
            assert_eq!(ticket_of(&name).unwrap(), ticket);
        }
        let long = "x".repeat(20_000);
        let other = "jobs/0198c5b2-0000-7000-8000-000000000000";
        for name in ["", "operations/", "operations/7", other, long.as_str()] {
            let error = ticket_of(name).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{name}");
            assert!(error.message().len() < 1000, "{name}");
        }
    }

    #[test]
    fn a_response_says_what_it_is() {
        let any = Any::decode(wrapped("dish".into(), Some("kitchen.v1.Dish"))).unwrap();
        assert_eq!(any.type_url, "type.googleapis.com/kitchen.v1.Dish");
        assert_eq!(any.value, b"dish");
    }

    #[test]
    fn details_cross_untouched_and_what_are_none_are_left_out() {
        let details = vec![Any { type_url: "type.googleapis.com/a.B".into(), value: vec![1, 2] }];
        let rich = rpc::Status { code: 9, message: "cold".into(), details };
        let failure = Failure { code: 9, message: "cold".into(), details: rich.encode_to_vec().into() };
        assert_eq!(rpc_status(failure.clone()), rich);
        let broken = Failure { details: "no status".into(), ..failure };
        assert_eq!(rpc_status(broken), rpc::Status { details: Vec::new(), ..rich });
    }

    #[test]
    fn times_before_1970_have_positive_nanos_too() {
        let time = timestamp(Timestamp(-1));
        assert_eq!((time.seconds, time.nanos), (-1, 999_000_000));
    }
}
