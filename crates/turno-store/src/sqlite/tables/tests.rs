//! What a query costs, in steps of SQLite's machine: it takes as many wherever it runs.

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

#[tokio::test]
async fn the_next_queue_is_one_step_of_the_index_away_however_long_this_one_is() {
    let place = tempfile::tempdir().unwrap();
    let opened = directory::open(place.path()).await.unwrap();
    let mut shelves = Shelves::new(opened.session, opened.files, opened.mark, Notes::default(), opened.last);
    shelves.session.write(MANY, params![]).unwrap();
    let found = shelves.queues(None, 10, &mut Batch::new(5)).await.unwrap();
    let queue = |method: &str| Queue { tenant: "me".into(), method: method.into() };
    assert_eq!(found, [(queue("a.B/C"), 1), (queue("a.B/D"), 10_001)]);
    let steps = shelves.session.steps(NEXT_QUEUE).unwrap();
    assert!(steps < 1_000, "{steps}");
}
