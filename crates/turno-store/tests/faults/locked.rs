//! A ticket is a row that a person can query: one who leaves a transaction open on it holds up that ticket alone.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use turno_store::{Error, IdempotencyKey, NewTicket, Outcome, State, Submitted};

use crate::suite::{self, begin, burnt, gateway, new, submit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_has_locked_holds_up_no_other() {
    let Some(server) = suite::server::shared() else { return };
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let gateway = gateway(&*store).await;
    let (locked, other) = (begin(&*store, gateway).await, begin(&*store, gateway).await);
    let options: sqlx::postgres::PgConnectOptions = address.parse().unwrap();
    let mut person: PgConnection = options.connect().await.unwrap();
    let mut open = person.begin().await.unwrap();
    let sql = "UPDATE turno.ticket SET labels = NULL WHERE id = $1";
    sqlx::query(sql).bind(locked.ticket.0).execute(&mut *open).await.unwrap();
    let changes = async {
        tokio::join!(
            store.finish(locked, Outcome::Done("bread".into())),
            store.finish(other, Outcome::Done("bread".into())),
            submit(&*store, new()),
        )
    };
    // Before a lease ends: renewals wait behind it too.
    let made = tokio::time::timeout(Duration::from_secs(8), changes).await;
    let (refused, finished, submitted) = made.expect("it holds them up for a second");
    assert!(matches!(refused, Err(Error::Late(_))), "{refused:?}");
    finished.unwrap();
    assert_eq!(submitted, None);
    open.rollback().await.unwrap();
    store.finish(locked, Outcome::Done("bread".into())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_ticket_is_just_being_swept_is_answered() {
    let Some(server) = suite::server::shared() else { return };
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let gateway = gateway(&*store).await;
    let keyed = || NewTicket {
        key: Some(IdempotencyKey { key: "a".into(), remembered_for: None }),
        keep_result_for: Duration::ZERO,
        begin_at: Some(gateway),
        ..new()
    };
    let attempt = submit(&*store, keyed()).await.unwrap();
    store.finish(attempt, Outcome::Failed(burnt())).await.unwrap();
    let options: sqlx::postgres::PgConnectOptions = address.parse().unwrap();
    let mut sweep: PgConnection = options.connect().await.unwrap();
    let mut open = sweep.begin().await.unwrap();
    let sql = "DELETE FROM turno.ticket WHERE id = $1";
    sqlx::query(sql).bind(attempt.ticket.0).execute(&mut *open).await.unwrap();
    let Submitted::Known(left) = store.submit(keyed()).await.unwrap() else { panic!("the key is known") };
    assert_eq!((left.id, left.state, left.forgotten), (attempt.ticket, State::Failed, true));
    open.rollback().await.unwrap();
}
