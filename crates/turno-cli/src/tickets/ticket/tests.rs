//! Tickets in words, and two of them for the tests beside.

use prost::Message as _;
use tonic::Code;
use turno_proto::google::longrunning::Operation;
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::google::rpc;
use turno_proto::v1::{TicketMetadata, TicketProgress, TicketState};

use super::{Ticket, failure, progress, span};

/// A moment in milliseconds, as the wire has it.
pub(crate) fn at(ms: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: ms / 1000, nanos: i32::try_from(ms % 1000).unwrap() * 1_000_000 }
}

const SUBMITTED: i64 = 1_000_000_000;

pub(crate) fn ticket(id: &str, state: TicketState, metadata: TicketMetadata) -> Ticket {
    let metadata = TicketMetadata {
        state: state.into(),
        method: "gallery.v1.Gallery/Thumbnail".into(),
        retries: 2,
        submit_time: Some(at(SUBMITTED)),
        ..metadata
    };
    Ticket { name: format!("operations/0198c3ab-7d12-7c3e-9f4a-1b2c{id}"), metadata, result: None }
}

/// One that has a method's word.
pub(crate) fn running() -> Ticket {
    let progress = Some(TicketProgress { done: 3, total: 10, note: "shrinking".into() });
    let metadata = TicketMetadata { attempts: 1, progress, ..TicketMetadata::default() };
    ticket("9f3ac2b1", TicketState::Running, metadata)
}

/// One whose attempts have all failed.
pub(crate) fn dead() -> Ticket {
    let message = "the oven of the second kitchen\nis cold and stays so".to_owned();
    let last_failure = Some(rpc::Status { code: 14, message, details: Vec::new() });
    let metadata = TicketMetadata { attempts: 3, failures: 3, last_failure, ..TicketMetadata::default() };
    ticket("00000007", TicketState::Dead, metadata)
}

#[test]
fn a_ticket_is_read_from_its_operation() {
    let known = running();
    let value = known.metadata.encode_to_vec();
    let metadata =
        Some(prost_types::Any { type_url: "type.googleapis.com/turno.v1.TicketMetadata".into(), value });
    let operation = Operation { name: known.name.clone(), metadata, ..Operation::default() };
    assert_eq!(Ticket::read(operation.clone()).unwrap(), known);
    let none = Ticket::read(Operation { metadata: None, ..operation }).unwrap_err();
    assert!(none.to_string().contains("is no ticket"), "{none}");
}

#[test]
fn one_of_which_its_key_is_left_is_none() {
    let ended = |ticket: Ticket, code: i32| {
        let error = rpc::Status { code, message: "what came of it is forgotten".into(), details: Vec::new() };
        Ticket { result: Some(Ended::Error(error)), ..ticket }
    };
    let plain = || ticket("9f3ac2b1", TicketState::Done, TicketMetadata::default());
    let gone = ended(plain(), 5).kept("nightly").unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let expected = "what came of it is forgotten: \"nightly\"; another key makes a new ticket";
    assert_eq!(gone.message(), expected);
    // One whose method has found nothing is there, as is one that was cancelled.
    for there in [plain(), ended(dead(), 5), ended(plain(), 1)] {
        assert_eq!(there.clone().kept("nightly").unwrap(), there);
    }
}

#[test]
fn its_note_says_the_one_thing_to_know() {
    let note = |state, metadata| ticket("9f3ac2b1", state, metadata).note(SUBMITTED);
    let plain = TicketMetadata::default;
    let failed = dead().metadata.last_failure;
    assert_eq!(running().note(SUBMITTED), "3 of 10: shrinking");
    assert_eq!(dead().note(SUBMITTED), "UNAVAILABLE: the oven of the second kitchen is cold and stays so");
    let redriven = TicketMetadata { redriven_as: "operations/0198-00009f3a".into(), ..dead().metadata };
    assert_eq!(note(TicketState::Dead, redriven), "redriven as 00009f3a");
    let later = TicketMetadata { not_before: Some(at(SUBMITTED + 90_000)), ..plain() };
    assert_eq!(note(TicketState::Waiting, later.clone()), "begins in 1m 30s");
    assert_eq!(ticket("9f3ac2b1", TicketState::Waiting, later.clone()).note(SUBMITTED + 90_000), "");
    let progress = Some(TicketProgress { done: 0, total: 9, note: String::new() });
    let map = ticket("9f3ac2b1", TicketState::Waiting, TicketMetadata { progress, ..later });
    assert_eq!([map.note(SUBMITTED), map.note(SUBMITTED + 90_000)], ["begins in 1m 30s", "0 of 9"]);
    let again = TicketMetadata { last_failure: failed, attempts: 1, failures: 1, ..plain() };
    assert!(note(TicketState::Running, again.clone()).starts_with("again after UNAVAILABLE: "));
    assert_eq!(note(TicketState::Done, again), "");
}

#[test]
fn a_map_that_is_done_says_what_of_it_has_failed() {
    let note = |map_items, note: &str| {
        let progress = Some(TicketProgress { done: 9, total: 9, note: note.into() });
        let metadata = TicketMetadata { map_items, progress, ..TicketMetadata::default() };
        ticket("9f3ac2b1", TicketState::Done, metadata).note(SUBMITTED)
    };
    assert_eq!(note(Some(9), "3 failed"), "9 of 9: 3 failed");
    assert_eq!(note(Some(9), ""), "");
    // Of a call that is done its method's last word is nothing to know.
    assert_eq!(note(None, "baked"), "");
}

#[test]
fn a_ticket_that_is_being_cancelled_says_so() {
    let mut ticket = running();
    assert_eq!((ticket.state(), ticket.has_ended()), ("running", false));
    ticket.metadata.cancel_requested = true;
    assert_eq!((ticket.state(), ticket.has_ended()), ("cancelling", false));
    ticket.metadata.set_state(TicketState::Done);
    assert_eq!((ticket.state(), ticket.has_ended()), ("done", true));
}

#[test]
fn a_dead_ticket_is_redriven_once_and_a_map_never() {
    assert!(dead().can_be_redriven() && !running().can_be_redriven());
    let (mut redriven, mut map) = (dead(), dead());
    redriven.metadata.redriven_as = "operations/0198-00009f3a".into();
    map.metadata.map_items = Some(9);
    assert!(!redriven.can_be_redriven() && !map.can_be_redriven());
}

#[test]
fn attempts_are_counted_against_those_that_it_may_have() {
    let mut ticket = running();
    assert_eq!(ticket.attempts(), "1/3");
    // Two of them ended with their gateway.
    ticket.metadata.attempts = 5;
    assert_eq!(ticket.attempts(), "5/5");
}

#[test]
fn progress_is_told_as_far_as_it_is_known() {
    let said = |done, total, note: &str| progress(&TicketProgress { done, total, note: note.into() });
    assert_eq!(said(0, 0, ""), None);
    assert_eq!(said(7, 0, "").unwrap(), "7 done");
    assert_eq!(said(0, 9, "").unwrap(), "0 of 9");
    assert_eq!(said(0, 0, "warming up").unwrap(), "warming up");
    assert_eq!(said(2, 0, "baked").unwrap(), "2 done: baked");
}

#[test]
fn words_for_people() {
    let spans = [-5, 840, 9_949, 61_000].map(span);
    assert_eq!(spans, ["0ms", "840ms", "9.9s", "1m 1s"]);
    assert_eq!(
        failure(&rpc::Status { code: 5, message: " a\n b ".into(), details: vec![] }),
        "NOT_FOUND: a b"
    );
}
