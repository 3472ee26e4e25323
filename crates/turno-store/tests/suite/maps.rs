//! Maps: their inputs are there before they are, their results are the current attempt's, and all of it goes with them.

use bytes::Bytes;
use turno_store::{Error, Inputs, Log, NewTicket, Outcome, PART, Part, Room, Store, TicketId};

use super::{Place, burnt, eventually, gateway, new, open, submit};

fn part(number: u32) -> Part {
    // The last one is as large as a single large item makes it.
    let length = if number == 2 { PART + 300_000 } else { 1000 + number as usize };
    let body = (0..length).map(|at| (at / 7 + number as usize) as u8).collect::<Vec<_>>();
    Part { head: Bytes::from(format!("head {number}")), body: body.into() }
}

const INPUTS: Inputs = Inputs { parts: 3, items: 10 };

fn map() -> NewTicket {
    NewTicket { inputs: Some(INPUTS), ..new() }
}

/// A map that is stored, with its inputs.
async fn stored(store: &dyn Store, map: NewTicket) -> Option<turno_store::Attempt> {
    for number in 0..INPUTS.parts {
        store.put_input(map.id, number, part(number)).await.unwrap();
    }
    submit(store, map).await
}

async fn log(store: &dyn Store, ticket: TicketId, log: Log) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some(part) = store.part(ticket, log, parts.len() as u32).await.unwrap() {
        parts.push(part);
    }
    parts
}

pub(crate) async fn a_map_comes_back_with_its_inputs(place: &dyn Place) {
    let store = open(place).await;
    let map = map();
    stored(&*store, map.clone()).await;
    drop(store);
    let store = open(place).await;
    // The sweep has nothing to do with what has a ticket.
    store.expire(100).await.unwrap();
    let claimed = store.claim(gateway(&*store).await, Room::of(9)).await.unwrap().pop().unwrap();
    assert_eq!((claimed.attempt.ticket, claimed.inputs), (map.id, Some(INPUTS)));
    assert_eq!(store.get(map.id).await.unwrap().inputs, Some(INPUTS));
    assert_eq!(log(&*store, map.id, Log::Inputs).await, [part(0), part(1), part(2)]);
    let heads = store.heads(map.id, Log::Inputs, 1, 9).await.unwrap();
    assert_eq!(heads, [part(1).head, part(2).head]);
}

pub(crate) async fn inputs_that_are_not_all_there_are_not_submitted(place: &dyn Place) {
    let store = open(place).await;
    let (map, key) = (map(), turno_store::IdempotencyKey { key: "a".into(), remembered_for: None });
    let map = NewTicket { key: Some(key), ..map };
    store.put_input(map.id, 0, part(0)).await.unwrap();
    store.put_input(map.id, 2, part(2)).await.unwrap();
    let refused = store.submit(map.clone()).await;
    assert!(matches!(refused, Err(Error::Incomplete(id)) if id == map.id), "{refused:?}");
    store.put_input(map.id, 1, part(1)).await.unwrap();
    // What was refused has not taken the key either.
    submit(&*store, map.clone()).await;
    store.put_input(map.id, 1, part(7)).await.unwrap();
    store.drop_inputs(map.id).await.unwrap();
    store.expire(100).await.unwrap();
    assert_eq!(log(&*store, map.id, Log::Inputs).await, [part(0), part(1), part(2)]);
}

pub(crate) async fn inputs_that_are_dropped_are_gone(place: &dyn Place) {
    let store = open(place).await;
    let dropped = TicketId::new();
    store.put_input(dropped, 0, part(2)).await.unwrap();
    store.expire(100).await.unwrap();
    assert_eq!(log(&*store, dropped, Log::Inputs).await, [part(2)], "somebody may still come back");
    store.drop_inputs(dropped).await.unwrap();
    store.expire(100).await.unwrap();
    assert_eq!(log(&*store, dropped, Log::Inputs).await, []);
}

pub(crate) async fn results_are_those_of_the_current_attempt(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let first = stored(&*store, NewTicket { begin_at: Some(gateway), ..map() }).await.unwrap();
    store.append_results(first, 0, part(2), 4).await.unwrap();
    store.append_results(first, 0, part(1), 4).await.unwrap();
    store.retry(first, burnt(), std::time::Duration::ZERO).await.unwrap();
    let late = store.append_results(first, 1, part(1), 5).await;
    assert!(matches!(late, Err(Error::Superseded(_))), "{late:?}");
    let second =
        eventually("it is due", || async { store.claim(gateway, Room::of(9)).await.unwrap().pop() }).await;
    store.append_results(second.attempt, 1, part(0), 7).await.unwrap();
    drop(store);
    let store = open(place).await;
    assert_eq!(log(&*store, first.ticket, Log::Results).await, [part(2), part(0)]);
    let progress = store.get(first.ticket).await.unwrap().progress;
    assert_eq!((progress.done, progress.total), (7, INPUTS.items));
}

pub(crate) async fn a_map_goes_with_all_that_it_had(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    for keep in [std::time::Duration::ZERO, std::time::Duration::from_secs(3600)] {
        let map = NewTicket { begin_at: Some(gateway), keep_result_for: keep, ..map() };
        let attempt = stored(&*store, map).await.unwrap();
        store.append_results(attempt, 0, part(2), 10).await.unwrap();
        store.finish(attempt, Outcome::Done("all".into())).await.unwrap();
        if !keep.is_zero() {
            store.delete(attempt.ticket).await.unwrap();
        }
        eventually("the sweep has been there", || async {
            store.expire(100).await.unwrap();
            let left = store.part(attempt.ticket, Log::Results, 0).await.unwrap();
            (left.is_none() && log(&*store, attempt.ticket, Log::Inputs).await.is_empty()).then_some(())
        })
        .await;
    }
}

/// Their ticket stays known to the sweep until the last of them is gone.
pub(crate) async fn a_map_of_more_parts_than_one_sweep_takes_goes_whole(place: &dyn Place) {
    const RESULTS: u32 = 300;
    let store = open(place).await;
    let map = NewTicket { begin_at: Some(gateway(&*store).await), ..map() };
    let attempt = stored(&*store, map).await.unwrap();
    for number in 0..RESULTS {
        store.append_results(attempt, number, part(0), 1).await.unwrap();
    }
    store.finish(attempt, Outcome::Done("all".into())).await.unwrap();
    store.delete(attempt.ticket).await.unwrap();
    eventually("the sweep has been there twice", || async {
        store.expire(100).await.unwrap();
        store.part(attempt.ticket, Log::Results, RESULTS - 1).await.unwrap().is_none().then_some(())
    })
    .await;
}

pub(crate) async fn a_dead_map_is_neither_edited_nor_redriven(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let attempt = stored(&*store, NewTicket { begin_at: Some(gateway), ..map() }).await.unwrap();
    store.finish(attempt, Outcome::Dead(burnt())).await.unwrap();
    let redriven = store.redrive(attempt.ticket, TicketId::new()).await;
    assert!(matches!(redriven, Err(Error::WrongState { .. })), "{redriven:?}");
    let edited = store.edit(attempt.ticket, None, Some(7)).await;
    assert!(matches!(edited, Err(Error::WrongState { .. })), "{edited:?}");
}
