//! Databases of older versions, left as they may be, and with others at work in them.

use sqlx::{Connection as _, PgConnection};

use super::super::server;
use super::{STEPS, make};
use crate::{Error, Query, State, TicketId};

/// One that a Turno of `version` has made, and its address.
async fn database(version: usize) -> Option<(String, PgConnection)> {
    let server = server::shared()?;
    let address = server.address(&server.database());
    let mut person = PgConnection::connect(&address).await.unwrap();
    make(&mut person, &STEPS[..version]).await.unwrap();
    Some((address, person))
}

/// A dead ticket, as every version has them.
async fn dead(person: &mut PgConnection) -> TicketId {
    let dead = TicketId::new();
    let sql = "INSERT INTO turno.ticket (id, state, method, tenant, attempts, retries, submitted_at, ended_at, keep_ms, \
               request_bytes, request_seal, failure_code, failure_message) \
               VALUES ($1, 'dead', 'a.B/C', 'me', 1, 0, 5, 6, 1000, 0, decode('00', 'hex'), 14, 'burnt')";
    sqlx::query(sql).bind(dead.0).execute(&mut *person).await.unwrap();
    let sql = "INSERT INTO turno.attempt (ticket, number, began_at, ended_at, code, message) \
               VALUES ($1, 1, 5, 6, 14, 'burnt')";
    sqlx::query(sql).bind(dead.0).execute(&mut *person).await.unwrap();
    dead
}

/// How many columns the index of queues has; `None` if it is of no use.
async fn queues(person: &mut PgConnection) -> Option<i64> {
    let sql = "SELECT indnkeyatts::bigint FROM pg_index \
               WHERE indexrelid = to_regclass('turno.ticket_queue') AND indisvalid";
    sqlx::query_scalar::<_, i64>(sql).fetch_optional(&mut *person).await.unwrap()
}

async fn refused(address: &str) -> String {
    match crate::open(address).await.err() {
        Some(Error::Unusable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_older_database_becomes_this_one() {
    for version in 1..STEPS.len() {
        let Some((address, mut person)) = database(version).await else { return };
        let dead = dead(&mut person).await;
        let store = crate::open(&address).await.unwrap();
        assert_eq!(queues(&mut person).await, Some(3), "{version}");
        let query = Query { states: vec![State::Dead], most: 10, ..Query::default() };
        let found = store.list(&query).await.unwrap().tickets;
        assert_eq!(found.iter().map(|ticket| ticket.id).collect::<Vec<_>>(), [dead], "{version}");
        let failure = found[0].failure.as_ref().expect("it was not sealed then");
        assert_eq!((failure.code, failure.message.as_str()), (14, "burnt"), "{version}");
        let attempts = store.attempts(dead).await.unwrap();
        assert_eq!(attempts.iter().map(|one| &one.failure).collect::<Vec<_>>(), [failure], "{version}");
        assert!(store.knows_method("a.B/C").await.unwrap(), "{version}");
        let sql = "SELECT max(number) FROM turno.version";
        let newest = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut person).await.unwrap();
        assert_eq!(newest, STEPS.len() as i64, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_left_half_built_is_built_by_one_of_many() {
    let Some((address, mut person)) = database(2).await else { return };
    dead(&mut person).await;
    dead(&mut person).await;
    // It fails for there are two of one tenant, and is left.
    let half = "CREATE UNIQUE INDEX CONCURRENTLY ticket_queue ON turno.ticket (tenant)";
    sqlx::raw_sql(half).execute(&mut person).await.unwrap_err();
    assert_eq!(queues(&mut person).await, None);
    let opened = futures_util::future::join_all((0..4).map(|_| crate::open(&address))).await;
    for store in opened {
        store.unwrap();
    }
    assert_eq!(queues(&mut person).await, Some(3));
    let sql = "SELECT count(*) FROM turno.version";
    let steps = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut person).await.unwrap();
    assert_eq!(steps, STEPS.len() as i64, "each is taken once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_locked_a_table_is_told_of_and_not_waited_for_for_ever() {
    let Some((address, mut person)) = database(3).await else { return };
    let mut open = person.begin().await.unwrap();
    sqlx::query("LOCK TABLE turno.attempt IN ACCESS SHARE MODE").execute(&mut *open).await.unwrap();
    let why = refused(&address).await;
    assert!(why.contains("turno.attempt") && why.contains("version 4"), "{why}");
    // It ends while the next one tries.
    let ended = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        open.rollback().await.unwrap();
    };
    let (opened, ()) = tokio::join!(crate::open(&address), ended);
    opened.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_database_is_refused() {
    let Some((address, mut person)) = database(STEPS.len()).await else { return };
    sqlx::query("INSERT INTO turno.version (number) VALUES (99)").execute(&mut person).await.unwrap();
    let why = refused(&address).await;
    assert!(why.contains("newer Turno"), "{why}");
}
