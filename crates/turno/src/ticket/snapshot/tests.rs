//! What a gateway says of a ticket, read.

use std::time::Duration;

use prost::Message as _;
use turno_proto::google::longrunning::Operation;
use turno_proto::google::rpc;
use turno_proto::v1::{TicketMetadata, TicketProgress, TicketState};

use super::{Progress, Snapshot, State, SystemTime, metadata};

fn operation(metadata: &TicketMetadata) -> Operation {
    let type_url = "type.googleapis.com/turno.v1.TicketMetadata".to_owned();
    let metadata = prost_types::Any { type_url, value: metadata.encode_to_vec() };
    Operation { name: "operations/7".into(), metadata: Some(metadata), ..Operation::default() }
}

fn read(operation: &Operation) -> crate::Result<Snapshot> {
    Snapshot::of(operation.name.clone(), metadata(operation)?)
}

#[test]
fn what_a_gateway_says_is_read() {
    let metadata = TicketMetadata {
        state: TicketState::Dead.into(),
        method: "a.v1.A/Do".into(),
        labels: [("shop".into(), "bakery".into())].into(),
        attempts: 4,
        failures: 3,
        retries: 2,
        progress: Some(TicketProgress { done: 3, total: 10, note: "kneading".into() }),
        cancel_requested: true,
        submit_time: Some(prost_types::Timestamp { seconds: 5, nanos: 1 }),
        expire_time: Some(prost_types::Timestamp { seconds: 9, nanos: 0 }),
        last_failure: Some(rpc::Status { code: 14, message: "cold".into(), details: Vec::new() }),
        redriven_as: "operations/8".into(),
        ..TicketMetadata::default()
    };
    let seen = read(&operation(&metadata)).unwrap();
    assert_eq!((seen.name.as_str(), seen.method.as_str()), ("operations/7", "a.v1.A/Do"));
    assert_eq!((seen.state, seen.attempts, seen.failures, seen.retries), (State::Dead, 4, 3, 2));
    assert_eq!(seen.labels["shop"], "bakery");
    let progress = Progress { done: 3, total: Some(10), note: "kneading".into() };
    assert_eq!((seen.progress, seen.cancel_requested), (Some(progress), true));
    assert_eq!(seen.submitted_at, Some(SystemTime::UNIX_EPOCH + Duration::new(5, 1)));
    assert_eq!(seen.expires_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
    assert_eq!((seen.not_before, seen.began_at, seen.ended_at), (None, None, None));
    assert_eq!(seen.last_failure.unwrap().code(), tonic::Code::Unavailable);
    assert_eq!(seen.redriven_as.unwrap(), "operations/8");
}

#[test]
fn what_nobody_has_said_is_none() {
    let metadata = TicketMetadata {
        state: TicketState::Waiting.into(),
        progress: Some(TicketProgress::default()),
        ..TicketMetadata::default()
    };
    let seen = read(&operation(&metadata)).unwrap();
    assert_eq!((seen.progress, seen.redriven_as), (None, None));
    assert!(!seen.delete_requested);
}

#[test]
fn one_that_is_deleted_says_so_until_it_has_ended() {
    let metadata = TicketMetadata {
        state: TicketState::Running.into(),
        delete_requested: true,
        ..TicketMetadata::default()
    };
    let seen = read(&operation(&metadata)).unwrap();
    assert_eq!((seen.state, seen.delete_requested, seen.cancel_requested), (State::Running, true, false));
}

#[test]
fn what_is_no_ticket_is_refused_by_name() {
    let mut strange = operation(&TicketMetadata { state: 99, ..TicketMetadata::default() });
    assert!(read(&strange).unwrap_err().message().contains("operations/7 is in a state"));
    strange.metadata.as_mut().unwrap().type_url = "type.googleapis.com/b.v1.Job".into();
    assert!(read(&strange).unwrap_err().message().contains("its metadata is a type"));
    strange.metadata = None;
    assert!(read(&strange).unwrap_err().message().contains("it has no metadata"));
}

#[test]
fn what_has_ended_is_told_from_what_has_not() {
    let states = [State::Waiting, State::Running, State::Done, State::Failed, State::Cancelled, State::Dead];
    let names = states.map(|state| state.to_string()).join(" ");
    assert_eq!(names, "waiting running done failed cancelled dead");
    assert_eq!(states.map(State::is_final), [false, false, true, true, true, true]);
}
