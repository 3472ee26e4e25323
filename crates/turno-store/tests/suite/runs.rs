//! Attempts: claimed, held, retried, released, lost.

use std::time::Duration;

use bytes::Bytes;
use turno_store::{
    Cancelled, Claimed, Error, Failure, GatewayId, NewTicket, Outcome, Progress, Query, Queue, Room, State,
    Ticket, TicketId, Timestamp,
};

use super::{Place, begin, burnt, gateway, new, open, state, submit};

const LONG: Duration = Duration::from_secs(3600);

/// So many milliseconds at least, and not since 1970, or in another unit.
fn has_waited(claimed: &Claimed, least_ms: u64) -> bool {
    (Duration::from_millis(least_ms)..Duration::from_secs(10)).contains(&claimed.waited)
}

pub(crate) async fn the_longest_due_is_claimed_first(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let mut tickets = Vec::new();
    for _ in 0..5 {
        let ticket = new();
        submit(&*store, ticket.clone()).await;
        tickets.push(ticket);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    submit(&*store, NewTicket { not_before: Some(Timestamp(4_000_000_000_000)), ..new() }).await;
    let mut claimed = store.claim(gateway, Room::of(2)).await.unwrap();
    claimed.extend(store.claim(gateway, Room::of(10)).await.unwrap());
    assert_eq!(claimed.len(), 5, "what is not due is not claimed");
    assert!(has_waited(&claimed[0], 12), "{:?}", claimed[0].waited);
    for (claimed, ticket) in claimed.iter().zip(&tickets) {
        assert_eq!(claimed.attempt.ticket, ticket.id);
        assert_eq!((claimed.attempt.gateway, claimed.attempt.number), (gateway, 1));
        assert_eq!((&claimed.method, &claimed.request), (&ticket.method, &ticket.request));
        assert_eq!((&claimed.tenant, &claimed.metadata), (&ticket.tenant, &ticket.metadata));
        assert_eq!((claimed.timeout, claimed.retries, claimed.failures), (ticket.timeout, 3, 0));
        assert!(!claimed.cancel_requested);
        assert_eq!(state(&*store, ticket.id).await, State::Running);
    }
}

pub(crate) async fn a_ticket_ends_once_and_for_all(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let outcomes =
        [Outcome::Done("bread".into()), Outcome::Failed(burnt()), Outcome::Dead(burnt()), Outcome::Cancelled];
    for outcome in outcomes.clone() {
        let attempt = begin(&*store, gateway).await;
        store.finish(attempt, outcome.clone()).await.unwrap();
        let ticket = store.get(attempt.ticket).await.unwrap();
        assert_eq!((ticket.state, ticket.gateway), (outcome.state(), None));
        let ended = ticket.ended_at.unwrap();
        assert_eq!(ticket.expires_at, Some(Timestamp(ended.0 + 3_600_000)));
        for late in outcomes.clone() {
            let refused = store.finish(attempt, late).await;
            assert!(matches!(refused, Err(Error::Superseded(_))), "{refused:?}");
        }
        assert!(matches!(store.retry(attempt, burnt(), LONG).await, Err(Error::Superseded(_))));
        assert!(matches!(store.release(attempt, LONG).await, Err(Error::Superseded(_))));
        assert_eq!(store.get(attempt.ticket).await.unwrap(), ticket);
        let response = store.whole(attempt.ticket).await.unwrap().1;
        assert_eq!(response, (ticket.state == State::Done).then(|| "bread".into()));
        let (failures, records) = (ticket.failures, store.attempts(attempt.ticket).await.unwrap().len());
        let failed = matches!(ticket.state, State::Failed | State::Dead);
        assert_eq!((failures, records), (u32::from(failed), usize::from(failed)));
        assert_eq!(ticket.failure, failed.then(burnt));
    }
}

/// What it failed with before is another failure, and forgotten when it ends.
pub(crate) async fn a_failure_comes_back_as_it_was(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let failures = [
        Failure::default(),
        Failure { code: -1, message: "brûlé".into(), details: Bytes::new() },
        Failure { code: 13, message: "m".repeat(5000), details: vec![7; 300_000].into() },
    ];
    let mut ended = Vec::new();
    for failure in failures {
        for outcome in [Outcome::Failed(failure.clone()), Outcome::Dead(failure.clone())] {
            let first = begin(&*store, gateway).await;
            store.retry(first, burnt(), Duration::ZERO).await.unwrap();
            let last = store.claim(gateway, Room::of(1)).await.unwrap().pop().unwrap().attempt;
            ended.push((last.ticket, outcome.state(), failure.clone()));
            store.finish(last, outcome).await.unwrap();
        }
    }
    drop(store);
    let store = open(place).await;
    let page = store.list(&Query { most: 10, ..Query::default() }).await.unwrap();
    for ((id, state, failure), listed) in ended.into_iter().rev().zip(&page.tickets) {
        let (whole, response) = store.whole(id).await.unwrap();
        assert_eq!((whole.state, response), (state, None));
        let attempts = store.attempts(id).await.unwrap();
        let attempts: Vec<_> = attempts.into_iter().map(|one| (one.number, one.failure)).collect();
        assert_eq!(attempts, [(1, burnt()), (2, failure.clone())]);
        assert_eq!(whole.failure, Some(failure));
        assert_eq!(store.get(id).await.unwrap(), whole);
        assert_eq!(*listed, whole);
    }
    assert_eq!(page.tickets.len(), 6);
}

pub(crate) async fn a_retry_is_due_after_its_pause(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let attempt = begin(&*store, gateway).await;
    assert_eq!(store.next_due(Vec::new(), Vec::new()).await.unwrap(), None);
    assert_eq!(store.retry(attempt, burnt(), Duration::ZERO).await.unwrap(), State::Running);
    assert_eq!(store.next_due(Vec::new(), Vec::new()).await.unwrap(), Some(Duration::ZERO));
    let again = store.claim(gateway, Room::of(10)).await.unwrap().pop().unwrap();
    assert_eq!((again.attempt.ticket, again.attempt.number, again.failures), (attempt.ticket, 2, 1));
    assert_eq!(store.retry(again.attempt, burnt(), LONG).await.unwrap(), State::Running);
    assert_eq!(store.claim(gateway, Room::of(10)).await.unwrap(), []);
    let due = store.next_due(Vec::new(), Vec::new()).await.unwrap().unwrap();
    assert!(due > LONG - Duration::from_secs(60) && due <= LONG, "{due:?}");
    let ticket = store.get(attempt.ticket).await.unwrap();
    assert_eq!((ticket.state, ticket.attempts, ticket.failures), (State::Running, 2, 2));
    assert_eq!((ticket.gateway, ticket.failure), (None, Some(burnt())));
    let records = store.attempts(attempt.ticket).await.unwrap();
    assert_eq!(records.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2]);
    assert!(records.iter().all(|one| one.failure == burnt() && one.began_at <= one.ended_at));
}

pub(crate) async fn what_is_released_is_due_after_its_pause(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let attempt = begin(&*store, gateway).await;
    store.release(attempt, Duration::ZERO).await.unwrap();
    let again = store.claim(gateway, Room::of(10)).await.unwrap().pop().unwrap();
    assert_eq!((again.attempt.ticket, again.attempt.number, again.failures), (attempt.ticket, 2, 0));
    assert!(matches!(store.finish(attempt, Outcome::Cancelled).await, Err(Error::Superseded(_))));
    store.release(again.attempt, LONG).await.unwrap();
    assert_eq!(store.claim(gateway, Room::of(10)).await.unwrap(), []);
    assert!(store.next_due(Vec::new(), Vec::new()).await.unwrap().unwrap() > LONG - Duration::from_secs(60));
    let ticket = store.get(attempt.ticket).await.unwrap();
    assert_eq!((ticket.state, ticket.attempts, ticket.failures), (State::Running, 2, 0));
    assert_eq!(store.attempts(attempt.ticket).await.unwrap(), []);
}

pub(crate) async fn what_a_dead_gateway_held_is_taken_over(place: &dyn Place) {
    let store = open(place).await;
    let (gone, here) = (gateway(&*store).await, gateway(&*store).await);
    let lost = begin(&*store, gone).await;
    let kept = begin(&*store, here).await;
    assert_eq!(store.claim(here, Room::of(10)).await.unwrap(), []);
    store.resign(gone).await.unwrap();
    assert_eq!(store.next_due(Vec::new(), Vec::new()).await.unwrap(), Some(Duration::ZERO));
    let Ticket { tenant, method, .. } = store.get(lost.ticket).await.unwrap();
    let full = Room { full: vec![Queue { tenant, method: method.clone() }], ..Room::of(10) };
    assert_eq!(store.claim(here, full).await.unwrap(), [], "its queue is full");
    let unserved = Room { unserved: vec![method], ..Room::of(10) };
    let taken = store.claim(here, unserved).await.unwrap().pop().expect("somebody has to take care of it");
    assert_eq!((taken.attempt.ticket, taken.attempt.number, taken.failures), (lost.ticket, 2, 0));
    let late = store.finish(lost, Outcome::Done("stale".into())).await;
    assert!(matches!(late, Err(Error::Superseded(_))), "{late:?}");
    store.finish(taken.attempt, Outcome::Done("bread".into())).await.unwrap();
    assert_eq!(store.whole(lost.ticket).await.unwrap().1, Some("bread".into()));
    let records = store.attempts(lost.ticket).await.unwrap();
    assert_eq!(records.iter().map(|one| (one.number, one.failure.code)).collect::<Vec<_>>(), [(1, 14)]);
    assert_eq!(store.get(lost.ticket).await.unwrap().failures, 0);
    store.finish(kept, Outcome::Cancelled).await.unwrap();
}

pub(crate) async fn a_lease_ends_by_itself(place: &dyn Place) {
    let store = open(place).await;
    let (gone, here) = (GatewayId(TicketId::new().0), gateway(&*store).await);
    store.renew(gone, Duration::from_millis(300)).await.unwrap();
    let lost = begin(&*store, gone).await;
    let taken = super::eventually("the lease is over", || async {
        store.claim(here, Room::of(10)).await.unwrap().pop()
    });
    let taken = taken.await;
    assert_eq!((taken.attempt.ticket, taken.lost_by), (lost.ticket, Some(gone)));
    store.release(taken.attempt, Duration::ZERO).await.unwrap();
    let again = store.claim(here, Room::of(10)).await.unwrap().pop().unwrap();
    assert_eq!((again.attempt.ticket, again.lost_by), (lost.ticket, None), "it was given back");
}

pub(crate) async fn progress_is_seen_while_it_runs_and_after(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let attempt = begin(&*store, gateway).await;
    let progress = Progress { done: 3, total: 7, note: "rising".into() };
    store.progress(attempt, progress.clone()).await.unwrap();
    assert_eq!(store.get(attempt.ticket).await.unwrap().progress, progress);
    store.finish(attempt, Outcome::Done("bread".into())).await.unwrap();
    assert_eq!(store.get(attempt.ticket).await.unwrap().progress, progress);
    let late = store.progress(attempt, Progress::default()).await;
    assert!(matches!(late, Err(Error::Superseded(_))), "{late:?}");
}

pub(crate) async fn what_its_gateway_does_not_know_of_is_due_again(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let [unknown, known, unwanted] =
        [begin(&*store, gateway).await, begin(&*store, gateway).await, begin(&*store, gateway).await];
    let young = store.disown(gateway, vec![known.ticket], Duration::from_secs(60)).await.unwrap();
    assert_eq!(young, 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let known_here = vec![known.ticket];
    assert_eq!(store.disown(gateway, known_here.clone(), Duration::ZERO).await.unwrap(), 2);
    assert_eq!(store.cancel(unwanted.ticket).await.unwrap(), Cancelled::Now);
    assert_eq!(store.next_due(Vec::new(), Vec::new()).await.unwrap(), Some(Duration::ZERO));
    let taken = store.claim(gateway, Room::of(10)).await.unwrap();
    let [taken] = taken.as_slice() else { panic!("{taken:?}") };
    assert_eq!((taken.attempt.ticket, taken.attempt.number, taken.failures), (unknown.ticket, 2, 0));
    assert!(has_waited(taken, 15), "since the lost one began: {:?}", taken.waited);
    let late = store.finish(unknown, Outcome::Done("stale".into())).await;
    assert!(matches!(late, Err(Error::Superseded(_))), "{late:?}");
    store.finish(taken.attempt, Outcome::Done("bread".into())).await.unwrap();
    store.finish(known, Outcome::Done("bread".into())).await.unwrap();
    assert_eq!(store.disown(gateway, known_here, Duration::ZERO).await.unwrap(), 0);
}

pub(crate) async fn a_claim_takes_one_and_no_more_bytes_than_it_may(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    for length in [400, 400, 300_000, 400] {
        submit(&*store, NewTicket { request: vec![7; length].into(), ..new() }).await;
    }
    let mut lengths = Vec::new();
    for bytes in [900, 900, 0, 0] {
        let claimed = store.claim(gateway, Room { bytes, ..Room::of(10) }).await.unwrap();
        lengths.push(claimed.iter().map(|one| one.request.len()).collect::<Vec<_>>());
    }
    assert_eq!(lengths, [vec![400, 400], vec![300_000], vec![400], vec![]]);
}

pub(crate) async fn a_long_queue_is_passed_over_where_it_is_full(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let queue = |tenant: &str, method: &str| Queue { tenant: tenant.into(), method: method.into() };
    let long = queue("me", "kitchen.v1.Kitchen/Bake");
    for (Queue { tenant, method }, tickets) in
        [(long.clone(), 30), (queue("me", "a.B/C"), 5), (queue("you", &long.method), 5)]
    {
        for _ in 0..tickets {
            let (tenant, method) = (tenant.clone(), method.clone());
            submit(&*store, NewTicket { tenant, method, ..new() }).await;
        }
    }
    let later = Timestamp(4_000_000_000_000);
    submit(
        &*store,
        NewTicket { not_before: Some(later), method: "b.B/C".into(), tenant: "me".into(), ..new() },
    )
    .await;
    let claim = async |tickets, bytes, full: &[&Queue]| {
        let full = full.iter().copied().cloned().collect();
        let room = Room { tickets, bytes, full, unserved: Vec::new() };
        let claimed = store.claim(gateway, room).await.unwrap();
        claimed.into_iter().map(|one| queue(&one.tenant, &one.method)).collect::<Vec<_>>()
    };
    assert_eq!(claim(10, u64::MAX, &[]).await, vec![long.clone(); 10], "the longest due first");
    let (other, yours) = (queue("me", "a.B/C"), queue("you", &long.method));
    let both = [yours.clone(), yours.clone(), other.clone(), other.clone()];
    assert_eq!(claim(4, u64::MAX, &[&long]).await, both);
    // One is given whatever its size: so they take turns.
    assert_eq!(claim(9, 0, &[&long]).await, std::slice::from_ref(&yours));
    assert_eq!(claim(9, 0, &[&long]).await, std::slice::from_ref(&other));
    assert_eq!(claim(9, u64::MAX, &[&long, &other]).await, [yours.clone(), yours.clone()]);
    assert_eq!(claim(9, u64::MAX, &[&long]).await, [other.clone(), other.clone()]);
    assert_eq!(claim(9, u64::MAX, &[&long]).await, []);
    assert!(
        store.next_due(vec![long.clone()], Vec::new()).await.unwrap().unwrap() > LONG,
        "of the one that is not due yet"
    );
    assert_eq!(store.next_due(vec![other.clone()], Vec::new()).await.unwrap(), Some(Duration::ZERO));
    assert_eq!(claim(99, u64::MAX, &[&other]).await, vec![long; 20]);
}

pub(crate) async fn a_method_that_nobody_serves_is_passed_over(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    for (tenant, method) in [("you", "a.B/C"), ("me", "a.B/C"), ("you", "a.B/D")] {
        submit(&*store, NewTicket { tenant: tenant.into(), method: method.into(), ..new() }).await;
    }
    let unserved = vec!["a.B/C".to_owned()];
    assert_eq!(store.next_due(Vec::new(), unserved.clone()).await.unwrap(), Some(Duration::ZERO));
    let room = Room { unserved: unserved.clone(), ..Room::of(10) };
    let claimed = store.claim(gateway, room.clone()).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.method.as_str()).collect::<Vec<_>>(), ["a.B/D"]);
    assert_eq!(store.next_due(Vec::new(), unserved).await.unwrap(), None);
    assert_eq!(store.claim(gateway, room).await.unwrap(), []);
    assert_eq!(store.claim(gateway, Room::of(10)).await.unwrap().len(), 2);
}

pub(crate) async fn of_many_queues_the_one_that_has_something_due_is_found(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let submit = |number: u32, not_before| {
        let (store, tenant) = (store.clone(), format!("{number:03}"));
        async move { submit(&*store, NewTicket { tenant, not_before, ..new() }).await }
    };
    let later = Some(Timestamp(4_000_000_000_000));
    futures_util::future::join_all((0..600).map(|number| submit(number, later))).await;
    let full = vec![Queue { tenant: "700".into(), method: new().method }];
    let claim = async || {
        let claimed = store.claim(gateway, Room { full: full.clone(), ..Room::of(10) }).await.unwrap();
        claimed.into_iter().map(|one| one.tenant).collect::<Vec<_>>()
    };
    assert!(store.next_due(full.clone(), Vec::new()).await.unwrap().unwrap() > LONG, "nothing is due");
    submit(700, None).await;
    assert!(claim().await.is_empty(), "the first of them are not due");
    assert!(store.next_due(full.clone(), Vec::new()).await.unwrap().unwrap() > LONG, "nor is any other");
    for number in [100, 550] {
        submit(number, None).await;
        assert_eq!(store.next_due(full.clone(), Vec::new()).await.unwrap(), Some(Duration::ZERO));
        assert_eq!(claim().await, [format!("{number:03}")], "the claim begins there");
    }
}
