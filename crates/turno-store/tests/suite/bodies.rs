//! Requests and responses of every size come back as they were.

use futures_util::FutureExt as _;
use turno_store::{Error, INLINE, NewTicket, Outcome, Room, Store};

use super::{Place, eventually, gateway, new, open, submit};

fn bytes(length: usize, seed: usize) -> bytes::Bytes {
    (0..length).map(|at| ((at * 31 + at / 251 + seed) % 256) as u8).collect::<Vec<_>>().into()
}

pub(crate) async fn bodies_of_every_size_come_back(place: &dyn Place) {
    let store = open(place).await;
    let gateway = gateway(&*store).await;
    let sizes = [0, 1, INLINE, INLINE + 1, 256 * 1024, 256 * 1024 + 1, 1024 * 1024 + 1, 5_000_000];
    let mut tickets = Vec::new();
    for (seed, size) in sizes.into_iter().enumerate() {
        let ticket = NewTicket { request: bytes(size, seed), ..new() };
        submit(&*store, ticket.clone()).await;
        assert_eq!(store.get(ticket.id).await.unwrap().request_bytes, size as u64);
        tickets.push(ticket);
    }
    drop(store);
    let store = open(place).await;
    let claimed = store.claim(gateway_again(&*store, gateway).await, Room::of(100)).await.unwrap();
    assert_eq!(claimed.len(), sizes.len());
    for claimed in claimed {
        let ticket = tickets.iter().find(|ticket| ticket.id == claimed.attempt.ticket).unwrap();
        assert_eq!(claimed.request, ticket.request);
        let response = bytes(ticket.request.len(), 99);
        store.finish(claimed.attempt, Outcome::Done(response.clone())).await.unwrap();
        assert_eq!(store.get(ticket.id).await.unwrap().response_bytes, response.len() as u64);
        assert_eq!(store.whole(ticket.id).await.unwrap().1, Some(response));
        assert_eq!(store.request(ticket.id).await.unwrap(), ticket.request);
        store.delete(ticket.id).await.unwrap();
    }
}

async fn gateway_again(store: &dyn Store, gateway: turno_store::GatewayId) -> turno_store::GatewayId {
    store.renew(gateway, std::time::Duration::from_secs(3600)).await.unwrap();
    gateway
}

pub(crate) async fn small_tickets_pass_a_large_one(place: &dyn Place) {
    let store = open(place).await;
    let large = NewTicket { request: bytes(20_000_000, 1), ..new() };
    let small = async {
        let mut passed = 0;
        for _ in 0..10 {
            submit(&*store, new()).await;
            passed += usize::from(store.get(large.id).await.is_err());
        }
        passed
    };
    let (passed, _) = tokio::join!(small, submit(&*store, large.clone()));
    assert!(passed > 0, "none was stored before the large one");
    assert_eq!(store.request(large.id).await.unwrap(), large.request);
}

async fn pieces(place: &dyn Place) -> i64 {
    place.ask("SELECT count(*) FROM turno.piece").await.unwrap()
}

/// A large body is written piece by piece before the change that needs it, which may never come.
pub(crate) async fn what_was_written_for_nobody_is_swept(place: &dyn Place) {
    let store = open(place).await;
    let whole = NewTicket { request: bytes(3_000_000, 1), ..new() };
    submit(&*store, whole.clone()).await;
    let stays = pieces(place).await;
    let large = NewTicket { request: bytes(3_000_000, 2), ..new() };
    let mut given_up = store.submit(large.clone());
    // It is not asked again, and comes no further than its first piece.
    assert!((&mut given_up).now_or_never().is_none());
    eventually("it is written", || async { (pieces(place).await == stays + 1).then_some(()) }).await;
    drop(given_up);
    store.expire(100).await.unwrap();
    assert_eq!(pieces(place).await, stays + 1, "who may still need it has an hour");
    let an_hour_ago = "UPDATE turno.unfinished_body SET began_at = began_at - 3600001 RETURNING began_at";
    assert!(place.ask(an_hour_ago).await.is_some(), "it is listed");
    store.expire(100).await.unwrap();
    assert_eq!(pieces(place).await, stays);
    assert_eq!(place.ask("SELECT count(*) FROM turno.unfinished_body").await, Some(0));
    assert!(matches!(store.get(large.id).await, Err(Error::NotFound(_))));
    assert_eq!(store.request(whole.id).await.unwrap(), whole.request);
}
