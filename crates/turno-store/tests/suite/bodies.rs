//! Requests and responses of every size come back as they were.

use turno_store::{INLINE, NewTicket, Outcome, Room, Store};

use super::{Place, gateway, new, open, submit};

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
