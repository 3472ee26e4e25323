//! A clock that was set back while nobody ran, by an hour.

use std::fs::File;
use std::time::{Duration, SystemTime};

use turno_store::{NewTicket, Room, Timestamp};

use crate::Directory;
use crate::suite::{self, Place as _, begin, burnt, gateway, new, submit};

const AN_HOUR_LATER: &str = "UPDATE turno.ticket SET submitted_at = submitted_at + 3600000, began_at = began_at + 3600000, \
    due_at = due_at + 3600000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_due_is_due_and_what_waits_for_a_time_waits() {
    let directory = Directory::new();
    let store = suite::open(&directory).await;
    let one = gateway(&*store).await;
    let running = begin(&*store, one).await.ticket;
    let owed = begin(&*store, one).await;
    store.retry(owed, burnt(), Duration::from_secs(60)).await.unwrap();
    let waiting = new();
    submit(&*store, waiting.clone()).await;
    let later = NewTicket { not_before: Some(Timestamp(4_000_000_000_000)), ..new() };
    submit(&*store, later.clone()).await;
    assert_eq!(directory.ask(AN_HOUR_LATER).await, None);
    drop(store);
    let store = suite::open(&directory).await;
    let other = gateway(&*store).await;
    let claimed = store.claim(other, Room::of(10)).await.unwrap();
    let mut claimed: Vec<_> = claimed.into_iter().map(|one| one.attempt.ticket).collect();
    claimed.sort();
    let mut due = vec![running, owed.ticket, waiting.id];
    due.sort();
    assert_eq!(claimed, due);
    let waits = directory.ask("SELECT due_at FROM turno.ticket WHERE state = 'waiting'").await;
    assert_eq!(waits, later.not_before.map(|time| time.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_due_after_its_pause_where_the_clock_is_right() {
    let directory = Directory::new();
    let store = suite::open(&directory).await;
    let one = gateway(&*store).await;
    let owed = begin(&*store, one).await;
    store.retry(owed, burnt(), Duration::from_secs(3600)).await.unwrap();
    drop(store);
    let store = suite::open(&directory).await;
    let other = gateway(&*store).await;
    assert_eq!(store.claim(other, Room::of(10)).await.unwrap(), []);
}

/// All tickets that are due later are looked at only where the clock was set back: that takes long where there are many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_the_last_change_tells_that_the_clock_was_set_back() {
    let directory = Directory::new();
    let store = suite::open(&directory).await;
    let one = gateway(&*store).await;
    let owed = begin(&*store, one).await;
    store.retry(owed, burnt(), Duration::from_secs(60)).await.unwrap();
    let sql = "UPDATE turno.ticket SET began_at = began_at + 3600000, due_at = due_at + 3600000";
    assert_eq!(directory.ask(sql).await, None);
    drop(store);
    let store = suite::open(&directory).await;
    let other = gateway(&*store).await;
    assert_eq!(store.claim(other, Room::of(10)).await.unwrap(), [], "nothing else is of a later time");
    drop(store);
    let lock = File::options().write(true).open(directory.0.path().join("tickets.lock")).unwrap();
    lock.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    let store = suite::open(&directory).await;
    let other = gateway(&*store).await;
    let claimed = store.claim(other, Room::of(10)).await.unwrap();
    assert_eq!(claimed.into_iter().map(|one| one.attempt.ticket).collect::<Vec<_>>(), [owed.ticket]);
}
