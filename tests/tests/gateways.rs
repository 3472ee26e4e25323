//! Two gateways on one PostgreSQL: either answers for any ticket.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test's own words and failures")]

use prost::Message as _;
use tokio_stream::StreamExt as _;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::google::longrunning::{CancelOperationRequest, Operation, WaitOperationRequest};
use turno_proto::v1::{SubmitRequest, TicketMetadata, TicketState, WatchRequest};
use turno_tests::stubs::{Dish, Wait};
use turno_tests::{Postgres, TestMesh, eventually};

/// Two gateways, each with a kitchen, and what they share.
async fn two() -> Option<(Postgres, TestMesh, TestMesh)> {
    let Some(postgres) = Postgres::start().await else {
        println!("skipped: no PostgreSQL is installed");
        return None;
    };
    let store = || Some(postgres.address().try_into().unwrap());
    let config = || GatewayConfig { store: store(), ..GatewayConfig::default() };
    let (one, other) = (TestMesh::gateway(config()).await, TestMesh::gateway(config()).await);
    drop(one.kitchen(Role::Io, 1).await);
    drop(other.kitchen(Role::Io, 1).await);
    Some((postgres, one, other))
}

fn submit(method: &str, ms: u64) -> SubmitRequest {
    let request = Wait { ms, content: "soup".into() }.encode_to_vec();
    SubmitRequest {
        method: format!("kitchen.v1.Kitchen/{method}"),
        request: request.into(),
        ..SubmitRequest::default()
    }
}

async fn submitted(mesh: &TestMesh, request: SubmitRequest) -> String {
    mesh.tickets().submit(request).await.unwrap().into_inner().name
}

async fn ended(mesh: &TestMesh, name: &str) -> Operation {
    let request = WaitOperationRequest { name: name.to_owned(), timeout: None };
    mesh.operations().wait_operation(request).await.unwrap().into_inner()
}

fn metadata(operation: &Operation) -> TicketMetadata {
    TicketMetadata::decode(&operation.metadata.as_ref().unwrap().value[..]).unwrap()
}

#[tokio::test]
async fn what_one_takes_the_other_answers_for() {
    let Some((_postgres, one, other)) = two().await else { return };
    let keyed = || SubmitRequest { idempotency_key: "order 7".into(), ..submit("Simmer", 300) };
    let ticket = submitted(&one, keyed()).await;
    assert_eq!(submitted(&other, keyed()).await, ticket);
    let done = ended(&other, &ticket).await;
    let Some(Ending::Response(any)) = &done.result else { panic!("{done:?}") };
    assert_eq!(Dish::decode(&any.value[..]).unwrap().content, "soup");
    assert_eq!(metadata(&done).attempts, 1);
}

#[tokio::test]
async fn a_cancel_at_one_reaches_the_method_at_the_other() {
    let Some((_postgres, one, other)) = two().await else { return };
    let ticket = submitted(&one, submit("Simmer", 60_000)).await;
    eventually("it runs", async || one.nodes().await.iter().any(|node| node.in_flight == 1)).await;
    other.operations().cancel_operation(CancelOperationRequest { name: ticket.clone() }).await.unwrap();
    assert_eq!(metadata(&ended(&other, &ticket).await).state(), TicketState::Cancelled);
    assert_eq!(one.client().given_up(Dish::default()).await.unwrap().into_inner().value, 1);
}

#[tokio::test]
async fn a_watch_at_one_sees_what_runs_at_the_other() {
    let Some((_postgres, one, other)) = two().await else { return };
    let ticket = submitted(&one, submit("Stir", 2500)).await;
    let watched = other.tickets().watch(WatchRequest { name: ticket }).await.unwrap().into_inner();
    let seen: Vec<Operation> = watched.map(Result::unwrap).collect().await;
    assert!(seen.iter().any(|now| !now.done && metadata(now).progress.is_some()), "{}", seen.len());
    assert_eq!(metadata(seen.last().unwrap()).state(), TicketState::Done);
}
