//! Cancelled, deleted, edited, redriven, expired.

use std::collections::BTreeMap;
use std::time::Duration;

use turno_store::{Cancelled, Counts, Error, NewTicket, Outcome, Room, State, TicketId};

use super::{Place, begin, burnt, dead, gateway, new, open, state, submit};

pub(crate) async fn what_nobody_holds_is_cancelled_then_and_there(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let waiting = new();
    submit(&*store, waiting.clone()).await;
    assert_eq!(store.cancel(waiting.id).await.unwrap(), Cancelled::Now);
    assert_eq!(store.cancel(waiting.id).await.unwrap(), Cancelled::Ended(State::Cancelled));
    let between = begin(&*store, gateway).await;
    store.retry(between, burnt(), Duration::ZERO).await.unwrap();
    assert_eq!(store.cancel(between.ticket).await.unwrap(), Cancelled::Now);
    assert_eq!(store.claim(gateway, Room::of(10)).await.unwrap(), []);
    let ticket = store.get(between.ticket).await.unwrap();
    assert_eq!((ticket.state, ticket.failures, ticket.cancel_requested), (State::Cancelled, 1, true));
    assert!(matches!(store.cancel(TicketId::new()).await, Err(Error::NotFound(_))));
}

pub(crate) async fn what_runs_is_asked_to_stop(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let running = begin(&*store, gateway).await;
    assert_eq!(store.cancel(running.ticket).await.unwrap(), Cancelled::Asked(gateway));
    let ticket = store.get(running.ticket).await.unwrap();
    assert_eq!((ticket.state, ticket.cancel_requested), (State::Running, true));
    store.finish(running, Outcome::Cancelled).await.unwrap();
    assert_eq!(store.cancel(running.ticket).await.unwrap(), Cancelled::Ended(State::Cancelled));
    let retried = begin(&*store, gateway).await;
    store.cancel(retried.ticket).await.unwrap();
    assert_eq!(store.retry(retried, burnt(), Duration::ZERO).await.unwrap(), State::Cancelled);
    assert_eq!(state(&*store, retried.ticket).await, State::Cancelled);
    let released = begin(&*store, gateway).await;
    store.cancel(released.ticket).await.unwrap();
    store.release(released, Duration::ZERO).await.unwrap();
    assert_eq!(state(&*store, released.ticket).await, State::Cancelled);
    let faster = begin(&*store, gateway).await;
    store.cancel(faster.ticket).await.unwrap();
    store.finish(faster, Outcome::Done("bread".into())).await.unwrap();
    assert_eq!(state(&*store, faster.ticket).await, State::Done);
}

pub(crate) async fn a_wish_to_cancel_outlives_a_gateway(place: &dyn Place) {
    let store = open(place).await;
    let (gone, here) = (gateway(&*store).await, gateway(&*store).await);
    let running = begin(&*store, gone).await;
    assert_eq!(store.cancel(running.ticket).await.unwrap(), Cancelled::Asked(gone));
    store.resign(gone).await.unwrap();
    let taken = store.claim(here, Room::of(1)).await.unwrap().pop().unwrap();
    assert!(taken.cancel_requested);
    store.finish(taken.attempt, Outcome::Cancelled).await.unwrap();
    let second = begin(&*store, gateway(&*store).await).await;
    store.resign(second.gateway).await.unwrap();
    assert_eq!(store.cancel(second.ticket).await.unwrap(), Cancelled::Now, "its gateway is gone");
}

pub(crate) async fn a_deleted_ticket_is_gone_when_it_has_ended(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let ended = dead(&*store, gateway, new()).await;
    store.delete(ended).await.unwrap();
    assert!(matches!(store.get(ended).await, Err(Error::NotFound(_))));
    assert!(matches!(store.delete(ended).await, Err(Error::NotFound(_))));
    let running = begin(&*store, gateway).await;
    store.delete(running.ticket).await.unwrap();
    let ticket = store.get(running.ticket).await.unwrap();
    assert_eq!((ticket.state, ticket.delete_requested), (State::Running, true));
    store.finish(running, Outcome::Done("bread".into())).await.unwrap();
    assert!(matches!(store.get(running.ticket).await, Err(Error::NotFound(_))));
    let waiting = new();
    submit(&*store, waiting.clone()).await;
    store.delete(waiting.id).await.unwrap();
    assert_eq!(store.cancel(waiting.id).await.unwrap(), Cancelled::Now);
    assert!(matches!(store.get(waiting.id).await, Err(Error::NotFound(_))));
    let retried = begin(&*store, gateway).await;
    store.delete(retried.ticket).await.unwrap();
    store.retry(retried, burnt(), Duration::ZERO).await.unwrap();
    let again = store.claim(gateway, Room::of(1)).await.unwrap().pop().unwrap();
    store.finish(again.attempt, Outcome::Failed(burnt())).await.unwrap();
    assert!(matches!(store.attempts(retried.ticket).await, Err(Error::NotFound(_))));
    assert_eq!(store.counts().await.unwrap(), Counts::default());
}

pub(crate) async fn only_what_is_dead_is_edited(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let running = begin(&*store, gateway).await;
    let refused = store.edit(running.ticket, Some("batter".into()), None).await;
    assert!(matches!(refused, Err(Error::WrongState { state: "running", .. })), "{refused:?}");
    let ticket = dead(&*store, gateway, new()).await;
    let edited = store.edit(ticket, Some("batter!".into()), Some(9)).await.unwrap();
    assert_eq!((edited.id, edited.state, edited.request_bytes, edited.retries), (ticket, State::Dead, 7, 9));
    assert_eq!(store.request(ticket).await.unwrap(), "batter!");
    let large = vec![3; 700_000];
    store.edit(ticket, Some(large.clone().into()), None).await.unwrap();
    assert_eq!(store.request(ticket).await.unwrap(), large);
    store.edit(ticket, Some("small again".into()), None).await.unwrap();
    assert_eq!(store.request(ticket).await.unwrap(), "small again");
    assert!(matches!(store.edit(TicketId::new(), None, None).await, Err(Error::NotFound(_))));
}

pub(crate) async fn a_dead_ticket_is_redriven_once(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let labels = BTreeMap::from([("batch".to_owned(), "7".to_owned())]);
    let asked = NewTicket { labels: labels.clone(), request: vec![5; 400_000].into(), ..new() };
    let old = dead(&*store, gateway, asked.clone()).await;
    let id = TicketId::new();
    let fresh = store.redrive(old, id).await.unwrap();
    assert_eq!((fresh.id, fresh.state, fresh.redrive_of), (id, State::Waiting, Some(old)));
    assert_eq!((&fresh.method, &fresh.tenant, &fresh.labels), (&asked.method, &asked.tenant, &labels));
    assert_eq!((fresh.retries, fresh.attempts, fresh.request_bytes), (3, 0, 400_000));
    assert_eq!(store.get(old).await.unwrap().redriven_as, Some(id));
    assert_eq!(store.redrive(old, TicketId::new()).await.unwrap().id, id);
    assert!(matches!(store.edit(old, None, Some(1)).await, Err(Error::WrongState { state: "dead", .. })));
    let claimed = store.claim(gateway, Room::of(10)).await.unwrap().pop().unwrap();
    assert_eq!((claimed.attempt.ticket, claimed.request), (id, asked.request));
    assert_eq!((claimed.metadata, claimed.timeout), (asked.metadata, asked.timeout));
    assert!(matches!(store.redrive(id, TicketId::new()).await, Err(Error::WrongState { .. })));
    assert_eq!(store.counts().await.unwrap(), Counts { running: 1, dead: 1, ..Counts::default() });
    store.delete(id).await.unwrap();
    assert_eq!(store.redrive(old, TicketId::new()).await.unwrap().id, id);
    store.finish(claimed.attempt, Outcome::Done("bread".into())).await.unwrap();
    assert_eq!(state(&*store, id).await, State::Done, "who has redriven it again wants it");
    store.delete(id).await.unwrap();
    match store.redrive(old, TicketId::new()).await {
        Err(Error::WrongState { ticket, hint, .. }) => {
            assert!(ticket == old && hint.contains(&format!("redriven as {id}")), "{ticket}: {hint}");
        }
        other => panic!("it has run, and is not run again: {other:?}"),
    }
}

pub(crate) async fn results_expire(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let short = NewTicket { keep_result_for: Duration::ZERO, ..new() };
    let mut gone = Vec::new();
    for _ in 0..5 {
        gone.push(dead(&*store, gateway, NewTicket { id: TicketId::new(), ..short.clone() }).await);
    }
    let stays = dead(&*store, gateway, new()).await;
    let running = begin(&*store, gateway).await;
    for ticket in gone {
        assert!(matches!(store.get(ticket).await, Err(Error::NotFound(_))));
        assert!(matches!(store.request(ticket).await, Err(Error::NotFound(_))));
    }
    assert_eq!(store.expire(3).await.unwrap(), 3);
    assert_eq!(store.expire(3).await.unwrap(), 2);
    assert_eq!(store.expire(3).await.unwrap(), 0);
    assert_eq!(state(&*store, stays).await, State::Dead);
    assert_eq!(state(&*store, running.ticket).await, State::Running);
    assert_eq!(store.counts().await.unwrap(), Counts { running: 1, dead: 1, ..Counts::default() });
}
