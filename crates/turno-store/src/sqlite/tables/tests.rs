//! What a query costs, in steps of SQLite's machine: it takes as many wherever it runs. And what is known of the clock.

use std::path::Path;

use rusqlite::params;

use super::{NEXT_QUEUE, Shelves};
use crate::batch::Batch;
use crate::query::Queue;
use crate::sqlite::directory;
use crate::sqlite::memory::Notes;
use crate::tables::Tables as _;

/// Ten thousand tickets of one queue, and one of the next.
const MANY: &str = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 10001) \
    INSERT INTO ticket (id, state, method, tenant, attempts, retries, submitted_at, due_at, keep_ms, request_bytes, \
    request_seal) SELECT n, 'waiting', iif(n > 10000, 'a.B/D', 'a.B/C'), 'me', 0, 0, 5, n, 1000, 0, x'' FROM n";

/// One that is tried again a minute after this time, and is the newest, and older than that.
const OWED: &str = "INSERT INTO ticket (id, state, method, tenant, attempts, retries, submitted_at, began_at, due_at, \
    keep_ms, request_bytes, request_seal) \
    VALUES ('t', 'waiting', 'a.B/C', 'me', 1, 5, 5, ?1, ?1 + 60000, 1000, 0, x'')";

async fn open(place: &Path) -> Shelves {
    let opened = directory::open(place).await.unwrap();
    Shelves::new(opened.session, opened.files, opened.mark, Notes::default(), opened.last)
}

#[tokio::test]
async fn the_next_queue_is_one_step_of_the_index_away_however_long_this_one_is() {
    let place = tempfile::tempdir().unwrap();
    let mut shelves = open(place.path()).await;
    shelves.session.write(MANY, params![]).unwrap();
    let found = shelves.queues(None, 10, &mut Batch::new(5)).await.unwrap();
    let queue = |method: &str| Queue { tenant: "me".into(), method: method.into() };
    assert_eq!(found, [(queue("a.B/C"), 1), (queue("a.B/D"), 10_001)]);
    let steps = shelves.session.steps(NEXT_QUEUE).unwrap();
    assert!(steps < 1_000, "{steps}");
}

#[tokio::test]
async fn a_clock_that_was_set_back_in_mid_run_holds_nothing_up_when_it_is_opened_again() {
    let place = tempfile::tempdir().unwrap();
    let mut shelves = open(place.path()).await;
    // It was an hour ahead.
    let ahead = shelves.now() + 3_600_000;
    shelves.latest = ahead;
    let batch = shelves.begin(&[]).await.unwrap();
    assert_eq!(batch.now, ahead);
    shelves.session.write(OWED, params![ahead]).unwrap();
    shelves.commit(batch).await.unwrap();
    drop(shelves);
    let mut shelves = open(place.path()).await;
    let now = shelves.now();
    let found = shelves.queues(None, 10, &mut Batch::new(now)).await.unwrap();
    assert!(found.len() == 1 && found[0].1 <= now, "{found:?} at {now}");
}
