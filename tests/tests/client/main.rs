//! `turno::Client`: calls in batches do what plain gRPC does, and outlive links and gateways.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

mod answers;
mod breaking;
mod crowds;
mod ends;
mod losses;
mod raw;

use std::time::Duration;

use turno::{Client, Request};
use turno_tests::kitchen::{Dish, Wait, kitchen};
use turno_tests::{TestMesh, eventually};

pub(crate) fn client(mesh: &TestMesh) -> Client {
    Client::connect(mesh.running().clients().to_string()).unwrap()
}

/// Linked to both.
pub(crate) async fn client_of(meshes: &[TestMesh; 2]) -> Client {
    let gateways = meshes.each_ref().map(|mesh| mesh.running().clients().to_string());
    let client = Client::to(gateways.clone()).connect().unwrap();
    eventually("both are linked", async || {
        let linked = format!("{client:?}");
        gateways.iter().all(|gateway| linked.contains(gateway))
    })
    .await;
    client
}

pub(crate) fn dish(content: impl Into<bytes::Bytes>) -> Dish {
    Dish { content: content.into() }
}

pub(crate) fn wait(ms: u64) -> Wait {
    Wait { ms, ..Wait::default() }
}

pub(crate) fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

pub(crate) async fn given_up(client: &Client) -> u64 {
    client.call::<kitchen::GivenUp>(Dish::default()).await.unwrap().value
}
