//! What a query costs, in steps of SQLite's machine: it takes as many wherever it runs. What is known of the clock, and what an
//! older build has left behind.

use std::path::Path;

use rusqlite::params;

use super::{NEXT_QUEUE, SWEEP, Shelves};
use crate::batch::Batch;
use crate::error::Error;
use crate::query::Queue;
use crate::rows::Cells;
use crate::sqlite::memory::Notes;
use crate::sqlite::{directory, disk, leftovers};
use crate::tables::Tables as _;
use crate::ticket::GatewayId;

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

#[tokio::test]
async fn a_gateway_that_ends_in_order_leaves_no_log_behind() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("tickets.sqlite3-wal");
    let mut shelves = open(place.path()).await;
    let batch = shelves.begin(&[]).await.unwrap();
    shelves.session.write(MANY, params![]).unwrap();
    shelves.commit(batch).await.unwrap();
    assert!(disk::length(&log) > 0);
    let mut batch = shelves.begin(&[]).await.unwrap();
    shelves.resign(GatewayId::NOBODY, &mut batch).await.unwrap();
    shelves.commit(batch).await.unwrap();
    assert_eq!(disk::length(&log), 0);
}

/// Three hundred parts of a map, each of 10 bytes that lie beside it.
const PARTS: &str = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 300) \
    INSERT INTO part (ticket, log, number, bytes, seal, body) SELECT ?1, 'result', n, 10, x'', ?1 || n FROM n";
const PIECES: &str =
    "INSERT INTO piece (body, number, data) SELECT body, 0, zeroblob(10) FROM part WHERE ticket = ?";

fn with_parts(shelves: &mut Shelves, ticket: &str) {
    shelves.with(PARTS, ticket).unwrap();
    shelves.with(PIECES, ticket).unwrap();
}

async fn sweep(shelves: &mut Shelves) {
    let mut batch = shelves.begin(&[]).await.unwrap();
    let since = batch.now - 3_600_000;
    shelves.sweep(1000, since, &mut batch).await.unwrap();
    shelves.commit(batch).await.unwrap();
}

/// Parts of a ticket, and pieces that lie beside these.
fn left(shelves: &mut Shelves, ticket: &str) -> (i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM part WHERE ticket = ?1), \
               (SELECT count(*) FROM piece WHERE body LIKE ?1 || '%')";
    let found = shelves.session.rows(sql, params![ticket]).unwrap();
    let mut cells = Cells::of(&found[0]);
    (cells.number().unwrap(), cells.number().unwrap())
}

#[tokio::test]
async fn what_an_older_build_has_left_of_maps_that_are_gone_is_taken_out() {
    let place = tempfile::tempdir().unwrap();
    let mut shelves = open(place.path()).await;
    let batch = shelves.begin(&[]).await.unwrap();
    shelves.session.write(OWED, params![5]).unwrap();
    for ticket in ["gone", "t", "went"] {
        with_parts(&mut shelves, ticket);
    }
    shelves.commit(batch).await.unwrap();
    drop(shelves);
    let mut shelves = open(place.path()).await;
    let batch = shelves.begin(&[]).await.unwrap();
    // Whoever puts these may still submit their ticket.
    with_parts(&mut shelves, "inputs");
    shelves.session.write("INSERT INTO unfinished_body VALUES ('inputs', ?)", params![batch.now]).unwrap();
    shelves.commit(batch).await.unwrap();
    sweep(&mut shelves).await;
    assert_eq!(left(&mut shelves, "gone"), (44, 44), "bit by bit");
    for _sweep in 0..4 {
        sweep(&mut shelves).await;
    }
    assert!(shelves.leftovers.are_gone(), "nobody looks any more");
    for (ticket, parts) in [("gone", 0), ("went", 0), ("t", 300), ("inputs", 300)] {
        assert_eq!(left(&mut shelves, ticket), (parts, parts), "{ticket}");
    }
    // The others' parts are passed over.
    for sql in [leftovers::NEXT, SWEEP[0], SWEEP[1]] {
        let steps = shelves.session.steps(sql).unwrap();
        assert!(steps < 1_000, "{steps}: {sql}");
    }
}

#[tokio::test]
async fn what_was_taken_out_and_rolled_back_is_looked_for_again() {
    let place = tempfile::tempdir().unwrap();
    let mut shelves = open(place.path()).await;
    with_parts(&mut shelves, "gone");
    let batch = shelves.begin(&[]).await.unwrap();
    shelves.commit(batch).await.unwrap();
    let mut batch = shelves.begin(&[]).await.unwrap();
    for _sweep in 0..3 {
        shelves.sweep(1000, 0, &mut batch).await.unwrap();
    }
    assert_eq!(left(&mut shelves, "gone"), (0, 0));
    shelves.roll_back(&Error::Contended).await;
    assert_eq!(left(&mut shelves, "gone"), (300, 300));
    for _sweep in 0..2 {
        sweep(&mut shelves).await;
    }
    assert_eq!(left(&mut shelves, "gone"), (0, 0));
}
