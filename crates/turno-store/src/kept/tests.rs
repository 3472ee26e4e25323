//! Long bodies whose change nobody has heard the end of: the database has made it or not, and the store must be right
//! either way. And long bodies that there is no space for.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::book::Book;
use crate::change::{Answered, Change};
use crate::error::Error;
use crate::group::{Ledger, Writer};
use crate::kept::Kept;
use crate::query::Room;
use crate::sqlite::{self, Reader, Shelves};
use crate::store::{Store, Submitted};
use crate::ticket::{Attempt, GatewayId, IdempotencyKey, NewTicket, Outcome, TicketId};

/// What becomes of a change whose answer is lost.
#[derive(Clone, Copy)]
enum Fate {
    Made,
    Lost,
    /// It is refused: there is no space for it.
    Refused,
}

/// A ledger whose connection breaks while some changes are committed, or that has no space for them.
struct Breaking {
    book: Book<Shelves>,
    breaks_at: fn(&Change) -> bool,
    fate: Fate,
}

impl Ledger for Breaking {
    async fn apply(&mut self, changes: &[Change]) -> Result<Vec<Answered>, Error> {
        if !changes.iter().any(self.breaks_at) {
            return self.book.apply(changes).await;
        }
        match self.fate {
            Fate::Made => drop(self.book.apply(changes).await?),
            Fate::Lost => {}
            Fate::Refused => return Err(Error::Full),
        }
        Err(Error::Unavailable("the connection is lost".into()))
    }
}

async fn open(directory: &Path, breaks_at: fn(&Change) -> bool, fate: Fate) -> Kept<Reader> {
    let (book, reader) = sqlite::parts(directory).await.unwrap();
    Kept { writer: Writer::start("turno.store.test", Breaking { book, breaks_at, fate }), reader }
}

/// Larger than what goes into one transaction with its change.
fn long() -> Bytes {
    (0..3_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

fn new(request: Bytes) -> NewTicket {
    NewTicket {
        id: TicketId::new(),
        method: "kitchen.v1.Kitchen/Bake".into(),
        request,
        inputs: None,
        tenant: "luigi".into(),
        metadata: Bytes::new(),
        labels: BTreeMap::new(),
        key: None,
        not_before: None,
        timeout: None,
        retries: 3,
        keep_result_for: Duration::from_secs(3600),
        begin_at: None,
    }
}

/// The attempt of a ticket that has begun.
async fn begun(store: &dyn Store) -> Attempt {
    let gateway = GatewayId(TicketId::new().0);
    store.renew(gateway, Duration::from_secs(3600)).await.unwrap();
    let ticket = NewTicket { begin_at: Some(gateway), ..new("dough".into()) };
    match store.submit(ticket).await.unwrap() {
        Submitted::Stored { attempt: Some(attempt), .. } => attempt,
        other => panic!("it has not begun: {other:?}"),
    }
}

async fn pieces(store: &Kept<Reader>) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM piece").fetch_one(&store.reader.pool).await.unwrap()
}

fn is_finish(change: &Change) -> bool {
    matches!(change, Change::Finish { .. })
}

fn is_submit(change: &Change) -> bool {
    matches!(change, Change::Submit(_))
}

fn is_a_piece(change: &Change) -> bool {
    matches!(change, Change::Piece { .. })
}

fn is_a_later_piece(change: &Change) -> bool {
    matches!(change, Change::Piece { number: 1.., .. })
}

#[tokio::test]
async fn a_result_that_was_stored_unheard_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), is_finish, Fate::Made).await;
    let attempt = begun(&store).await;
    let answered = store.finish(attempt, Outcome::Done(long())).await;
    assert!(matches!(answered, Err(Error::Unavailable(_))), "{answered:?}");
    assert_eq!(store.whole(attempt.ticket).await.unwrap().1, Some(long()));
}

#[tokio::test]
async fn a_request_that_was_stored_unheard_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), is_submit, Fate::Made).await;
    let ticket = new(long());
    let answered = store.submit(ticket.clone()).await;
    assert!(matches!(answered, Err(Error::Unavailable(_))), "{answered:?}");
    assert_eq!(store.request(ticket.id).await.unwrap(), long());
}

#[tokio::test]
async fn the_sweep_finds_a_result_that_was_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), is_finish, Fate::Lost).await;
    let attempt = begun(&store).await;
    assert!(store.finish(attempt, Outcome::Done(long())).await.is_err());
    store.expire(100).await.unwrap();
    assert!(pieces(&store).await > 0, "who may still need them has an hour");
    drop(store);
    // Nobody comes back for what the process that has ended was about.
    let store = open(directory.path(), is_finish, Fate::Lost).await;
    store.expire(100).await.unwrap();
    assert_eq!(pieces(&store).await, 0);
}

#[tokio::test]
async fn a_store_that_is_silent_is_not_asked_to_take_anything_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), is_a_later_piece, Fate::Lost).await;
    let answered = store.submit(new(long())).await;
    assert!(matches!(answered, Err(Error::Unavailable(_))), "{answered:?}");
    assert_eq!(pieces(&store).await, 1, "it stays for the sweep");
}

#[tokio::test]
async fn of_a_known_key_a_store_that_is_full_answers_the_ticket() {
    let directory = tempfile::tempdir().unwrap();
    let key = IdempotencyKey { key: "bread".into(), remembered_for: None };
    let ticket = || NewTicket { key: Some(key.clone()), ..new(long()) };
    let store = open(directory.path(), |_| false, Fate::Made).await;
    let first = ticket();
    store.submit(first.clone()).await.unwrap();
    drop(store);
    let store = open(directory.path(), is_a_piece, Fate::Refused).await;
    match store.submit(ticket()).await.unwrap() {
        Submitted::Known(known) => assert_eq!(known.id, first.id),
        stored @ Submitted::Stored { .. } => panic!("{stored:?}"),
    }
}

#[tokio::test]
async fn a_deleted_tickets_result_finds_no_space_and_needs_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), is_a_piece, Fate::Refused).await;
    let attempt = begun(&store).await;
    store.delete(attempt.ticket).await.unwrap();
    store.finish(attempt, Outcome::Done(long())).await.unwrap();
    assert!(matches!(store.get(attempt.ticket).await, Err(Error::NotFound(_))));
    assert_eq!(pieces(&store).await, 0);
}

#[tokio::test]
async fn a_damaged_request_that_cannot_be_put_down_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), is_finish, Fate::Refused).await;
    let (damaged, well) = (new("dough".into()), new("dough".into()));
    for ticket in [&damaged, &well] {
        store.submit(ticket.clone()).await.unwrap();
    }
    let database = rusqlite::Connection::open(directory.path().join("tickets.sqlite3")).unwrap();
    let sql = "UPDATE ticket SET request = CAST('paste' AS BLOB) WHERE id = ?";
    assert_eq!(database.execute(sql, [damaged.id.to_string()]).unwrap(), 1);
    let gateway = GatewayId(TicketId::new().0);
    store.renew(gateway, Duration::from_secs(3600)).await.unwrap();
    let room = Room { tickets: 10, bytes: 1000, full: Vec::new(), unserved: Vec::new() };
    let claimed = store.claim(gateway, room).await.unwrap();
    let claimed: Vec<_> = claimed.iter().map(|claimed| claimed.attempt.ticket).collect();
    assert_eq!(claimed, [well.id]);
}

#[tokio::test]
async fn a_long_result_is_written_as_what_ends_an_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let is_new = |change: &Change| matches!(change, Change::Piece { is_of_end: false, .. });
    let store = open(directory.path(), is_new, Fate::Lost).await;
    let attempt = begun(&store).await;
    store.finish(attempt, Outcome::Done(long())).await.unwrap();
    assert!(store.submit(new(long())).await.is_err());
}

#[tokio::test]
async fn a_result_that_was_refused_is_taken_back_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), |_| false, Fate::Made).await;
    let attempt = begun(&store).await;
    store.finish(attempt, Outcome::Done("bread".into())).await.unwrap();
    let refused = store.finish(attempt, Outcome::Done(long())).await;
    assert!(matches!(refused, Err(Error::Superseded(_))), "{refused:?}");
    assert_eq!(pieces(&store).await, 0);
}
