//! Listings and counts.

use std::collections::BTreeMap;

use turno_store::{Counts, NewTicket, Outcome, Query, State, Store, TicketId, Timestamp};

use super::{Place, begin, dead, gateway, new, open, submit};

fn all() -> Query {
    Query { most: 100, ..Query::default() }
}

async fn found(store: &dyn Store, query: Query) -> Vec<TicketId> {
    let page = store.list(&query).await.unwrap();
    page.tickets.iter().map(|ticket| ticket.id).collect()
}

pub(crate) async fn a_listing_goes_from_page_to_page(place: &dyn Place) {
    let store = open(place).await;
    let mut tickets = Vec::new();
    for _ in 0..25 {
        let ticket = new();
        tickets.push(ticket.id);
        submit(&*store, ticket).await;
    }
    tickets.reverse();
    let (mut listed, mut query) = (Vec::new(), Query { most: 7, ..Query::default() });
    loop {
        let page = store.list(&query).await.unwrap();
        query.after = page.tickets.last().map(|ticket| ticket.id);
        listed.extend(page.tickets.iter().map(|ticket| ticket.id));
        if !page.has_more {
            break;
        }
    }
    assert_eq!(listed, tickets);
    assert_eq!(store.list(&Query { most: 1, ..Query::default() }).await.unwrap().tickets.len(), 1);
    let ticket = store.get(tickets[0]).await.unwrap();
    assert_eq!(store.list(&all()).await.unwrap().tickets[0], ticket);
}

pub(crate) async fn every_part_of_a_query_must_hold(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let label = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let red = NewTicket { labels: label("colour", "red"), ..new() };
    let both = BTreeMap::from([("colour".into(), "red".into()), ("a\"b.c".into(), "'%".into())]);
    let both = NewTicket { labels: both, method: "kitchen.v1.Kitchen/Fry".into(), ..new() };
    let other = NewTicket { tenant: "mario".into(), method: "kitchen.v1.Kitchen2/Bake".into(), ..new() };
    for ticket in [&red, &both, &other] {
        submit(&*store, ticket.clone()).await;
    }
    let gone = dead(&*store, gateway, new()).await;
    let runs = begin(&*store, gateway).await.ticket;
    let of = |query: Query| found(&*store, query);
    assert_eq!(of(all()).await, [runs, gone, other.id, both.id, red.id]);
    assert_eq!(of(Query { labels: label("colour", "red"), ..all() }).await, [both.id, red.id]);
    assert_eq!(of(Query { labels: both.labels.clone(), ..all() }).await, [both.id]);
    assert_eq!(of(Query { labels: label("colour", "RED"), ..all() }).await, []);
    assert_eq!(of(Query { states: vec![State::Dead], ..all() }).await, [gone]);
    assert_eq!(of(Query { states: vec![State::Dead, State::Running], ..all() }).await, [runs, gone]);
    assert_eq!(of(Query { tenant: Some("mario".into()), ..all() }).await, [other.id]);
    let method = |method: &str| Query { method: Some(method.into()), ..all() };
    assert_eq!(of(method("kitchen.v1.Kitchen/Fry")).await, [both.id]);
    assert_eq!(of(method("kitchen.v1.Kitchen/")).await, [runs, gone, both.id, red.id]);
    assert_eq!(of(method("kitchen.v1.Kitchen")).await, []);
    let waiting_red = Query { states: vec![State::Waiting], labels: label("colour", "red"), ..all() };
    assert_eq!(of(Query { after: Some(both.id), ..waiting_red }).await, [red.id]);
    let at = store.get(runs).await.unwrap().submitted_at;
    assert_eq!(of(Query { since: Some(Timestamp(at.0 + 1)), ..all() }).await, []);
    assert_eq!(of(Query { before: Some(Timestamp(at.0 + 1)), ..all() }).await.len(), 5);
    assert_eq!(of(Query { since: Some(Timestamp(0)), before: Some(Timestamp(1)), ..all() }).await, []);
}

pub(crate) async fn counts_say_how_many_there_are(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    assert_eq!(store.counts().await.unwrap(), Counts::default());
    submit(&*store, new()).await;
    begin(&*store, gateway).await;
    dead(&*store, gateway, new()).await;
    let done = begin(&*store, gateway).await;
    store.finish(done, Outcome::Done("bread".into())).await.unwrap();
    let failed = begin(&*store, gateway).await;
    store.finish(failed, Outcome::Failed(super::burnt())).await.unwrap();
    let cancelled = begin(&*store, gateway).await;
    store.finish(cancelled, Outcome::Cancelled).await.unwrap();
    let one_each = Counts { waiting: 1, running: 1, done: 1, failed: 1, cancelled: 1, dead: 1 };
    assert_eq!(store.counts().await.unwrap(), one_each);
    drop(store);
    assert_eq!(open(place).await.counts().await.unwrap(), one_each);
}
