//! A PostgreSQL that answers, and refuses what it took before.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use turno_store::{Error, NewTicket};

use crate::Database;
use crate::suite::{self, Place as _, eventually, new, submit};

/// What a person adds to the table of tickets.
const TRIGGER: [&str; 2] = [
    "CREATE FUNCTION turno.refuse() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'not burnt'; END $$",
    "CREATE TRIGGER refuse BEFORE INSERT ON turno.ticket FOR EACH ROW WHEN (NEW.method LIKE '%/Burn') \
     EXECUTE FUNCTION turno.refuse()",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_database_fails_at_spoils_no_other() {
    let Some(database) = Database::new() else { return };
    let store = suite::open(&database).await;
    for sql in TRIGGER {
        assert_eq!(database.ask(sql).await, None);
    }
    let submits = (0..40).map(|number| {
        let method = if number == 20 { "kitchen.v1.Kitchen/Burn".into() } else { new().method };
        store.submit(NewTicket { method, ..new() })
    });
    let mut submitted = futures_util::future::join_all(submits).await;
    let odd = submitted.remove(20);
    assert!(matches!(&odd, Err(Error::Failed(why)) if why == "not burnt"), "{odd:?}");
    assert!(submitted.iter().all(Result::is_ok), "{submitted:?}");
}

const END_ALL_OTHERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// The store's connections that there are.
const OURS: &str = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'turno'";

async fn tell(person: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(person).await.unwrap();
}

/// Where one server takes another's place, connections may lead to the old one once more, which takes no changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_changes_is_left_for_one_that_does() {
    let Some(server) = suite::server::shared() else { return };
    let database = server.database();
    let address = server.address(&database);
    let store = turno_store::open(&address).await.unwrap();
    let mut person = PgConnection::connect(&address).await.unwrap();
    tell(&mut person, format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    tell(&mut person, END_ALL_OTHERS.to_owned()).await;
    let refused = eventually("nothing is stored", || async { store.submit(new()).await.err() }).await;
    assert!(matches!(&refused, Error::Away(why) if why.contains("read-only transaction")), "{refused:?}");
    tell(&mut person, format!("ALTER DATABASE {database} RESET default_transaction_read_only")).await;
    submit(&*store, new()).await;
}

/// What still leads to a server that was left may answer for long, with what was: nobody but the writer notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_follow_the_writer_to_another_server() {
    let Some(database) = Database::new() else { return };
    let store = suite::open(&database).await;
    submit(&*store, new()).await;
    assert_eq!(store.counts().await.unwrap().waiting, 1);
    let listening = format!("SELECT count(*) {OURS} AND query LIKE 'LISTEN%'");
    eventually("it listens", || async { database.ask(&listening).await.filter(|many| *many == 1) }).await;
    let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let now = database.ask(now).await.unwrap();
    let end_the_writers = format!("SELECT count(pg_terminate_backend(pid)) {OURS} AND query = 'COMMIT'");
    assert_eq!(database.ask(&end_the_writers).await, Some(1));
    let older = format!("SELECT count(*) {OURS} AND extract(epoch FROM backend_start) * 1000000 < {now}");
    eventually("none is older than the writer's", || async {
        submit(&*store, new()).await;
        store.counts().await.unwrap();
        database.ask(&older).await.filter(|many| *many == 0)
    })
    .await;
    eventually("it listens there", || async { database.ask(&listening).await.filter(|many| *many == 1) })
        .await;
}
