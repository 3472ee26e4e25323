//! The same key is the same ticket.

use std::time::Duration;

use turno_store::{Counts, Error, IdempotencyKey, NewTicket, Outcome, Room, State, Store, Submitted, Ticket};

use super::{Place, burnt, gateway, new, open, submit};

fn keyed(key: &str) -> NewTicket {
    let key = IdempotencyKey { key: key.into(), remembered_for: None };
    NewTicket { key: Some(key), ..new() }
}

async fn known(store: &dyn Store, ticket: NewTicket) -> Ticket {
    match store.submit(ticket).await.unwrap() {
        Submitted::Known(known) => *known,
        stored @ Submitted::Stored { .. } => panic!("{stored:?}"),
    }
}

pub(crate) async fn the_same_key_is_the_same_ticket(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let first = keyed("a");
    submit(&*store, first.clone()).await;
    let again = NewTicket { begin_at: Some(gateway), ..keyed("a") };
    let ticket = known(&*store, again).await;
    assert_eq!((ticket.id, ticket.key.as_deref(), ticket.forgotten), (first.id, Some("a"), false));
    assert_eq!(ticket, store.get(first.id).await.unwrap());
    submit(&*store, NewTicket { tenant: "mario".into(), ..keyed("a") }).await;
    submit(&*store, keyed("b")).await;
    assert_eq!(store.counts().await.unwrap().waiting, 3);
}

pub(crate) async fn a_key_is_taken_by_what_it_was_first_given_to(place: &dyn Place) {
    let store = open(place).await;
    let first = keyed("a");
    submit(&*store, first.clone()).await;
    for other in [
        NewTicket { request: "batter".into(), ..keyed("a") },
        NewTicket { method: "kitchen.v1.Kitchen/Burn".into(), ..keyed("a") },
    ] {
        let taken = store.submit(other).await;
        assert!(
            matches!(&taken, Err(Error::KeyTaken { key, ticket }) if key == "a" && *ticket == first.id),
            "{taken:?}"
        );
    }
}

pub(crate) async fn of_many_at_once_with_one_key_one_is_stored(place: &dyn Place) {
    let store = open(place).await;
    let submits = futures_util::future::join_all((0..50).map(|_| store.submit(keyed("a")))).await;
    let stored = submits.iter().filter(|one| matches!(one, Ok(Submitted::Stored { .. }))).count();
    assert_eq!(stored, 1);
    assert!(submits.iter().all(Result::is_ok));
    assert_eq!(store.counts().await.unwrap(), Counts { waiting: 1, ..Counts::default() });
}

pub(crate) async fn a_key_is_forgotten_when_its_time_is_over(place: &dyn Place) {
    let store = open(place).await;
    let short = Some(IdempotencyKey { key: "a".into(), remembered_for: Some(Duration::ZERO) });
    submit(&*store, NewTicket { key: short.clone(), ..new() }).await;
    submit(&*store, NewTicket { key: short, ..new() }).await;
    submit(&*store, keyed("a")).await;
    store.expire(10).await.unwrap();
    known(&*store, keyed("a")).await;
    assert_eq!(store.counts().await.unwrap().waiting, 3);
}

pub(crate) async fn a_key_outlives_its_ticket(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let first = NewTicket { begin_at: Some(gateway), keep_result_for: Duration::ZERO, ..keyed("a") };
    let attempt = submit(&*store, first.clone()).await.unwrap();
    store.finish(attempt, Outcome::Done("bread".into())).await.unwrap();
    let unswept = known(&*store, keyed("a")).await;
    assert_eq!((unswept.id, unswept.forgotten), (first.id, true));
    assert_eq!(store.expire(10).await.unwrap(), 1);
    drop(store);
    let store = open(place).await;
    let left = known(&*store, keyed("a")).await;
    assert_eq!((left.id, left.state, left.forgotten), (first.id, State::Done, true));
    assert_eq!(left.method, first.method);
    assert!(matches!(store.get(first.id).await, Err(Error::NotFound(_))));
}

pub(crate) async fn a_key_says_how_its_ticket_ended(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let outcomes =
        [Outcome::Done("bread".into()), Outcome::Failed(burnt()), Outcome::Dead(burnt()), Outcome::Cancelled];
    for outcome in outcomes {
        let state = outcome.state();
        let ticket = NewTicket { begin_at: Some(gateway), ..keyed(state.name()) };
        let attempt = submit(&*store, ticket).await.unwrap();
        store.delete(attempt.ticket).await.unwrap();
        store.finish(attempt, outcome.clone()).await.unwrap();
        let left = known(&*store, keyed(state.name())).await;
        assert_eq!((left.id, left.state, left.forgotten), (attempt.ticket, state, true), "it was deleted");
        let key = format!("{} too", state.name());
        let brief = NewTicket { begin_at: Some(gateway), keep_result_for: Duration::ZERO, ..keyed(&key) };
        let attempt = submit(&*store, brief).await.unwrap();
        store.finish(attempt, outcome).await.unwrap();
        let unswept = known(&*store, keyed(&key)).await;
        assert_eq!(store.expire(10).await.unwrap(), 1);
        let swept = known(&*store, keyed(&key)).await;
        for left in [unswept, swept] {
            assert_eq!(
                (left.id, left.state, left.forgotten),
                (attempt.ticket, state, true),
                "it has expired"
            );
        }
    }
}

pub(crate) async fn a_submit_with_its_key_takes_a_delete_back(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let begun = |key| NewTicket { begin_at: Some(gateway), ..keyed(key) };
    let running = submit(&*store, begun("a")).await.unwrap();
    let waiting = keyed("b");
    submit(&*store, waiting.clone()).await;
    for (ticket, key) in [(running.ticket, "a"), (waiting.id, "b")] {
        store.delete(ticket).await.unwrap();
        let wanted = known(&*store, keyed(key)).await;
        assert_eq!((wanted.id, wanted.forgotten), (ticket, false));
    }
    let claimed = store.claim(gateway, Room::of(1)).await.unwrap().pop().unwrap();
    for attempt in [running, claimed.attempt] {
        store.finish(attempt, Outcome::Done("bread".into())).await.unwrap();
        assert_eq!(store.whole(attempt.ticket).await.unwrap().1.unwrap(), "bread");
    }
    let attempt = submit(&*store, begun("c")).await.unwrap();
    store.delete(attempt.ticket).await.unwrap();
    known(&*store, keyed("c")).await;
    store.delete(attempt.ticket).await.unwrap();
    let other = store.submit(NewTicket { request: "batter".into(), ..keyed("c") }).await;
    assert!(matches!(other, Err(Error::KeyTaken { .. })), "{other:?}");
    store.finish(attempt, Outcome::Done("bread".into())).await.unwrap();
    let gone = store.get(attempt.ticket).await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "the delete came last: {gone:?}");
}
