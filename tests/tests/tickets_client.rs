//! Tickets by the SDK: `client.submit`, `ctx.submit`, and what a ticket answers, against a gateway that keeps them.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;
use turno::io::v1::{FetchRequest, FetchResponse, http};
use turno::node::config::{NodeConfig, Role};
use turno::ticket::State;
use turno::{Client, Code, Context, Request, Ticket};
use turno_gateway::{Gateway, GatewayConfig};
use turno_proto::google::longrunning::ListOperationsRequest;
use turno_tests::kitchen::{Dish, Kitchen, Number, Wait, kitchen};
use turno_tests::{TestMesh, eventually, free_port};

fn client(mesh: &TestMesh) -> Client {
    Client::connect(mesh.running().clients().to_string()).unwrap()
}

fn dish(content: impl Into<bytes::Bytes>) -> Dish {
    Dish { content: content.into() }
}

fn tomorrow() -> SystemTime {
    SystemTime::now() + Duration::from_secs(86_400)
}

#[tokio::test]
async fn the_same_key_is_the_same_ticket() {
    let mesh = TestMesh::start(0, 1).await;
    let client = client(&mesh);
    let submit = |content: &'static str| client.submit::<kitchen::Echo>(dish(content)).key("bread");
    let first = submit("bread").await.unwrap();
    assert_eq!(submit("bread").await.unwrap().name(), first.name());
    assert_eq!(submit("cake").await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(first.await.unwrap().content, "bread");
    let (one, other) = (
        client.submit::<kitchen::Echo>(dish("bread")).await.unwrap(),
        client.submit::<kitchen::Echo>(dish("bread")).await.unwrap(),
    );
    assert_ne!(one.name(), other.name(), "without a key every submit is a new ticket");
}

#[tokio::test]
async fn a_ticket_that_was_tried_in_vain_is_dead_with_the_methods_last_word() {
    let mesh = TestMesh::start(0, 1).await;
    let client = client(&mesh);
    // It answers ABORTED, each time.
    let stubborn = Number { value: Code::Aborted as u64, ms: 99 };
    let ticket = client.submit::<kitchen::Fuss>(stubborn).retries(1).label("shop", "rosa").await.unwrap();
    let error = ticket.response().await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Aborted, "attempt 2 will not do"));
    let seen = ticket.snapshot().await.unwrap();
    assert_eq!((seen.state, seen.attempts, seen.failures, seen.retries), (State::Dead, 2, 2, 1));
    assert_eq!(seen.last_failure.unwrap().message(), "attempt 2 will not do");
    assert_eq!(seen.labels["shop"], "rosa");
    assert!(
        seen.submitted_at <= seen.began_at
            && seen.began_at <= seen.ended_at
            && seen.ended_at < seen.expires_at
    );
    let others = client.ticket::<kitchen::Echo>(ticket.id()).response().await.unwrap_err();
    assert_eq!(others.code(), Code::FailedPrecondition, "{others}");
}

#[tokio::test]
async fn what_waits_and_what_runs_is_cancelled() {
    let mesh = TestMesh::start(0, 1).await;
    let client = client(&mesh);
    let later = client.submit::<kitchen::Echo>(dish("cake")).not_before(tomorrow()).await.unwrap();
    assert_eq!(later.state().await.unwrap(), State::Waiting);
    later.cancel().await.unwrap();
    assert_eq!(later.await.unwrap_err().code(), Code::Cancelled);
    let long = Wait { ms: 60_000, content: "stock".into() };
    let running = client.submit::<kitchen::Simmer>(long).await.unwrap();
    eventually("it runs", async || running.state().await.unwrap() == State::Running).await;
    running.cancel().await.unwrap();
    assert_eq!(running.response().await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(running.state().await.unwrap(), State::Cancelled);
    assert_eq!(
        client.call::<kitchen::GivenUp>(Dish::default()).await.unwrap().value,
        1,
        "the method was told"
    );
}

/// A method that submits another, and does not wait for it.
struct Waiter;

#[turno::service(http)]
impl Waiter {
    async fn fetch(&self, ctx: Context, request: FetchRequest) -> turno::Result<FetchResponse> {
        let ticket = ctx.submit::<kitchen::Inspect>(dish("table 7")).label("by", "waiter").await?;
        let inspected = if request.url == "stay" { Some(ticket.response().await?) } else { None };
        Ok(FetchResponse {
            url: ticket.name().to_owned(),
            status: inspected.is_some().into(),
            ..Default::default()
        })
    }
}

#[tokio::test]
async fn a_method_submits_in_its_own_name_and_its_tickets_know_no_deadline_of_it() {
    let token: String = "sesame-sesame-sesame".into();
    let config = GatewayConfig { token: token.clone().try_into().unwrap(), ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    let config = |role| NodeConfig { token: token.clone().try_into().unwrap(), ..mesh.node_config(role, 1) };
    let _kitchen = mesh.join(turno::node("kitchen").service(Kitchen::default), config(Role::Io)).await;
    let _waiter = mesh.join(turno::node("waiter").service(|| Waiter), config(Role::Io)).await;
    let client = client(&mesh);
    for url in ["go", "stay"] {
        let mut request = Request::new(FetchRequest { url: url.into(), ..FetchRequest::default() });
        request.set_timeout(Duration::from_secs(15));
        request.metadata_mut().insert("turno-tenant", "bakery".parse().unwrap());
        let name = client.call::<http::Fetch>(request).await.unwrap().url;
        let ticket = client.ticket::<kitchen::Inspect>(name);
        let inspected = ticket.response().await.unwrap();
        assert_eq!(inspected.calling_method, "turno.io.v1.Http/Fetch");
        assert_eq!(inspected.metadata["turno-tenant"], "bakery");
        assert!(!inspected.metadata.contains_key("authorization"));
        // An attempt may have limits of its own; the caller's 15 s are none of them.
        assert!(inspected.time_left_ms == 0 || inspected.time_left_ms > 15_000, "{}", inspected.time_left_ms);
        assert_eq!(ticket.snapshot().await.unwrap().labels["by"], "waiter");
    }
}

#[tokio::test]
async fn what_nobody_serves_waits_for_a_node_and_is_not_claimed_meanwhile() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let cook = mesh.kitchen(Role::Io, 1).await;
    let _waiter = mesh.join(turno::node("waiter").service(|| Waiter), mesh.node_config(Role::Io, 1)).await;
    let client = client(&mesh);
    cook.leave().await;
    let waiting = client.submit::<kitchen::Inspect>(dish("table 7")).await.unwrap();
    // That it runs, by a claim, means that the one before it has been passed over.
    let soon = SystemTime::now() + Duration::from_millis(300);
    client.submit::<http::Fetch>(FetchRequest::default()).not_before(soon).await.unwrap().await.unwrap();
    let seen = waiting.snapshot().await.unwrap();
    assert_eq!((seen.state, seen.attempts), (State::Waiting, 0));
    let _again = mesh.kitchen(Role::Io, 1).await;
    assert_eq!(waiting.response().await.unwrap().metadata["turno-attempt"], "1");
}

#[tokio::test]
async fn what_a_gateway_finds_in_its_store_is_claimed_once_before_a_node_comes() {
    let data = tempfile::tempdir().unwrap();
    let patience = turno_runtime::units::Span(Duration::from_millis(100));
    let config = GatewayConfig { data: data.path().into(), patience, ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config.clone()).await;
    mesh.kitchen(Role::Io, 1).await.leave().await;
    let waiting = client(&mesh).submit::<kitchen::Inspect>(dish("table 7")).await.unwrap().name().to_owned();
    mesh.end().await;
    let mesh = TestMesh::gateway(config).await;
    let _waiter = mesh.join(turno::node("waiter").service(|| Waiter), mesh.node_config(Role::Io, 1)).await;
    let client = client(&mesh);
    // By then what was given back is due again.
    let then = SystemTime::now() + Duration::from_secs(2);
    client.submit::<http::Fetch>(FetchRequest::default()).not_before(then).await.unwrap().await.unwrap();
    let waiting = client.ticket::<kitchen::Inspect>(waiting);
    assert_eq!(waiting.snapshot().await.unwrap().attempts, 1);
    let _cook = mesh.kitchen(Role::Io, 1).await;
    assert_eq!(waiting.response().await.unwrap().metadata["turno-attempt"], "2");
}

/// A gateway where it was before, with the same tickets.
async fn gateway_at(config: &GatewayConfig) -> (turno_gateway::Running, CancellationToken) {
    let shutdown = CancellationToken::new();
    (Gateway::bind(config.clone()).await.unwrap().start(shutdown.clone()), shutdown)
}

#[tokio::test]
async fn submits_go_on_while_a_gateway_starts_anew_and_none_is_two_tickets() {
    const SUBMITS: usize = 200;
    let data = tempfile::tempdir().unwrap();
    let (listen, nodes) = (free_port(), free_port());
    let config = GatewayConfig { listen, nodes, data: data.path().into(), ..GatewayConfig::default() };
    let (gateway, shutdown) = gateway_at(&config).await;
    let node = NodeConfig { gateway: nodes.to_string(), role: Role::Io, ..NodeConfig::default() };
    let _node =
        turno::node("kitchen").service(Kitchen::default).start(&node, CancellationToken::new()).unwrap();
    let client = Client::to([listen.to_string()]).patience(Duration::from_secs(20)).connect().unwrap();
    let submit = async |number: usize| -> turno::Result<Ticket<kitchen::Echo>> {
        client.submit::<kitchen::Echo>(dish(number.to_string())).await
    };
    let first = try_join_all((0..SUBMITS / 2).map(&submit)).await.unwrap();
    let rest = try_join_all((SUBMITS / 2..SUBMITS).map(&submit));
    let restart = async {
        shutdown.cancel();
        gateway.ended().await;
        gateway_at(&config).await
    };
    let (rest, _again) = tokio::join!(rest, restart);
    let tickets: Vec<_> = first.into_iter().chain(rest.unwrap()).collect();
    let answers = try_join_all(tickets.iter().map(Ticket::response)).await.unwrap();
    let expected: Vec<_> = (0..SUBMITS).map(|number| dish(number.to_string())).collect();
    assert_eq!(answers, expected);
    let names: BTreeSet<_> = tickets.iter().map(|ticket| ticket.name().to_owned()).collect();
    assert_eq!(names.len(), SUBMITS);
    assert_eq!(all_names(listen).await, names, "no submit has left two tickets");
}

async fn all_names(listen: std::net::SocketAddr) -> BTreeSet<String> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{listen}")).unwrap().connect_lazy();
    let mut operations = turno_proto::google::longrunning::operations_client::OperationsClient::new(channel);
    let question = ListOperationsRequest { page_size: 1000, ..ListOperationsRequest::default() };
    let page = operations.list_operations(question).await.unwrap().into_inner();
    assert_eq!(page.next_page_token, "");
    page.operations.into_iter().map(|operation| operation.name).collect()
}
