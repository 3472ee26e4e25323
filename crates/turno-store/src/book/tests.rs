//! Changes of one transaction: each sees what those before it have done.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::Book;
use crate::body::Body;
use crate::change::{Answer, Change, Ending, Submission};
use crate::failures::LOST;
use crate::group::Ledger as _;
use crate::seal::Seal;
use crate::space::Space;
use crate::sqlite::{self, Shelves};
use crate::state::State;
use crate::store::Submitted;
use crate::tables::Tables as _;
use crate::ticket::{Attempt, GatewayId, IdempotencyKey, NewTicket, Ticket, TicketId};

/// Always with the same key.
fn submit(gateway: GatewayId, keep_result_for: Duration) -> Change {
    let ticket = NewTicket {
        id: TicketId::new(),
        method: "kitchen.v1.Kitchen/Bake".into(),
        request: Bytes::from_static(b"dough"),
        inputs: None,
        tenant: "luigi".into(),
        metadata: Bytes::new(),
        labels: BTreeMap::new(),
        key: Some(IdempotencyKey { key: "bread".into(), remembered_for: None }),
        not_before: None,
        timeout: None,
        retries: 3,
        keep_result_for,
        begin_at: Some(gateway),
    };
    let seal = Seal::of_request(ticket.id, &ticket.method, &ticket.tenant, &ticket.metadata, &ticket.request);
    let demand = Seal::of_demand(&ticket.method, &ticket.request);
    let request = Body::of(ticket.request.clone());
    Change::Submit(Box::new(Submission { ticket, labels: None, seal, demand, request }))
}

fn fail(attempt: Attempt) -> Change {
    end(attempt, State::Failed)
}

fn end(attempt: Attempt, state: State) -> Change {
    let ending = Ending { state, failure: Some(LOST.clone()), response: None };
    Change::Finish { attempt, ending: Box::new(ending) }
}

/// Makes all of them in one transaction; what the last one comes to, a submit.
async fn made(book: &mut Book<Shelves>, changes: &[Change]) -> Submitted {
    match book.apply(changes).await.unwrap().pop() {
        Some(Ok(Answer::Submitted(submitted))) => submitted,
        _ => panic!("the last one was no submit, or was refused"),
    }
}

/// The attempt of a new ticket.
async fn begun(book: &mut Book<Shelves>, keep_result_for: Duration) -> Attempt {
    let gateway = GatewayId(TicketId::new().0);
    let renew = Change::Renew { gateway, lease: Duration::from_secs(3600) };
    let first = made(book, &[renew, submit(gateway, keep_result_for)]).await;
    let Submitted::Stored { attempt: Some(attempt), .. } = first else { panic!("{first:?}") };
    attempt
}

/// The attempt of a new ticket, and what is left of it when it has ended by these changes and is submitted again.
async fn left(keep_result_for: Duration, end: impl FnOnce(Attempt) -> [Vec<Change>; 2]) -> (Attempt, Ticket) {
    let directory = tempfile::tempdir().unwrap();
    let (mut book, _reader) = sqlite::parts(directory.path()).await.unwrap();
    let attempt = begun(&mut book, keep_result_for).await;
    let [before, mut together] = end(attempt);
    book.apply(&before).await.unwrap();
    together.push(submit(attempt.gateway, keep_result_for));
    match made(&mut book, &together).await {
        Submitted::Known(ticket) => (attempt, *ticket),
        stored @ Submitted::Stored { .. } => panic!("{stored:?}"),
    }
}

#[tokio::test]
async fn a_key_says_how_its_ticket_has_ended_in_the_same_transaction() {
    let deleted = |attempt: Attempt| [vec![Change::Delete(attempt.ticket)], vec![fail(attempt)]];
    let swept = |attempt| [vec![fail(attempt)], vec![Change::Expire(10)]];
    for (attempt, left) in [left(Duration::from_secs(3600), deleted).await, left(Duration::ZERO, swept).await]
    {
        assert_eq!((left.id, left.state, left.forgotten), (attempt.ticket, State::Failed, true));
    }
}

#[tokio::test]
async fn a_submit_takes_a_delete_of_the_same_transaction_back() {
    let keep = Duration::from_secs(3600);
    let again = |attempt: Attempt| {
        let changes = vec![Change::Delete(attempt.ticket), submit(attempt.gateway, keep), fail(attempt)];
        [Vec::new(), changes]
    };
    let (attempt, left) = left(keep, again).await;
    assert_eq!((left.id, left.state, left.forgotten), (attempt.ticket, State::Failed, false));
}

#[tokio::test]
async fn what_finds_no_space_once_it_is_looked_at_is_not_the_end_of_its_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let (mut book, _reader) = sqlite::parts(directory.path()).await.unwrap();
    let attempt = begun(&mut book, Duration::from_secs(3600)).await;
    book.apply(&[end(attempt, State::Dead)]).await.unwrap();
    let redrive = [Change::Redrive { dead: attempt.ticket, new: TicketId::new() }];
    let mut batch = book.tables.begin(&redrive).await.unwrap();
    batch.space = Space::BOUNDLESS.without_new();
    let answered = book.change(&redrive[0], &mut batch).await;
    assert!(matches!(answered, Ok(Answer::NoSpace)));
}
