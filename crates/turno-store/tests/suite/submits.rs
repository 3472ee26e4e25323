//! What is submitted is there.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use turno_store::{Counts, Error, NewTicket, Progress, Room, State, Submitted, TicketId, Timestamp};

use super::{Place, begin, eventually, gateway, new, open, submit};

pub(crate) async fn a_ticket_reads_as_it_was_submitted(place: &dyn Place) {
    let store = open(place).await;
    let labels = BTreeMap::from([("colour".into(), "\"grün\"".into()), ("x.y".into(), String::new())]);
    let not_before = Some(Timestamp(4_000_000_000_000));
    let asked = NewTicket { labels, not_before, ..new() };
    let Submitted::Stored { at, attempt: None } = store.submit(asked.clone()).await.unwrap() else {
        panic!("it is new, and not due");
    };
    let ticket = store.get(asked.id).await.unwrap();
    assert_eq!((ticket.id, ticket.state, ticket.submitted_at), (asked.id, State::Waiting, at));
    assert_eq!(
        (&ticket.method, &ticket.tenant, &ticket.labels),
        (&asked.method, &asked.tenant, &asked.labels)
    );
    assert_eq!((ticket.not_before, ticket.retries, ticket.request_bytes), (not_before, 3, 5));
    assert_eq!((ticket.attempts, ticket.failures, ticket.response_bytes), (0, 0, 0));
    assert_eq!(
        (ticket.gateway, ticket.began_at, ticket.ended_at, ticket.expires_at),
        (None, None, None, None)
    );
    assert_eq!((ticket.failure, ticket.progress, ticket.forgotten), (None, Progress::default(), false));
    assert_eq!(store.request(asked.id).await.unwrap(), asked.request);
    assert_eq!(store.whole(asked.id).await.unwrap().1, None);
    assert_eq!(store.attempts(asked.id).await.unwrap(), []);
}

pub(crate) async fn an_attempt_begins_with_the_ticket(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let attempt = begin(&*store, gateway).await;
    assert_eq!((attempt.gateway, attempt.number), (gateway, 1));
    let ticket = store.get(attempt.ticket).await.unwrap();
    assert_eq!((ticket.state, ticket.attempts, ticket.gateway), (State::Running, 1, Some(gateway)));
    assert_eq!(ticket.began_at, Some(ticket.submitted_at));
    assert_eq!(store.claim(gateway, Room::of(10)).await.unwrap(), [], "it is held");
}

pub(crate) async fn no_attempt_begins_early_or_without_a_lease(place: &dyn Place) {
    let store = open(place).await;
    let nobody = turno_store::GatewayId(turno_store::TicketId::new().0);
    assert_eq!(submit(&*store, NewTicket { begin_at: Some(nobody), ..new() }).await, None);
    assert_eq!(store.claim(nobody, Room::of(10)).await.unwrap(), []);
    let gateway = gateway(&*store).await;
    let later = Some(Timestamp(4_000_000_000_000));
    let early = NewTicket { begin_at: Some(gateway), not_before: later, ..new() };
    assert_eq!(submit(&*store, early).await, None);
}

pub(crate) async fn an_id_is_stored_once(place: &dyn Place) {
    let store = open(place).await;
    let ticket = new();
    submit(&*store, ticket.clone()).await;
    let again = store.submit(ticket.clone()).await;
    assert!(matches!(again, Err(Error::Exists(id)) if id == ticket.id), "{again:?}");
    assert_eq!(store.counts().await.unwrap(), Counts { waiting: 1, ..Counts::default() });
}

pub(crate) async fn many_at_once_are_all_stored(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let submits = (0..400).map(|n| {
        let begin_at = (n % 2 == 0).then_some(gateway);
        let store = store.clone();
        async move {
            let ticket = NewTicket { begin_at, request: vec![n as u8; n].into(), ..new() };
            let attempt = submit(&*store, ticket.clone()).await;
            assert_eq!(attempt.is_some(), begin_at.is_some());
            ticket
        }
    });
    let tickets = futures_util::future::join_all(submits).await;
    assert_eq!(store.counts().await.unwrap(), Counts { waiting: 200, running: 200, ..Counts::default() });
    for ticket in &tickets {
        assert_eq!(store.request(ticket.id).await.unwrap(), ticket.request);
    }
    let mut claimed = HashSet::new();
    loop {
        let some = store.claim(gateway, Room::of(64)).await.unwrap();
        if some.is_empty() {
            break;
        }
        claimed.extend(some.iter().map(|one| one.attempt.ticket));
    }
    assert_eq!(claimed.len(), 200);
}

pub(crate) async fn a_method_is_known_once_a_ticket_was_submitted_for_it(place: &dyn Place) {
    let store = open(place).await;
    let first = new();
    assert!(!store.knows_method(&first.method).await.unwrap());
    submit(&*store, first.clone()).await;
    submit(&*store, new()).await;
    assert!(store.knows_method(&first.method).await.unwrap());
    // Of a transaction that fails nothing is kept, and nothing is thought to be.
    let other = || NewTicket { method: "kitchen.v1.Kitchen/Burn".into(), ..new() };
    let again = store.submit(NewTicket { id: first.id, ..other() }).await;
    assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
    assert!(!store.knows_method(&other().method).await.unwrap());
    submit(&*store, other()).await;
    store.delete(first.id).await.unwrap();
    store.cancel(first.id).await.unwrap();
    drop(store);
    let store = open(place).await;
    for known in [first.method, other().method] {
        assert!(store.knows_method(&known).await.unwrap(), "{known}");
    }
}

pub(crate) async fn what_nobody_heard_of_is_given_back(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let ticket = NewTicket { begin_at: Some(gateway), ..new() };
    // Polled once, it is with the writer; then its caller goes away.
    let _gone = futures_util::future::poll_immediate(store.submit(ticket.clone())).await;
    let claimed = eventually("the ticket is due again", || async {
        store.claim(gateway, Room::of(1)).await.unwrap().pop()
    });
    assert_eq!(claimed.await.attempt.ticket, ticket.id);
    store.resign(gateway).await.unwrap();
    store.renew(gateway, Duration::from_secs(3600)).await.unwrap();
    let ticket = submit(&*store, new()).await;
    assert_eq!(ticket, None);
    let _gone = futures_util::future::poll_immediate(store.claim(gateway, Room::of(1))).await;
    eventually("the claimed is due again", || async {
        store.claim(gateway, Room::of(1)).await.unwrap().pop()
    })
    .await;
}

pub(crate) async fn everything_is_there_when_it_is_opened_again(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let waiting = new();
    submit(&*store, waiting.clone()).await;
    let running = begin(&*store, gateway).await;
    let before = [store.get(waiting.id).await.unwrap(), store.get(running.ticket).await.unwrap()];
    store.resign(gateway).await.unwrap();
    drop(store);
    let store = open(place).await;
    assert_eq!(store.get(waiting.id).await.unwrap(), before[0]);
    assert_eq!(store.get(running.ticket).await.unwrap().state, State::Running);
    assert_eq!(store.counts().await.unwrap(), Counts { waiting: 1, running: 1, ..Counts::default() });
    let next = super::gateway(&*store).await;
    let claimed = store.claim(next, Room::of(10)).await.unwrap();
    let mut numbers: Vec<_> = claimed.iter().map(|one| (one.attempt.ticket, one.attempt.number)).collect();
    numbers.sort();
    assert_eq!(numbers, [(waiting.id, 1), (running.ticket, 2)]);
    let lost = &store.attempts(running.ticket).await.unwrap()[0];
    assert_eq!((lost.number, lost.failure.code), (1, 14));
    assert_eq!(store.get(running.ticket).await.unwrap().failures, 0, "it was nobody's fault");
}

pub(crate) async fn what_a_database_cannot_keep_spoils_no_other(place: &dyn Place) {
    let store = open(place).await;
    // Longer than a row of an index may be.
    let long: String = (0..1000).map(|_| TicketId::new().to_string()).collect();
    let submits = (0..40).map(|number| {
        let value = if number == 20 { "a\0b" } else { "ab" };
        let tenant = if number == 30 { long.clone() } else { new().tenant };
        let labels = BTreeMap::from([("shop".into(), value.into())]);
        store.submit(NewTicket { labels, tenant, ..new() })
    });
    let mut submitted = futures_util::future::join_all(submits).await;
    for odd in [submitted.remove(30), submitted.remove(20)] {
        assert!(matches!(odd, Ok(_) | Err(Error::Unfit(_) | Error::Failed(_))), "{odd:?}");
    }
    assert!(submitted.iter().all(Result::is_ok), "{submitted:?}");
}
