//! A clock that was set back while nobody ran, by an hour.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use turno_store::{NewTicket, Room, Store, TicketId, Timestamp};

use crate::Directory;
use crate::suite::{self, Place as _, begin, burnt, gateway, new, submit};

const AN_HOUR_LATER: &str = "UPDATE turno.ticket SET submitted_at = submitted_at + 3600000, began_at = began_at + 3600000, \
    due_at = due_at + 3600000";

/// A store that owes a ticket another attempt after `pause`.
async fn owing(directory: &Directory, pause: Duration) -> (Arc<dyn Store>, TicketId) {
    let store = suite::open(directory).await;
    let gateway = gateway(&*store).await;
    let attempt = begin(&*store, gateway).await;
    store.retry(attempt, burnt(), pause).await.unwrap();
    (store, attempt.ticket)
}

/// What it gives another gateway.
async fn claimed(store: &dyn Store) -> Vec<TicketId> {
    let gateway = gateway(store).await;
    let claimed = store.claim(gateway, Room::of(10)).await.unwrap();
    let mut claimed: Vec<_> = claimed.into_iter().map(|one| one.attempt.ticket).collect();
    claimed.sort();
    claimed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_due_is_due_and_what_waits_for_a_time_waits() {
    let directory = Directory::new();
    let (store, owed) = owing(&directory, Duration::from_secs(60)).await;
    let other = gateway(&*store).await;
    let running = begin(&*store, other).await.ticket;
    let waiting = new();
    submit(&*store, waiting.clone()).await;
    let later = NewTicket { not_before: Some(Timestamp(4_000_000_000_000)), ..new() };
    submit(&*store, later.clone()).await;
    assert_eq!(directory.ask(AN_HOUR_LATER).await, None);
    drop(store);
    let store = suite::open(&directory).await;
    let mut due = vec![running, owed, waiting.id];
    due.sort();
    assert_eq!(claimed(&*store).await, due);
    let waits = directory.ask("SELECT due_at FROM turno.ticket WHERE state = 'waiting'").await;
    assert_eq!(waits, later.not_before.map(|time| time.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_due_after_its_pause_where_the_clock_is_right() {
    let directory = Directory::new();
    let (store, _) = owing(&directory, Duration::from_secs(3600)).await;
    drop(store);
    let store = suite::open(&directory).await;
    assert_eq!(claimed(&*store).await, []);
}

/// All tickets that are due later are looked at only where the clock was set back: that takes long where there are many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_the_last_change_tells_that_the_clock_was_set_back() {
    let directory = Directory::new();
    let (store, owed) = owing(&directory, Duration::from_secs(60)).await;
    let sql = "UPDATE turno.ticket SET began_at = began_at + 3600000, due_at = due_at + 3600000";
    assert_eq!(directory.ask(sql).await, None);
    drop(store);
    let store = suite::open(&directory).await;
    assert_eq!(claimed(&*store).await, [], "nothing else is of a later time");
    drop(store);
    say_that_it_was_ahead(&directory);
    let store = suite::open(&directory).await;
    assert_eq!(claimed(&*store).await, [owed]);
}

/// The time of the last change is an hour later.
fn say_that_it_was_ahead(directory: &Directory) {
    let lock = File::options().write(true).open(directory.0.path().join("tickets.lock")).unwrap();
    lock.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
}

/// The clock was right when the attempts began, and ahead when one of them failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_does_not_wait_for_a_clock_that_was_ahead_when_its_attempt_failed() {
    let directory = Directory::new();
    let (store, owed) = owing(&directory, Duration::from_secs(60)).await;
    let sql = "UPDATE turno.attempt SET ended_at = ended_at + 3600000";
    assert_eq!(directory.ask(sql).await, None);
    let sql = "UPDATE turno.ticket SET due_at = due_at + 3600000";
    assert_eq!(directory.ask(sql).await, None);
    let other = gateway(&*store).await;
    let in_time = begin(&*store, other).await;
    store.retry(in_time, burnt(), Duration::from_secs(3600)).await.unwrap();
    drop(store);
    say_that_it_was_ahead(&directory);
    let store = suite::open(&directory).await;
    assert_eq!(claimed(&*store).await, [owed], "the other one's pause is not over");
}
