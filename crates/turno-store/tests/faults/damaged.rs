//! Files that were cut short or changed: refused, or only what was hit is lost and told. Never a wrong payload.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rand::Rng;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use turno_store::{
    Attempt, Error, Failure, GatewayId, IdempotencyKey, Log, NewTicket, Outcome, Query, Room, State, Store,
    TicketId,
};

use super::child::Submitter;
use super::{Acknowledged, failure_of, outcome_of, part_of, request_of, told};
use crate::suite::{begin, burnt, dead, gateway, new, submit};

const DATABASE: &str = "tickets.sqlite3";
const MARK: &str = "tickets.lock";
const WAL: &str = "tickets.sqlite3-wal";

/// A directory that a killed process left behind, with a log that was not written back; and the same after it was.
fn left_behind() -> (tempfile::TempDir, Acknowledged) {
    let directory = tempfile::tempdir().unwrap();
    let mut heard = Acknowledged::default();
    let submitter = Submitter::start(directory.path().to_str().unwrap());
    submitter.kill_after(Duration::from_millis(300), &mut heard);
    (directory, heard)
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in [DATABASE, WAL, MARK] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.path().join(name)).unwrap();
        }
    }
    to
}

/// Opens and closes what is there until its log has gone into the database. SQLite leaves it where two connections that
/// close at the same moment each take the other for one that stays.
async fn write_back(directory: &Path) {
    crate::suite::eventually("the log is written back", || async {
        drop(turno_store::open(directory.to_str().unwrap()).await.unwrap());
        tokio::time::sleep(Duration::from_millis(200)).await;
        fs::metadata(directory.join(WAL)).is_err().then_some(())
    })
    .await;
}

/// Opens what is there and reads everything. Answers how many tickets are not there, without a word from the store.
async fn lost(directory: &Path, heard: &Acknowledged) -> usize {
    let store = match turno_store::open(directory.to_str().unwrap()).await {
        Ok(store) => store,
        Err(Error::Unusable(why)) => {
            assert!(why.contains(directory.to_str().unwrap()), "it names the directory: {why}");
            return 0;
        }
        Err(error) => panic!("{error}"),
    };
    let mut lost = 0;
    for id in &heard.stored {
        match store.request(*id).await {
            Ok(request) => assert_eq!(request, request_of(*id), "a wrong request"),
            Err(Error::NotFound(_)) => lost += 1,
            Err(Error::Damaged(_) | Error::Unusable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        match store.whole(*id).await {
            Ok(whole) => assert!(is_right(told(whole), *id), "a wrong outcome"),
            Err(Error::NotFound(_) | Error::Damaged(_) | Error::Unusable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        match store.attempts(*id).await {
            Ok(attempts) => {
                let mut failures = attempts.iter().map(|attempt| &attempt.failure);
                assert!(failures.all(|failure| may_be(failure, *id)), "a wrong failure: {attempts:?}");
            }
            Err(Error::NotFound(_) | Error::Damaged(_) | Error::Unusable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for (id, log) in heard.results.iter().flat_map(|id| [(id, Log::Inputs), (id, Log::Results)]) {
        match store.part(*id, log, 0).await {
            Ok(Some(part)) => assert_eq!(part, part_of(*id, log), "a wrong part"),
            Ok(None) | Err(Error::Damaged(_) | Error::Unusable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    claims_are_whole(&*store).await;
    lost
}

const CANNOT_BE_RUN: &str = "what is stored of it is damaged: it cannot be run";

/// It has not ended, or as it did, or it is dead because it cannot be run.
fn is_right(outcome: Option<Outcome>, id: TicketId) -> bool {
    let Some(outcome) = outcome else { return true };
    let cannot = |failure: &Failure| failure.message == CANNOT_BE_RUN;
    outcome == outcome_of(id) || matches!(&outcome, Outcome::Dead(failure) if cannot(failure))
}

/// What an attempt of it has failed with, or what the store says in its place.
fn may_be(failure: &Failure, id: TicketId) -> bool {
    let is_lost = failure.message == "the gateway that ran it has ended, or its lease has";
    *failure == failure_of(id) || is_told(failure) || is_lost || failure.message == CANNOT_BE_RUN
}

/// It stands in the place of one that is damaged.
fn is_told(failure: &Failure) -> bool {
    failure.code == 15 && failure.message.starts_with("what is stored of this attempt is damaged")
}

/// What is due is handed out as it was submitted, or not at all.
async fn claims_are_whole(store: &dyn Store) {
    let gateway = turno_store::GatewayId(TicketId::new().0);
    if store.renew(gateway, Duration::from_secs(3600)).await.is_err() {
        return;
    }
    while let Ok(claimed) = store.claim(gateway, Room::of(100)).await {
        if claimed.is_empty() {
            break;
        }
        for one in claimed {
            assert_eq!(one.request, request_of(one.attempt.ticket), "a wrong request");
            assert_eq!(one.method, crate::suite::new().method);
        }
    }
}

fn flip(file: &Path, times: usize) {
    let mut bytes = fs::read(file).unwrap();
    for _ in 0..times {
        let at = rand::rng().random_range(0..bytes.len());
        bytes[at] ^= 1 << rand::rng().random_range(0..8);
    }
    fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_in_the_database_are_told() {
    let (directory, heard) = tokio::task::block_in_place(left_behind);
    write_back(directory.path()).await;
    for times in 1..=24 {
        let copied = copy(directory.path());
        flip(&copied.path().join(DATABASE), times / 3 + 1);
        assert_eq!(lost(copied.path(), &heard).await, 0, "lost without a word");
    }
}

/// Flips a bit of a ticket's failure wherever it lies: its code is one byte, and lies before its message and details.
fn flip_failure(file: &Path, id: TicketId) {
    let Failure { message, details, .. } = failure_of(id);
    let words = [message.as_bytes(), &details[..]].concat();
    let mut bytes = fs::read(file).unwrap();
    let places: Vec<_> = (1..bytes.len()).filter(|at| bytes[*at..].starts_with(&words)).collect();
    assert!(!places.is_empty(), "it is not there");
    for place in places {
        let at = rand::rng().random_range(place - 1..place + words.len());
        bytes[at] ^= 1 << rand::rng().random_range(0..8);
    }
    fs::write(file, bytes).unwrap();
}

/// Who asks for it is told, and a listing gives no other failure.
async fn is_damaged(store: &dyn Store, id: TicketId) {
    let (whole, got) = (store.whole(id).await, store.get(id).await);
    assert!(matches!(whole, Err(Error::Damaged(damaged)) if damaged == id), "{whole:?}");
    assert!(matches!(got, Err(Error::Damaged(damaged)) if damaged == id), "{got:?}");
    let page = store.list(&Query { most: 10, ..Query::default() }).await.unwrap();
    assert!(page.tickets.iter().all(|ticket| ticket.id != id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_in_a_failure_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = turno_store::open(directory.path().to_str().unwrap()).await.unwrap();
    let gateway = gateway(&*store).await;
    let (failed, gone) = (burnt_once(&*store, gateway).await, burnt_once(&*store, gateway).await);
    store.finish(failed, Outcome::Failed(failure_of(failed.ticket))).await.unwrap();
    store.finish(gone, Outcome::Dead(failure_of(gone.ticket))).await.unwrap();
    drop(store);
    write_back(directory.path()).await;
    for time in 0..24 {
        let (hit, spared) = if time % 2 == 0 { (failed, gone) } else { (gone, failed) };
        let copied = copy(directory.path());
        flip_failure(&copied.path().join(DATABASE), hit.ticket);
        let store = turno_store::open(copied.path().to_str().unwrap()).await.unwrap();
        is_damaged(&*store, hit.ticket).await;
        let attempts = store.attempts(hit.ticket).await.unwrap();
        let [first, second] = attempts.as_slice() else { panic!("{attempts:?}") };
        assert_eq!((first.number, &first.failure, second.number), (1, &burnt(), 2));
        assert!(is_told(&second.failure), "{second:?}");
        let whole = store.get(spared.ticket).await.unwrap();
        assert_eq!(whole.failure, Some(failure_of(spared.ticket)));
        let attempts = store.attempts(spared.ticket).await.unwrap();
        assert_eq!(attempts[1].failure, failure_of(spared.ticket));
    }
}

/// The second attempt of a ticket whose first has failed.
async fn burnt_once(store: &dyn Store, gateway: GatewayId) -> Attempt {
    let first = begin(store, gateway).await;
    store.retry(first, burnt(), Duration::ZERO).await.unwrap();
    store.claim(gateway, Room::of(1)).await.unwrap().pop().unwrap().attempt
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_was_changed_in_postgres_is_told_in_its_place() {
    let Some(server) = crate::suite::server::shared() else { return };
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let gateway = gateway(&*store).await;
    let mut database = PgConnection::connect(&address).await.unwrap();
    for change in ["code = 13", "message = 'burns'", "details = NULL", "number = 7", "seal = ''"] {
        let second = burnt_once(&*store, gateway).await;
        store.finish(second, Outcome::Failed(failure_of(second.ticket))).await.unwrap();
        let sql =
            AssertSqlSafe(format!("UPDATE turno.attempt SET {change} WHERE ticket = $1 AND number = 1"));
        sqlx::query(sql).bind(second.ticket.0).execute(&mut database).await.unwrap();
        let attempts = store.attempts(second.ticket).await.unwrap();
        let (told, others): (Vec<_>, Vec<_>) = attempts.iter().partition(|one| is_told(&one.failure));
        assert_eq!((told.len(), others.len()), (1, 1), "{change}: {attempts:?}");
        assert_eq!((others[0].number, &others[0].failure), (2, &failure_of(second.ticket)), "{change}");
    }
    let old = burnt_once(&*store, gateway).await;
    let sql = "UPDATE turno.attempt SET seal = NULL WHERE ticket = $1";
    sqlx::query(sql).bind(old.ticket.0).execute(&mut database).await.unwrap();
    let attempts = store.attempts(old.ticket).await.unwrap();
    assert_eq!(attempts[0].failure, burnt(), "it failed before attempts were sealed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_was_changed_in_postgres_is_told() {
    let Some(server) = crate::suite::server::shared() else { return };
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let gateway = gateway(&*store).await;
    let mut database = PgConnection::connect(&address).await.unwrap();
    for change in [
        "failure_code = 15",
        "failure_code = NULL",
        "failure_message = 'burns'",
        "failure_details = NULL",
        "state = 'failed'",
        "response_seal = ''",
    ] {
        let id = dead(&*store, gateway, new()).await;
        alter(&mut database, id, change).await;
        is_damaged(&*store, id).await;
        let edited = store.edit(id, Some("batter".into()), None).await;
        assert!(matches!(edited, Err(Error::Damaged(_) | Error::WrongState { .. })), "{edited:?}");
        assert_eq!(store.request(id).await.unwrap(), new().request, "refused, and changed");
    }
    let old = dead(&*store, gateway, new()).await;
    alter(&mut database, old, "response_seal = NULL").await;
    assert_eq!(store.get(old).await.unwrap().failure, Some(burnt()), "it ended before failures were sealed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_run_is_dead_and_says_why() {
    let Some(server) = crate::suite::server::shared() else { return };
    let address = server.address(&server.database());
    let store = turno_store::open(&address).await.unwrap();
    let gateway = gateway(&*store).await;
    let mut database = PgConnection::connect(&address).await.unwrap();
    // A request that does not fit, and a row that cannot be read as one that is due.
    for change in ["request = 'batter'", "attempts = 4294967295"] {
        let ticket = new();
        submit(&*store, ticket.clone()).await;
        alter(&mut database, ticket.id, change).await;
        assert_eq!(store.claim(gateway, Room::of(10)).await.unwrap(), []);
        let found = store.whole(ticket.id).await.unwrap().0;
        assert_eq!((found.state, found.failure.map(|failure| failure.code)), (State::Dead, Some(15)));
    }
}

/// Changes a ticket's row, as only damage does.
async fn alter(database: &mut PgConnection, id: TicketId, change: &str) {
    let sql = AssertSqlSafe(format!("UPDATE turno.ticket SET {change} WHERE id = $1"));
    sqlx::query(sql).bind(id.0).execute(database).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_in_the_log_are_told() {
    let (directory, heard) = tokio::task::block_in_place(left_behind);
    for times in 1..=24 {
        let copied = copy(directory.path());
        flip(&copied.path().join(WAL), times / 3 + 1);
        assert_eq!(lost(copied.path(), &heard).await, 0, "lost without a word");
        // Without the mark the last transaction cannot be told from one that a power cut has torn: of it, up to 16 tickets.
        fs::remove_file(copied.path().join(MARK)).unwrap();
        assert!(lost(copied.path(), &heard).await <= 16, "lost without a word");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_left_behind_by_doing_what_is_said_once() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, copied) = (directory.path().join("whole"), directory.path().join("copied"));
    let store = turno_store::open(whole.to_str().unwrap()).await.unwrap();
    submit(&*store, new()).await;
    // By another process: SQLite's locks are this one's, and go when it closes a file.
    assert!(Command::new("cp").arg("-r").args([&whole, &copied]).status().unwrap().success());
    let log = copied.join(WAL);
    let mut bytes = fs::read(&log).unwrap();
    // In the first page of the first frame.
    bytes[100] ^= 1;
    fs::write(&log, bytes).unwrap();
    let address = copied.to_str().unwrap();
    let Err(Error::Unusable(why)) = turno_store::open(address).await.map(|_| ()) else { panic!("opened") };
    let mark = copied.join(MARK);
    assert!(why.contains("wal_checkpoint(TRUNCATE)") && why.contains(mark.to_str().unwrap()), "{why}");
    let options = SqliteConnectOptions::new().filename(copied.join(DATABASE));
    let mut person = options.connect().await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut person).await.unwrap();
    person.close().await.unwrap();
    fs::remove_file(mark).unwrap();
    turno_store::open(address).await.unwrap();
}

/// A store with a ticket whose request fills many pages beside it, and another one; and the first of these pages.
async fn a_large_one_and_another(directory: &Path) -> ([TicketId; 2], usize) {
    let (large, other) = (NewTicket { request: vec![7; 200_000].into(), ..new() }, new());
    let tickets = [large.id, other.id];
    let store = turno_store::open(directory.to_str().unwrap()).await.unwrap();
    submit(&*store, large).await;
    submit(&*store, other).await;
    drop(store);
    write_back(directory).await;
    let bytes = fs::read(directory.join(DATABASE)).unwrap();
    // In each of them the number of the next one comes first.
    let page = bytes.chunks(4096).position(|page| page[4..].iter().all(|byte| *byte == 7)).unwrap();
    (tickets, page)
}

/// The page that all of an index is found by.
async fn root(directory: &Path, index: &str) -> usize {
    let options = SqliteConnectOptions::new().filename(directory.join(DATABASE));
    let mut person = options.connect().await.unwrap();
    let sql = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = ?";
    let page: i64 = sqlx::query_scalar(sql).bind(index).fetch_one(&mut person).await.unwrap();
    person.close().await.unwrap();
    page.try_into().unwrap()
}

/// Damages a page. By another process: SQLite's locks are this one's, and go when it closes a file.
fn zero(directory: &Path, page: usize) {
    let (of, seek) = (format!("of={}", directory.join(DATABASE).display()), format!("seek={page}"));
    let arguments = ["if=/dev/zero", &of, &seek, "bs=4096", "count=1", "conv=notrunc"];
    assert!(Command::new("dd").args(arguments).output().unwrap().status.success());
}

/// Whether this machine can do what is said of a damaged database.
fn can_save() -> bool {
    let can = Command::new("sqlite3").arg("-version").output().is_ok();
    if !can {
        println!("skipped: there is no sqlite3");
    }
    can
}

/// Does what is said of the damaged database there.
async fn do_as_said(directory: &Path) -> Output {
    let opened = turno_store::open(directory.to_str().unwrap()).await;
    let Err(Error::Unusable(why)) = opened.map(|_| ()) else { panic!("opened") };
    let said = why.split('`').nth(1).unwrap();
    Command::new("sh").args(["-c", said]).current_dir(directory).output().unwrap()
}

/// It has saved so many tickets, and says so.
fn must_have_saved(done: &Output, tickets: usize, all: usize, directory: &Path) {
    let said = format!("{tickets} of {all} tickets saved, the damaged files are in damaged/\n");
    assert!(done.status.success() && done.stdout == said.as_bytes(), "{done:?}");
    assert!(directory.join("damaged").join(DATABASE).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_read_of_a_damaged_database_is_saved_by_doing_what_is_said_once() {
    if !can_save() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ([large, other], page) = a_large_one_and_another(directory.path()).await;
    zero(directory.path(), page);
    let done = do_as_said(directory.path()).await;
    must_have_saved(&done, 2, 2, directory.path());
    let store = turno_store::open(directory.path().to_str().unwrap()).await.unwrap();
    assert_eq!(store.request(other).await.unwrap(), new().request);
    let lost = store.request(large).await;
    assert!(matches!(lost, Err(Error::Damaged(id)) if id == large), "{lost:?}");
}

/// One that fills more than half a page, with a key of its own.
fn keyed() -> NewTicket {
    let id = TicketId::new();
    let key = IdempotencyKey { key: id.to_string(), remembered_for: None };
    NewTicket { id, key: Some(key), request: vec![7; 2500].into(), ..new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_database_that_was_cut_short_the_rest_is_saved() {
    if !can_save() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tickets: Vec<_> = (0..100).map(|_| keyed()).collect();
    let store = turno_store::open(directory.path().to_str().unwrap()).await.unwrap();
    for ticket in &tickets {
        submit(&*store, ticket.clone()).await;
    }
    drop(store);
    write_back(directory.path()).await;
    let pages = fs::metadata(directory.path().join(DATABASE)).unwrap().len() / 4096;
    for (left, few, many) in [(pages - 1, 98, 100), (pages / 2, 20, 80)] {
        let copied = copy(directory.path());
        let file = copied.path().join(DATABASE);
        fs::File::options().write(true).open(&file).unwrap().set_len(left * 4096).unwrap();
        let done = do_as_said(copied.path()).await;
        let store = turno_store::open(copied.path().to_str().unwrap()).await.unwrap();
        let mut saved = 0;
        for ticket in &tickets {
            match store.request(ticket.id).await {
                Ok(request) if request == ticket.request => saved += 1,
                // By its key too: it is none that has ended.
                Err(Error::NotFound(_)) => assert_eq!(submit(&*store, ticket.clone()).await, None),
                other => panic!("{other:?}"),
            }
        }
        must_have_saved(&done, saved, 100, copied.path());
        assert!((few..=many).contains(&saved), "{saved}");
        assert_eq!(store.counts().await.unwrap().waiting, 100);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_ticket_can_be_read_nothing_is_moved() {
    if !can_save() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    a_large_one_and_another(directory.path()).await;
    let copied = copy(directory.path());
    let file = copied.path().join(DATABASE);
    let mut bytes = fs::read(&file).unwrap();
    // Of the words that all databases of SQLite begin with.
    bytes[3] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let done = do_as_said(copied.path()).await;
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("nothing was moved"), "{done:?}");
    assert!(fs::read(&file).unwrap() == bytes && !copied.path().join("damaged").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_damaged_while_the_store_is_open_is_its_tickets_alone() {
    let directory = tempfile::tempdir().unwrap();
    let ([large, other], page) = a_large_one_and_another(directory.path()).await;
    let store = turno_store::open(directory.path().to_str().unwrap()).await.unwrap();
    zero(directory.path(), page);
    let claimed = store.claim(gateway(&*store).await, Room::of(10)).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.attempt.ticket).collect::<Vec<_>>(), [other]);
    let lost = store.request(large).await;
    assert!(matches!(lost, Err(Error::Damaged(id)) if id == large), "{lost:?}");
    let found = store.get(large).await.unwrap();
    assert_eq!((found.state, found.failure.map(|failure| failure.code)), (State::Dead, Some(15)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_that_all_are_found_by_is_not_the_end_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let address = directory.path().to_str().unwrap();
    let store = turno_store::open(address).await.unwrap();
    for _ticket in 0..8 {
        submit(&*store, NewTicket { request: vec![7; 200_000].into(), ..new() }).await;
    }
    drop(store);
    write_back(directory.path()).await;
    let page = root(directory.path(), "sqlite_autoindex_piece_1").await;
    let store = turno_store::open(address).await.unwrap();
    zero(directory.path(), page);
    let gateway = gateway(&*store).await;
    for _time in 0..3 {
        // Those of the last time may not have been given back yet.
        crate::suite::eventually("they are claimed in vain", || async {
            match store.claim(gateway, Room::of(10)).await {
                Err(Error::Unusable(_)) => Some(()),
                Ok(none) if none.is_empty() => None,
                claimed => panic!("{claimed:?}"),
            }
        })
        .await;
        crate::suite::eventually("the others wait for who mends it", || async {
            let counts = store.counts().await.unwrap();
            assert!(counts.dead <= 3, "{counts:?}");
            (counts.waiting + counts.running == 5).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_parts_that_nobody_asks_for_holds_up_one_sweep_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    write_back(directory.path()).await;
    let page = root(directory.path(), "sqlite_autoindex_part_1").await;
    let store = turno_store::open(directory.path().to_str().unwrap()).await.unwrap();
    zero(directory.path(), page);
    let gateway = gateway(&*store).await;
    dead(&*store, gateway, NewTicket { keep_result_for: Duration::ZERO, ..new() }).await;
    let swept = store.expire(10).await;
    assert!(matches!(swept, Err(Error::Unusable(_))), "{swept:?}");
    assert_eq!(store.expire(10).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_is_told() {
    let (directory, heard) = tokio::task::block_in_place(left_behind);
    for _ in 0..16 {
        let copied = copy(directory.path());
        let file = copied.path().join(WAL);
        let length = fs::metadata(&file).unwrap().len();
        let cut = rand::rng().random_range(0..length);
        fs::File::options().write(true).open(&file).unwrap().set_len(cut).unwrap();
        assert_eq!(lost(copied.path(), &heard).await, 0, "lost without a word");
        // Without the mark a log that ends early is one that was written less far: what it has is whole.
        fs::remove_file(copied.path().join(MARK)).unwrap();
        lost(copied.path(), &heard).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_cut_short_is_refused() {
    let (directory, heard) = tokio::task::block_in_place(left_behind);
    write_back(directory.path()).await;
    for _ in 0..8 {
        let copied = copy(directory.path());
        let file = copied.path().join(DATABASE);
        let length = fs::metadata(&file).unwrap().len();
        let cut = rand::rng().random_range(1..length);
        fs::File::options().write(true).open(&file).unwrap().set_len(cut).unwrap();
        let opened = turno_store::open(copied.path().to_str().unwrap()).await;
        assert!(matches!(opened, Err(Error::Unusable(_))), "cut at {cut} of {length}, and opened");
    }
    assert!(!heard.stored.is_empty());
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let address = directory.path().to_str().unwrap();
    fs::write(directory.path().join(DATABASE), vec![b'x'; 10_000]).unwrap();
    let Err(Error::Unusable(why)) = turno_store::open(address).await.map(|_| ()) else { panic!("opened") };
    assert!(why.contains(address), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_for_one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let address = directory.path().to_str().unwrap();
    let first = turno_store::open(address).await.unwrap();
    let Err(Error::Unusable(why)) = turno_store::open(address).await.map(|_| ()) else { panic!("opened") };
    assert!(why.contains(address) && why.contains("in use"), "{why}");
    drop(first);
    turno_store::open(address).await.unwrap();
}
