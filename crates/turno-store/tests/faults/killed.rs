//! kill -9 at random moments under load: all that was acknowledged is there, and nothing by half.

use std::time::Duration;

use rand::Rng;
use turno_store::{Error, Outcome, Room, State, TicketId};

use super::child::Submitter;
use super::{Acknowledged, finish_all, request_of, response_of, telling};
use crate::suite::{self, eventually};

const KILLS: usize = 20;

fn moment() -> Duration {
    Duration::from_millis(rand::rng().random_range(1..150))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let address = directory.path().to_str().unwrap().to_owned();
    let mut heard = Acknowledged::default();
    for _ in 0..KILLS {
        let submitter = Submitter::start(&address);
        let mut round = Acknowledged::default();
        tokio::task::block_in_place(|| submitter.kill_after(moment(), &mut round));
        round.must_be_in(&*turno_store::open(&address).await.unwrap()).await;
        heard.stored.extend(round.stored);
        heard.results.extend(round.results);
    }
    let store = turno_store::open(&address).await.unwrap();
    finish_all(&*store).await;
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.running), (0, 0), "everything goes on by itself");
    heard.done = heard.stored.clone();
    heard.must_be_in(&*store).await;
    assert!(heard.stored.len() > KILLS && !heard.results.is_empty(), "there was no load");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_what_its_gateways_acknowledged() {
    let Some(server) = suite::server::shared() else { return };
    let address = server.address(&server.database());
    let mut heard = Acknowledged::default();
    for _ in 0..5 {
        let (one, other) = (Submitter::start(&address), Submitter::start(&address));
        tokio::task::block_in_place(|| one.kill_after(moment(), &mut heard));
        tokio::task::block_in_place(|| other.kill_after(moment(), &mut heard));
    }
    let store = turno_store::open(&address).await.unwrap();
    heard.must_be_in(&*store).await;
    assert!(!heard.stored.is_empty(), "there was no load");
}

/// The server itself is killed under a gateway that goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgres_has_what_it_acknowledged() {
    let Some(mut server) = suite::server::Server::start() else { return };
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let mut heard = Acknowledged::default();
    for _ in 0..5 {
        let submits = futures_util::future::join_all((0..300).map(|_| async {
            let id = TicketId::new();
            store.submit(telling(id, None)).await.is_ok().then_some(id)
        }));
        let kill = async {
            tokio::time::sleep(Duration::from_millis(rand::rng().random_range(1..40))).await;
            tokio::task::block_in_place(|| {
                server.kill();
                server.run();
            });
        };
        let (submitted, ()) = tokio::join!(submits, kill);
        heard.stored.extend(submitted.into_iter().flatten());
        eventually("the store answers again", || async { store.counts().await.ok() }).await;
        heard.must_be_in(&*store).await;
    }
    assert!(!heard.stored.is_empty(), "there was no load");
}

/// Two gateways share a store; one is killed, and the other takes over when its lease has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_gateways_tickets_go_on_at_another() {
    let Some(server) = suite::server::shared() else { return };
    let address = server.address(&server.database());
    let (one, other) =
        (turno_store::open(&address).await.unwrap(), turno_store::open(&address).await.unwrap());
    let dying = turno_store::GatewayId(TicketId::new().0);
    one.renew(dying, Duration::from_millis(400)).await.unwrap();
    let id = TicketId::new();
    let attempt = suite::submit(&*one, telling(id, Some(dying))).await.unwrap();
    let here = suite::gateway(&*other).await;
    assert_eq!(other.claim(here, Room::of(10)).await.unwrap(), [], "it is held");
    assert_eq!(other.cancel(id).await.unwrap(), turno_store::Cancelled::Asked(dying));
    let taken =
        eventually("the lease runs out", || async { other.claim(here, Room::of(10)).await.unwrap().pop() })
            .await;
    assert_eq!((taken.attempt.ticket, taken.attempt.number, taken.request), (id, 2, request_of(id)));
    let late = one.finish(attempt, Outcome::Done(response_of(id))).await;
    assert!(matches!(late, Err(Error::Superseded(_))), "{late:?}");
    other.finish(taken.attempt, Outcome::Cancelled).await.unwrap();
    assert_eq!(suite::state(&*one, id).await, State::Cancelled);
}

/// What one gateway changes, the other hears of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_hear_of_each_other() {
    let Some(server) = suite::server::shared() else { return };
    let address = server.address(&server.database());
    let (one, other) =
        (turno_store::open(&address).await.unwrap(), turno_store::open(&address).await.unwrap());
    let (here, _there) = (suite::gateway(&*one).await, suite::gateway(&*other).await);
    let attempt = suite::begin(&*one, here).await;
    let heard = eventually("a word", || async {
        // The listener may still be on its way: each of these is a word of its own.
        one.progress(attempt, turno_store::Progress::default()).await.unwrap();
        tokio::time::timeout(Duration::from_millis(100), other.changed()).await.ok()
    });
    let news = heard.await;
    assert_eq!((news.ticket, news.is_due), (attempt.ticket, false));
    let waiting = TicketId::new();
    suite::submit(&*one, telling(waiting, None)).await;
    let heard = eventually("its word", || async {
        // There may be more of progress before it.
        let heard = tokio::time::timeout(Duration::from_millis(100), other.changed()).await.ok();
        heard.filter(|news| news.ticket == waiting)
    });
    assert!(heard.await.is_due);
    let silent = tokio::time::timeout(Duration::from_millis(200), one.changed()).await;
    assert!(silent.is_err(), "one's own changes are no news");
}

/// Many gateways claim at the same time: nobody gets what another has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_claimed_by_one_gateway() {
    let Some(server) = suite::server::shared() else { return };
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let submits = (0..200).map(|_| suite::submit(&*store, telling(TicketId::new(), None)));
    futures_util::future::join_all(submits).await;
    let claims = (0..4).map(|_| async {
        let store = turno_store::open(&address).await.unwrap();
        let gateway = suite::gateway(&*store).await;
        let mut claimed = Vec::new();
        loop {
            let some = store.claim(gateway, Room::of(7)).await.unwrap();
            if some.is_empty() {
                return claimed;
            }
            claimed.extend(some.into_iter().map(|one| one.attempt.ticket));
        }
    });
    let mut claimed = futures_util::future::join_all(claims).await.concat();
    claimed.sort();
    claimed.dedup();
    assert_eq!(claimed.len(), 200);
    assert_eq!(store.counts().await.unwrap().running, 200);
}
