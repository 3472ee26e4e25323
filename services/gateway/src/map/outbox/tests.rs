//! Results as the client is owed them.

use proptest::prelude::*;
use tonic::Code;
use turno_proto::mesh::v1::ItemOutcome;
use turno_proto::status::code_number;

use super::{ENOUGH, Earlier, MOST_RESULTS, Outbox};
use crate::map::terms::OnFailure;

fn fine() -> ItemOutcome {
    ItemOutcome { body: "fine".into(), ..ItemOutcome::default() }
}

fn bad() -> ItemOutcome {
    ItemOutcome { code: code_number(Code::DataLoss), message: "spoilt".to_owned(), ..ItemOutcome::default() }
}

/// The indexes of all that goes out.
fn drained(outbox: &mut Outbox) -> Vec<u64> {
    let mut indexes = Vec::new();
    while outbox.is_ready() {
        indexes.extend(outbox.message().results.iter().map(|result| result.index));
    }
    indexes
}

#[test]
fn a_message_takes_what_has_gathered_and_no_more_than_fits() {
    let mut outbox = Outbox::new(false, OnFailure::Collect, Earlier::default());
    for index in 0..MOST_RESULTS as u64 + 1 {
        outbox.put(index, fine());
    }
    assert_eq!((outbox.message().results.len(), outbox.held()), (MOST_RESULTS, 1));
    outbox.put(9_999, ItemOutcome { body: vec![0; 1 << 20].into(), ..ItemOutcome::default() });
    outbox.put(10_000, fine());
    assert_eq!(outbox.message().results.len(), 2);
    assert_eq!(outbox.message().results.len(), 1);
    assert_eq!((outbox.held(), outbox.bytes()), (0, 0));
}

#[test]
fn in_order_the_first_failure_in_the_order_stops() {
    let mut outbox = Outbox::new(true, OnFailure::Stop, Earlier::default());
    outbox.put(3, bad());
    outbox.put(1, bad());
    assert!(!outbox.is_stopped() && !outbox.is_ready());
    outbox.put(0, fine());
    assert!(outbox.is_stopped());
    assert_eq!(drained(&mut outbox), [0, 1]);
    let (last, ended) = outbox.finish(10);
    let summary = last.summary.unwrap();
    assert_eq!((summary.items, summary.succeeded, summary.failed), (10, 1, 1));
    let ended = ended.unwrap();
    assert_eq!(ended.code(), Code::Aborted);
    assert_eq!(ended.message(), "the map was stopped at the failure of item 1: DATA_LOSS: spoilt");
}

#[test]
fn nothing_goes_out_behind_the_failure_that_stops() {
    let mut outbox = Outbox::new(false, OnFailure::Stop, Earlier::default());
    for (index, outcome) in [(5, fine()), (2, bad()), (0, fine()), (9, bad())] {
        outbox.put(index, outcome);
    }
    assert_eq!(drained(&mut outbox), [5, 2]);
}

#[test]
fn a_share_of_failures_is_borne() {
    let mut outbox = Outbox::new(false, OnFailure::StopAbove(0.1), Earlier::default());
    for index in 0..10 {
        outbox.put(index, bad());
    }
    assert!(!outbox.is_stopped(), "10 of at least {ENOUGH}");
    outbox.put(10, bad());
    assert!(outbox.is_stopped());
}

#[test]
fn at_the_end_the_share_is_of_all_there_were() {
    let mut outbox = Outbox::new(false, OnFailure::StopAbove(0.1), Earlier::default());
    for index in 0..10 {
        outbox.put(index, if index < 2 { bad() } else { fine() });
    }
    assert!(!outbox.is_stopped());
    let (_, ended) = outbox.finish(10);
    let ended = ended.unwrap();
    assert!(ended.message().contains("2 of 10 items have failed: more than the share of 0.1"), "{ended}");
    let mut few = Outbox::new(false, OnFailure::StopAbove(0.1), Earlier::default());
    (0..10).for_each(|index| few.put(index, if index < 1 { bad() } else { fine() }));
    assert!(few.finish(10).1.is_none());
}

proptest! {
    #[test]
    fn in_whatever_order_they_come_each_goes_out_once_and_in_its_place(
        order in Just((0..200_u64).collect::<Vec<_>>()).prop_shuffle(),
        take_every in 1_usize..20,
    ) {
        let mut outbox = Outbox::new(true, OnFailure::Collect, Earlier::default());
        let mut seen = Vec::new();
        for (nth, index) in order.into_iter().enumerate() {
            outbox.put(index, if index % 7 == 0 { bad() } else { fine() });
            if nth % take_every == 0 {
                seen.extend(drained(&mut outbox));
            }
        }
        seen.extend(drained(&mut outbox));
        prop_assert_eq!(seen, (0..200).collect::<Vec<_>>());
        prop_assert_eq!((outbox.held(), outbox.bytes()), (0, 0));
        let (last, ended) = outbox.finish(200);
        let summary = last.summary.unwrap();
        prop_assert_eq!((summary.items, summary.succeeded, summary.failed), (200, 171, 29));
        prop_assert!(ended.is_none());
    }
}

/// What came before counts: it stops at once, if it was about to, and else as soon as it would have.
#[test]
fn what_was_broken_off_goes_on_counting() {
    let earlier = Earlier { turn: 90, succeeded: 80, failed: 10 };
    assert!(Outbox::new(false, OnFailure::Stop, earlier).is_stopped());
    assert!(Outbox::new(false, OnFailure::StopAbove(0.05), earlier).is_stopped());
    let mut outbox = Outbox::new(true, OnFailure::StopAbove(0.1), earlier);
    assert!(!outbox.is_stopped());
    outbox.put(90, bad());
    assert!(outbox.is_stopped());
    assert_eq!(drained(&mut outbox), [90]);
    let (summary, _) = outbox.finish(200);
    let summary = summary.summary.unwrap();
    assert_eq!((summary.items, summary.succeeded, summary.failed), (200, 80, 11));
}
