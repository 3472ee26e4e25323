//! What every store is held to, whatever it is made of.

pub(crate) mod bodies;
pub(crate) mod ends;
pub(crate) mod finding;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod maps;
pub(crate) mod runs;
pub(crate) mod server;
pub(crate) mod submits;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use turno_store::{
    Attempt, Error, Failure, GatewayId, NewTicket, Outcome, State, Store, Submitted, TicketId,
};

/// A place where a store lies: it can be opened, left, and opened again.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// Opens what lies there.
    async fn open(&self) -> Result<Arc<dyn Store>, Error>;

    /// Whether gateways' leases outlast that.
    fn keeps_leases(&self) -> bool;

    /// What a person's own statement answers first, a number. Tables are named as PostgreSQL has them: `turno.ticket`.
    async fn ask(&self, sql: &str) -> Option<i64>;
}

/// Opens it, or fails the test.
pub(crate) async fn open(place: &dyn Place) -> Arc<dyn Store> {
    place.open().await.expect("the store opens")
}

/// A gateway with a lease that outlasts every test.
pub(crate) async fn gateway(store: &dyn Store) -> GatewayId {
    let gateway = GatewayId(TicketId::new().0);
    store.renew(gateway, Duration::from_secs(3600)).await.unwrap();
    gateway
}

/// A plain ticket.
pub(crate) fn new() -> NewTicket {
    NewTicket {
        id: TicketId::new(),
        method: "kitchen.v1.Kitchen/Bake".into(),
        request: Bytes::from_static(b"dough"),
        inputs: None,
        tenant: "luigi".into(),
        metadata: Bytes::from_static(b"oven: 2"),
        labels: BTreeMap::new(),
        key: None,
        not_before: None,
        timeout: Some(Duration::from_millis(1500)),
        retries: 3,
        keep_result_for: Duration::from_secs(3600),
        begin_at: None,
    }
}

/// Stores it; its attempt, if one has begun.
pub(crate) async fn submit(store: &dyn Store, ticket: NewTicket) -> Option<Attempt> {
    match store.submit(ticket).await.unwrap() {
        Submitted::Stored { attempt, .. } => attempt,
        Submitted::Known(known) => panic!("{} is known", known.id),
    }
}

/// A ticket whose first attempt runs at `gateway`.
pub(crate) async fn begin(store: &dyn Store, gateway: GatewayId) -> Attempt {
    submit(store, NewTicket { begin_at: Some(gateway), ..new() }).await.expect("it begins at once")
}

/// A ticket that is dead.
pub(crate) async fn dead(store: &dyn Store, gateway: GatewayId, ticket: NewTicket) -> TicketId {
    let attempt = submit(store, NewTicket { begin_at: Some(gateway), ..ticket }).await.unwrap();
    store.finish(attempt, Outcome::Dead(burnt())).await.unwrap();
    attempt.ticket
}

/// A failure.
pub(crate) fn burnt() -> Failure {
    Failure { code: 14, message: "burnt".into(), details: Bytes::from_static(b"black") }
}

/// Its state.
pub(crate) async fn state(store: &dyn Store, ticket: TicketId) -> State {
    store.get(ticket).await.unwrap().state
}

/// Waits until `ask` answers something: 20 s at most.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
