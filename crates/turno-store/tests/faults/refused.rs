//! A PostgreSQL that answers, and refuses what it took before.

use turno_store::{Error, NewTicket};

use crate::Database;
use crate::suite::{self, Place as _, new};

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
