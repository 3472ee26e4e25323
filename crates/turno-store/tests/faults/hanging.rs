//! A database that hangs: whoever reads or changes something is told so within the time that is stated, and does it again when
//! it goes on.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres};
use turno_store::{Error, Query, Store, TicketId};

use crate::suite::server::Server;
use crate::suite::{self, eventually, new, submit};

/// 15 s are stated, as `connections.rs` and `session.rs` make sure; the rest is for a machine that is busy. It must not be for ever.
const STATED: Duration = Duration::from_secs(40);

const LOCK: &str = "BEGIN; LOCK TABLE turno.ticket IN ACCESS EXCLUSIVE MODE";

fn all() -> Query {
    Query { most: 10, ..Query::default() }
}

/// A store with a ticket, whose table somebody has locked.
async fn held(server: &Server) -> (Arc<dyn Store>, TicketId, PgConnection) {
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let ticket = new();
    submit(&*store, ticket.clone()).await;
    let mut person = PgConnection::connect(&address).await.unwrap();
    sqlx::raw_sql(LOCK).execute(&mut person).await.unwrap();
    (store, ticket.id, person)
}

async fn let_go(person: &mut PgConnection) {
    sqlx::raw_sql("ROLLBACK").execute(person).await.unwrap();
}

/// Waits until so many statements wait for the table of tickets.
async fn waiting_for_the_table(person: &mut PgConnection, many: i64) {
    let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'turno.ticket'::regclass";
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *person).await.unwrap() < many {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_has_locked_is_not_waited_for_for_ever() {
    let Some(server) = suite::server::shared() else { return };
    let (store, ticket, mut person) = held(server).await;
    let all = all();
    let reads = async { tokio::join!(store.get(ticket), store.list(&all)) };
    let (got, listed) = tokio::time::timeout(STATED, reads).await.expect("both have an end");
    assert!(matches!(got, Err(Error::Late(_))), "{got:?}");
    assert!(matches!(listed, Err(Error::Late(_))), "{listed:?}");
    let_go(&mut person).await;
    assert_eq!(store.get(ticket).await.unwrap().id, ticket);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_is_not_waited_for_for_ever() {
    let Some(server) = Server::start() else { return };
    let (store, ticket, mut person) = held(&server).await;
    let all = all();
    // They have been asked when the server stops: nothing tells it from one that is busy, but the time.
    let asked = async { tokio::join!(store.get(ticket), store.list(&all)) };
    let stopped = async {
        waiting_for_the_table(&mut person, 2).await;
        server.pause();
    };
    let both = async { tokio::join!(asked, stopped) };
    let ((got, listed), ()) = tokio::time::timeout(STATED, both).await.expect("both have an end");
    assert!(matches!(got, Err(Error::Unavailable(_))), "{got:?}");
    assert!(matches!(listed, Err(Error::Unavailable(_))), "{listed:?}");
    // More than there are connections, and nobody gets one.
    let later = join_all((0..12).map(|_| store.get(ticket)));
    for got in tokio::time::timeout(STATED, later).await.expect("all have an end") {
        assert!(matches!(got, Err(Error::Unavailable(_))), "{got:?}");
    }
    server.go_on();
    let_go(&mut person).await;
    let got = eventually("it is read again", || async { store.get(ticket).await.ok() }).await;
    assert_eq!(got.id, ticket);
}

/// The store's connections that have last been asked that, by their processes, but for those that were stopped.
async fn ours(person: &mut PgConnection, asked: &str, stopped: &[i32]) -> Vec<i32> {
    let sql = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'turno' \
         AND state = 'idle' AND query {asked} AND pid <> ALL($1)"
    );
    let asked = sqlx::query_scalar::<Postgres, i32>(AssertSqlSafe(sql)).bind(stopped);
    asked.fetch_all(person).await.unwrap()
}

/// A server that was left may be silent for long: nobody waits for what still leads there, be it left again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_wait_for_a_server_that_the_writer_has_left() {
    let Some(server) = Server::start() else { return };
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let mut person = PgConnection::connect(&address).await.unwrap();
    submit(&*store, new()).await;
    let mut stopped = Vec::<i32>::new();
    // More often than readers have connections.
    for _ in 0..6 {
        store.counts().await.unwrap();
        let listening = async {
            while ours(&mut person, "LIKE 'LISTEN%'", &stopped).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(STATED, listening).await.expect("it listens");
        let readers = ours(&mut person, "<> 'COMMIT'", &stopped).await;
        for process in readers {
            // It may have ended by itself.
            let _gone = kill_process(Pid::from_raw(process).unwrap(), Signal::STOP);
            stopped.push(process);
        }
        let writers = ours(&mut person, "= 'COMMIT'", &stopped).await;
        for process in writers {
            let sql = "SELECT pg_terminate_backend($1)";
            sqlx::query(sql).bind(process).execute(&mut person).await.unwrap();
        }
        submit(&*store, new()).await;
        assert!(store.counts().await.unwrap().waiting > 1);
    }
    server.go_on();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_not_waited_for_for_ever_either() {
    let Some(server) = Server::start() else { return };
    let store = turno_store::open(&server.address(&server.database())).await.unwrap();
    submit(&*store, new()).await;
    server.pause();
    // More than go into one transaction: the others wait behind it.
    let changes = join_all((0..3000).map(|_| store.submit(new())));
    for made in tokio::time::timeout(STATED, changes).await.expect("all have an end") {
        assert!(matches!(made, Err(Error::Away(_))), "{made:?}");
    }
    server.go_on();
    eventually("it is changed again", || async { store.submit(new()).await.ok() }).await;
    assert_eq!(store.counts().await.unwrap().waiting, 2, "what was refused is not stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_at_the_start_is_named() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("{}/turno", silent.local_addr().unwrap());
    let address = format!("postgres://turno@{place}?sslmode=disable");
    let opened = tokio::time::timeout(STATED, turno_store::open(&address)).await.expect("it has an end");
    let Err(Error::Unusable(why)) = opened.map(|_| ()) else { panic!("it is opened") };
    assert_eq!(why, format!("the store at {place} does not answer: there was no connection within 5 s"));
}
