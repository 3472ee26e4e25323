//! Requests that kill the processes they run in, and those that were just there when a node ended.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test's own tasks, words and failures"
)]

use std::time::Duration;

use futures_util::{TryStreamExt as _, stream};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use turno::Client;
use turno::map::Answers;
use turno::node::config::{NodeConfig, Role};
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::google::longrunning::{
    CancelOperationRequest, GetOperationRequest, Operation, WaitOperationRequest,
};
use turno_proto::mesh::v1::mesh_client::MeshClient;
use turno_proto::mesh::v1::{
    GatewayFrame, Hello, Invocation, ItemOutcome, ItemOutcomes, Kind, Method, NodeFrame, Outcome,
    Role as MeshRole,
};
use turno_proto::v1::map_client::MapClient;
use turno_proto::v1::{
    MapHeader, MapOrder, MapRequest, MapResponse, RedriveRequest, ShowRequest, SubmitRequest, TicketMetadata,
    TicketState,
};
use turno_runtime::units::Span;
use turno_tests::kitchen::{self, Kitchen, kitchen as rpc};
use turno_tests::stubs::{Courses, Dish, Number};
use turno_tests::{Postgres, Process, Programs, TestMesh, TestNode, eventually};

const PROGRAMS: Programs = turno_tests::programs!();

const POISON: Number = Number { value: 666, ms: 0 };

fn dish(content: &'static str) -> Dish {
    Dish { content: content.into() }
}

/// A node, as a process.
fn start(mesh: &TestMesh, role: &str) -> Process {
    PROGRAMS.kitchen(&mesh.running().nodes().to_string(), role, 1)
}

/// A gateway, and so many nodes.
async fn mesh_with(role: &str, count: usize) -> (TestMesh, Vec<Process>) {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let nodes: Vec<_> = (0..count).map(|_| start(&mesh, role)).collect();
    eventually("all nodes join", async || mesh.nodes().await.len() == count).await;
    (mesh, nodes)
}

fn assert_refused(error: &Status) {
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("running on two nodes when they were lost"), "{error}");
}

#[tokio::test]
async fn what_has_killed_two_nodes_is_not_given_to_a_third() {
    let (mesh, _workers) = mesh_with("worker", 3).await;
    // It may be repeated, and is: on a second node, and on no other.
    assert_refused(&mesh.client().risk(POISON).await.unwrap_err());
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    for _ in 0..10 {
        assert_refused(&mesh.client().risk(POISON).await.unwrap_err());
    }
    assert_eq!(mesh.client().risk(Number { value: 1, ms: 0 }).await.unwrap().into_inner().value, 1);
    assert_eq!(mesh.nodes().await.len(), 1);
}

#[tokio::test]
async fn a_client_that_tries_again_by_itself_is_stopped_too() {
    let (mesh, _workers) = mesh_with("worker", 3).await;
    let error = mesh.client().gulp(dish("poison")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().contains("may have run"), "{error}");
    assert_refused(&mesh.client().gulp(dish("poison")).await.unwrap_err());
    assert_refused(&mesh.client().gulp(dish("poison")).await.unwrap_err());
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    assert_eq!(mesh.client().gulp(dish("bread")).await.unwrap().into_inner().content, "bread");
}

#[tokio::test]
async fn clients_with_a_link_are_no_way_around_it() {
    let (mesh, _workers) = mesh_with("worker", 3).await;
    let client = Client::connect(mesh.running().clients().to_string()).unwrap();
    let poison = || kitchen::Number { value: 666, ms: 0 };
    assert_refused(&client.call::<rpc::Risk>(poison()).await.unwrap_err());
    assert_refused(&client.call::<rpc::Risk>(poison()).await.unwrap_err());
    assert_refused(&mesh.client().risk(POISON).await.unwrap_err());
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    client.call::<rpc::Risk>(kitchen::Number { value: 1, ms: 0 }).await.unwrap();
}

/// A ticket of Risk.
async fn submitted(mesh: &TestMesh, number: Number) -> String {
    submitted_to(mesh, "Risk", number).await
}

async fn submitted_to(mesh: &TestMesh, method: &str, number: Number) -> String {
    let (method, request) = (format!("kitchen.v1.Kitchen/{method}"), number.encode_to_vec().into());
    let request = SubmitRequest { method, request, ..SubmitRequest::default() };
    mesh.tickets().submit(request).await.unwrap().into_inner().name
}

async fn ended(mesh: &TestMesh, name: &str) -> (Operation, TicketMetadata) {
    let request = WaitOperationRequest { name: name.to_owned(), timeout: None };
    let operation = mesh.operations().wait_operation(request).await.unwrap().into_inner();
    let metadata = metadata(&operation);
    (operation, metadata)
}

fn metadata(operation: &Operation) -> TicketMetadata {
    let metadata = operation.metadata.as_ref().unwrap();
    TicketMetadata::decode(&metadata.value[..]).unwrap()
}

async fn assert_dead(mesh: &TestMesh, name: &str, attempts: u32) {
    let (operation, metadata) = ended(mesh, name).await;
    assert_eq!(metadata.attempts, attempts);
    assert_is_dead(operation, &metadata);
}

fn assert_is_dead(operation: Operation, metadata: &TicketMetadata) {
    assert_eq!(metadata.state(), TicketState::Dead);
    let Some(Ending::Error(error)) = operation.result else { panic!("no error: {operation:?}") };
    assert_refused(&Status::new(Code::from_i32(error.code), error.message));
}

async fn assert_done(mesh: &TestMesh, name: &str, value: u64) {
    let (operation, metadata) = ended(mesh, name).await;
    assert_eq!(metadata.state(), TicketState::Done);
    let Some(Ending::Response(any)) = operation.result else { panic!("no response: {operation:?}") };
    assert_eq!(Number::decode(&any.value[..]).unwrap().value, value);
}

#[tokio::test]
async fn a_ticket_that_has_killed_two_nodes_is_dead_and_others_run_on() {
    let (mesh, _workers) = mesh_with("worker", 3).await;
    let mut others = Vec::new();
    for value in 1..=4 {
        others.push((value, submitted(&mesh, Number { value, ms: 300 }).await));
    }
    let poison = submitted(&mesh, POISON).await;
    assert_dead(&mesh, &poison, 2).await;
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    let shown = mesh.tickets().show(ShowRequest { name: poison }).await.unwrap().into_inner();
    let failures: Vec<_> = shown.failed_attempts.into_iter().filter_map(|attempt| attempt.failure).collect();
    assert_eq!(failures[0].code, Code::Unavailable as i32);
    for failure in &failures {
        assert!(failure.message.contains("was lost while"), "{failures:?}");
        let is_marked = |any: &prost_types::Any| any.value.windows(9).any(|word| word == b"NODE_LOST");
        assert!(failure.details.iter().any(is_marked), "{failures:?}");
    }
    assert!(failures[1].message.contains("until it is redriven"), "{failures:?}");
    // The same again is dead before a node has it.
    let again = submitted(&mesh, POISON).await;
    assert_dead(&mesh, &again, 1).await;
    others.push((5, submitted(&mesh, Number { value: 5, ms: 0 }).await));
    for (value, other) in others {
        assert_done(&mesh, &other, value).await;
    }
    assert_eq!(mesh.nodes().await.len(), 1);
}

/// A ticket that has killed the only node that this gateway had.
async fn that_killed_one(mesh: &TestMesh) -> String {
    let _node = start(mesh, "worker");
    eventually("a node joins", async || mesh.nodes().await.len() == 1).await;
    let name = submitted(mesh, POISON).await;
    eventually("it has killed a node", async || so_far(mesh, &name).await.failures == 1).await;
    name
}

async fn so_far(mesh: &TestMesh, name: &str) -> TicketMetadata {
    let request = GetOperationRequest { name: name.to_owned() };
    let operation = mesh.operations().get_operation(request).await.unwrap().into_inner();
    metadata(&operation)
}

/// A gateway that knows of the first node by the ticket's record alone gives it one more, and no third.
async fn assert_kills_one_more(mesh: &TestMesh, name: &str) {
    let _nodes = [start(mesh, "worker"), start(mesh, "worker")];
    let (operation, metadata) = ended(mesh, name).await;
    assert_eq!(metadata.failures, 2);
    assert_is_dead(operation, &metadata);
    eventually("one is left", async || mesh.nodes().await.len() == 1).await;
    assert_eq!(mesh.client().risk(Number { value: 1, ms: 0 }).await.unwrap().into_inner().value, 1);
}

#[tokio::test]
async fn a_ticket_that_kills_a_node_before_and_after_its_gateway_starts_again_is_dead() {
    let data = tempfile::tempdir().unwrap();
    let config = || GatewayConfig { data: data.path().into(), ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config()).await;
    let poison = that_killed_one(&mesh).await;
    mesh.end().await;
    assert_kills_one_more(&TestMesh::gateway(config()).await, &poison).await;
}

#[tokio::test]
async fn a_ticket_that_kills_a_node_of_each_of_two_gateways_is_dead() {
    let Some(postgres) = Postgres::start().await else {
        return println!("skipped: no PostgreSQL is installed");
    };
    let config = || GatewayConfig {
        store: Some(postgres.address().try_into().expect("a store's URL")),
        ..GatewayConfig::default()
    };
    let (one, other) = (TestMesh::gateway(config()).await, TestMesh::gateway(config()).await);
    let poison = that_killed_one(&one).await;
    assert_kills_one_more(&other, &poison).await;
}

#[tokio::test]
async fn a_dead_ticket_that_is_redriven_may_kill_two_nodes_more() {
    let (mesh, _workers) = mesh_with("worker", 2).await;
    let poison = submitted(&mesh, POISON).await;
    assert_dead(&mesh, &poison, 2).await;
    eventually("both are lost", async || mesh.nodes().await.is_empty()).await;
    let _others = [start(&mesh, "worker"), start(&mesh, "worker"), start(&mesh, "worker")];
    eventually("others have come", async || mesh.nodes().await.len() == 3).await;
    let redriven = mesh.tickets().redrive(RedriveRequest { name: poison.clone() }).await.unwrap();
    let again = redriven.into_inner().name;
    assert_dead(&mesh, &again, 2).await;
    // Twice is once, and what it came to since stands.
    let known = mesh.tickets().redrive(RedriveRequest { name: poison }).await.unwrap();
    assert_eq!(known.into_inner().name, again);
    let same = submitted(&mesh, POISON).await;
    assert_dead(&mesh, &same, 1).await;
    eventually("one is left", async || mesh.nodes().await.len() == 1).await;
}

/// A node whose link breaks when the test lets go of it. Of one name it is the same one each time.
struct Linked {
    up: mpsc::Sender<NodeFrame>,
    down: Streaming<GatewayFrame>,
}

impl Linked {
    async fn to(mesh: &TestMesh, name: &str, method: &str) -> Self {
        Self::with(mesh, name, method, false).await
    }

    /// It has Prove, which may be repeated.
    async fn repeating(mesh: &TestMesh, name: &str) -> Self {
        Self::with(mesh, name, "Prove", true).await
    }

    /// One with a slot, where Prove is a job.
    async fn worker(mesh: &TestMesh, name: &str) -> Self {
        let path = "/kitchen.v1.Kitchen/Prove".to_owned();
        let method = Method { path, kind: Kind::Job.into(), repeatable: true, ..Method::default() };
        let worker = Hello { role: MeshRole::Worker.into(), slots: 1, ..Hello::default() };
        Self::linked(mesh, name, method, worker).await
    }

    async fn with(mesh: &TestMesh, name: &str, method: &str, repeatable: bool) -> Self {
        let path = format!("/kitchen.v1.Kitchen/{method}");
        let method = Method { path, kind: Kind::Awaited.into(), repeatable, ..Method::default() };
        let io = Hello { role: MeshRole::Io.into(), ..Hello::default() };
        Self::linked(mesh, name, method, io).await
    }

    async fn linked(mesh: &TestMesh, name: &str, method: Method, hello: Hello) -> Self {
        let (up, frames) = mpsc::channel(1);
        let (node_id, name) = (name.to_owned(), name.to_owned());
        let hello = Hello { node_id, name, methods: vec![method], ..hello };
        up.send(NodeFrame { hello: Some(hello), ..NodeFrame::default() }).await.unwrap();
        let address = format!("http://{}", mesh.running().nodes());
        let mut client = MeshClient::connect(address).await.unwrap();
        let down = client.link(ReceiverStream::new(frames)).await.unwrap().into_inner();
        Self { up, down }
    }

    /// The number of a call that has come.
    async fn call(&mut self) -> u64 {
        self.invocation().await.call
    }

    async fn invocation(&mut self) -> Invocation {
        loop {
            let frame = self.down.message().await.unwrap().unwrap();
            if let Some(invocation) = frame.invocations.into_iter().next() {
                return invocation;
            }
        }
    }

    /// Answers whatever comes.
    async fn answer_all(self, number: Number) {
        let Self { up, mut down } = self;
        while let Ok(Some(frame)) = down.message().await {
            for invocation in &frame.invocations {
                up.send(answer_to(invocation, number)).await.unwrap();
            }
        }
    }

    /// As a node that is asked to end.
    async fn leave(mut self) {
        self.up.send(NodeFrame { leaving: true, ..NodeFrame::default() }).await.unwrap();
        while !self.down.message().await.unwrap().unwrap().released {}
    }

    async fn answer(&self, call: u64, number: Number) {
        self.up.send(answer(call, number)).await.unwrap();
    }
}

fn answer(call: u64, number: Number) -> NodeFrame {
    answered(call, number.encode_to_vec())
}

/// The same for a chunk of a map, which has one item.
fn answer_to(invocation: &Invocation, number: Number) -> NodeFrame {
    if invocation.items == 0 {
        return answer(invocation.call, number);
    }
    let outcome = ItemOutcome { body: number.encode_to_vec().into(), ..ItemOutcome::default() };
    answered(invocation.call, ItemOutcomes { outcomes: vec![outcome] }.encode_to_vec())
}

fn answered(call: u64, body: Vec<u8>) -> NodeFrame {
    let outcome = Outcome { call, body: body.into(), ..Outcome::default() };
    NodeFrame { outcomes: vec![outcome], ..NodeFrame::default() }
}

/// Of the only one.
async fn break_link(mesh: &TestMesh, node: Linked) {
    drop(node);
    eventually("the link is known to be broken", async || mesh.nodes().await.is_empty()).await;
}

#[tokio::test]
async fn a_node_that_comes_again_speaks_against_no_ticket_however_often_its_link_breaks() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let mut node = Linked::to(&mesh, "survivor", "Prove").await;
    let seven = Number { value: 7, ms: 0 };
    let name = submitted_to(&mesh, "Prove", seven).await;
    for _ in 0..2 {
        node.call().await;
        break_link(&mesh, node).await;
        node = Linked::to(&mesh, "survivor", "Prove").await;
    }
    let call = node.call().await;
    node.answer(call, seven).await;
    assert_done(&mesh, &name, 7).await;
    let (_, metadata) = ended(&mesh, &name).await;
    assert_eq!((metadata.attempts, metadata.failures), (3, 2));
}

/// Begins a ticket at a node, which is lost then.
async fn that_lost(mesh: &TestMesh, node: &str) -> String {
    let mut node = Linked::to(mesh, node, "Prove").await;
    let name = submitted_to(mesh, "Prove", Number { value: 7, ms: 0 }).await;
    node.call().await;
    drop(node);
    eventually("the loss is on record", async || so_far(mesh, &name).await.failures == 1).await;
    name
}

/// The ticket goes to a node that is lost with it for good, and is done by another.
async fn assert_survives(mesh: &TestMesh, name: &str, mut dies: Linked) {
    dies.call().await;
    drop(dies);
    eventually("the second loss is on record", async || so_far(mesh, name).await.failures == 2).await;
    assert_ne!(so_far(mesh, name).await.state(), TicketState::Dead);
    let mut other = Linked::to(mesh, "other", "Prove").await;
    let call = other.call().await;
    other.answer(call, Number { value: 7, ms: 0 }).await;
    assert_done(mesh, name, 7).await;
    assert_eq!(so_far(mesh, name).await.failures, 2);
}

#[tokio::test]
async fn a_node_that_comes_again_does_not_count_when_another_dies() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let name = that_lost(&mesh, "survivor").await;
    // Which has something else to do now.
    let _survivor = Linked::to(&mesh, "survivor", "Bake").await;
    let dies = Linked::to(&mesh, "victim", "Prove").await;
    assert_survives(&mesh, &name, dies).await;
}

#[tokio::test]
async fn a_node_that_came_again_and_left_in_order_does_not_count_when_another_dies() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let name = that_lost(&mesh, "survivor").await;
    Linked::to(&mesh, "survivor", "Bake").await.leave().await;
    eventually("it has left", async || mesh.nodes().await.is_empty()).await;
    let dies = Linked::to(&mesh, "victim", "Prove").await;
    assert_survives(&mesh, &name, dies).await;
}

#[tokio::test]
async fn a_node_whose_link_breaks_before_it_dies_is_one() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let name = that_lost(&mesh, "victim").await;
    let dies = Linked::to(&mesh, "victim", "Prove").await;
    assert_survives(&mesh, &name, dies).await;
}

/// A map of Prove. How long an item takes is known by the first one; the second one was at a node that is lost.
struct HalfDone {
    _client: Client,
    items: mpsc::Sender<kitchen::Number>,
    answers: Answers<rpc::Prove>,
}

impl HalfDone {
    async fn that_lost(mesh: &TestMesh, node: &str) -> Self {
        let mut node = Linked::repeating(mesh, node).await;
        let client = Client::connect(mesh.running().clients().to_string()).unwrap();
        let (items, coming) = mpsc::channel(1);
        let mut answers = client.map::<rpc::Prove>(ReceiverStream::new(coming)).await.unwrap();
        let first = Number { value: 7, ms: 0 };
        items.send(kitchen::Number { value: first.value, ms: first.ms }).await.unwrap();
        let invocation = node.invocation().await;
        node.up.send(answer_to(&invocation, first)).await.unwrap();
        assert_eq!(answers.try_next().await.unwrap().unwrap().1.unwrap().value, first.value);
        items.send(kitchen::Number { value: 8, ms: 0 }).await.unwrap();
        node.call().await;
        break_link(mesh, node).await;
        Self { _client: client, items, answers }
    }

    /// This node answers the second item.
    async fn assert_ends_at(mut self, node: Linked) {
        let cooking = tokio::spawn(node.answer_all(Number { value: 8, ms: 0 }));
        let (index, answer) = self.answers.try_next().await.unwrap().unwrap();
        assert_eq!((index, answer.unwrap().value), (1, 8));
        drop(self.items);
        assert!(self.answers.try_next().await.unwrap().is_none());
        cooking.abort();
    }
}

/// In one message with that which goes, so that its result is there before.
#[tokio::test]
async fn an_item_that_is_refused_does_not_hold_up_the_one_before_it() {
    let (mesh, _workers) = mesh_with("worker", 3).await;
    assert_refused(&mesh.client().risk(POISON).await.unwrap_err());
    let header = MapHeader {
        method: "kitchen.v1.Kitchen/Risk".to_owned(),
        order: MapOrder::AsSent.into(),
        in_flight: 1,
        ..MapHeader::default()
    };
    let fine = Number { value: 1, ms: 0 };
    let items = [fine, POISON, POISON].iter().map(|number| number.encode_to_vec().into()).collect();
    let mut request = Request::new(stream::iter([MapRequest { header: Some(header), items }]));
    request.set_timeout(Duration::from_secs(15));
    let answered = MapClient::new(mesh.channel()).map(request).await.unwrap().into_inner();
    let answered: Vec<MapResponse> = answered.try_collect().await.unwrap();
    let results = answered.iter().flat_map(|message| &message.results);
    let failed: Vec<_> = results.map(|result| (result.index, result.error.is_some())).collect();
    assert_eq!(failed, [(0, false), (1, true), (2, true)]);
}

#[tokio::test]
async fn a_node_whose_link_breaks_twice_convicts_no_item_of_a_map() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let map = HalfDone::that_lost(&mesh, "survivor").await;
    let mut node = Linked::repeating(&mesh, "survivor").await;
    node.call().await;
    break_link(&mesh, node).await;
    map.assert_ends_at(Linked::repeating(&mesh, "survivor").await).await;
}

#[tokio::test]
async fn a_node_that_comes_again_in_time_convicts_no_item_of_a_map() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let map = HalfDone::that_lost(&mesh, "survivor").await;
    let mut victim = Linked::repeating(&mesh, "victim").await;
    victim.call().await;
    break_link(&mesh, victim).await;
    // Which has something else to do now.
    let _survivor = Linked::to(&mesh, "survivor", "Bake").await;
    map.assert_ends_at(Linked::repeating(&mesh, "third").await).await;
}

/// Two nodes are linked again, and perhaps leave in order by these links, before the old ones break with a call each.
async fn assert_speak_against_no_call(leave: bool) {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let seven = Number { value: 7, ms: 0 };
    let (mut old, mut calls) = (Vec::new(), Vec::new());
    // Each goes to the node that has nothing yet.
    for name in ["first", "second"] {
        let mut node = Linked::to(&mesh, name, "Prove").await;
        let mut client = mesh.client();
        calls.push(tokio::spawn(async move { client.prove(seven).await }));
        node.call().await;
        old.push(node);
    }
    let mut again = Vec::new();
    for name in ["first", "second"] {
        let node = Linked::to(&mesh, name, "Bake").await;
        if leave { node.leave().await } else { again.push(node) }
    }
    let stay = again.len();
    eventually("who leaves has left", async || mesh.nodes().await.len() == old.len() + stay).await;
    drop(old);
    eventually("the old links are known to be broken", async || mesh.nodes().await.len() == stay).await;
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
    }
    let cooking = tokio::spawn(Linked::to(&mesh, "third", "Prove").await.answer_all(seven));
    assert_eq!(mesh.client().prove(seven).await.unwrap().into_inner(), seven);
    cooking.abort();
}

#[tokio::test]
async fn nodes_that_were_linked_again_before_the_old_links_broke_speak_against_no_call() {
    assert_speak_against_no_call(false).await;
}

#[tokio::test]
async fn nodes_that_left_in_order_before_the_old_links_broke_speak_against_no_call() {
    assert_speak_against_no_call(true).await;
}

#[tokio::test]
async fn while_nodes_may_come_again_no_ticket_with_the_same_request_is_dead() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let seven = Number { value: 7, ms: 0 };
    let (mut nodes, mut names) = (Vec::new(), Vec::new());
    // Each goes to the node that has nothing yet.
    for node in ["first", "second"] {
        let mut node = Linked::to(&mesh, node, "Prove").await;
        names.push(submitted_to(&mesh, "Prove", seven).await);
        node.call().await;
        nodes.push(node);
    }
    drop(nodes);
    eventually("both links are known to be broken", async || mesh.nodes().await.is_empty()).await;
    let third = Linked::to(&mesh, "third", "Prove").await;
    let cooking = tokio::spawn(third.answer_all(seven));
    let refused = submitted_to(&mesh, "Prove", seven).await;
    eventually("it is given back", async || so_far(&mesh, &refused).await.attempts > 1).await;
    let _second = Linked::to(&mesh, "second", "Bake").await;
    names.push(refused);
    for name in names {
        assert_done(&mesh, &name, 7).await;
    }
    cooking.abort();
}

/// A ticket that has lost a node before loses another.
async fn lose_another(mesh: &TestMesh) {
    let mut node = Linked::to(mesh, "another", "Prove").await;
    node.call().await;
    break_link(mesh, node).await;
}

#[tokio::test]
async fn a_cancel_does_not_wait_for_lost_nodes_to_come_again() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let name = that_lost(&mesh, "one").await;
    lose_another(&mesh).await;
    mesh.operations().cancel_operation(CancelOperationRequest { name: name.clone() }).await.unwrap();
    assert_eq!(ended(&mesh, &name).await.1.state(), TicketState::Cancelled);
}

#[tokio::test]
async fn a_gateway_that_ends_gives_back_what_it_has_not_weighed() {
    let data = tempfile::tempdir().unwrap();
    let config = || GatewayConfig { data: data.path().into(), ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config()).await;
    let name = that_lost(&mesh, "one").await;
    lose_another(&mesh).await;
    mesh.end().await;
    let mesh = TestMesh::gateway(config()).await;
    let metadata = so_far(&mesh, &name).await;
    assert_ne!(metadata.state(), TicketState::Dead);
    assert_eq!(metadata.failures, 2);
    let mut other = Linked::to(&mesh, "other", "Prove").await;
    let call = other.call().await;
    other.answer(call, Number { value: 7, ms: 0 }).await;
    assert_done(&mesh, &name, 7).await;
}

/// The new version of the service has an `async fn` where the old one had a `fn`.
#[tokio::test]
async fn what_waits_for_a_slot_of_nodes_that_leave_goes_to_those_that_await_it() {
    let patience = Span(Duration::from_millis(200));
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..GatewayConfig::default() }).await;
    let mut old = Linked::worker(&mesh, "old").await;
    let client = Client::connect(mesh.running().clients().to_string()).unwrap();
    let mut numbers = Request::new(stream::iter((0..10).map(|_| kitchen::Number { value: 7, ms: 0 })));
    numbers.set_timeout(Duration::from_secs(15));
    let proving = client.map::<rpc::Prove>(numbers).await.unwrap();
    old.call().await;
    let new = Linked::repeating(&mesh, "new").await;
    let cooking = tokio::spawn(new.answer_all(Number { value: 7, ms: 0 }));
    old.leave().await;
    let proved = proving.try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(proved.iter().filter(|(_, number)| number.is_ok()).count(), 10);
    cooking.abort();
}

async fn serve(mesh: &TestMesh, courses: Courses) -> Result<Vec<Dish>, Status> {
    mesh.client().serve(courses).await?.into_inner().try_collect().await
}

#[tokio::test]
async fn a_stream_that_kills_its_node_behind_its_first_message_is_stopped_too() {
    let (mesh, _nodes) = mesh_with("io", 3).await;
    let poison = Courses { count: 1, bytes: 666, pause_ms: 100, ..Courses::default() };
    let error = serve(&mesh, poison).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_refused(&serve(&mesh, poison).await.unwrap_err());
    assert_refused(&serve(&mesh, poison).await.unwrap_err());
    eventually("two nodes are lost", async || mesh.nodes().await.len() == 1).await;
    assert_eq!(serve(&mesh, Courses { bytes: 665, ..poison }).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_stream_that_works_speaks_for_its_input() {
    let (mesh, mut nodes) = mesh_with("io", 1).await;
    let courses = Courses { count: 1, bytes: 1, pause_ms: 300, ..Courses::default() };
    for _ in 0..2 {
        let mut broken = mesh.client().serve(courses).await.unwrap().into_inner();
        broken.message().await.unwrap().unwrap();
        nodes.pop().unwrap().kill();
        assert_eq!(broken.message().await.unwrap_err().code(), Code::Unavailable);
        nodes.push(start(&mesh, "io"));
        eventually("another has come", async || mesh.nodes().await.len() == 1).await;
        assert_eq!(serve(&mesh, courses).await.unwrap().len(), 1);
    }
}

/// A worker where Prove does not end, and that does not wait for it when it leaves.
async fn impatient(mesh: &TestMesh) -> TestNode {
    let drain = Span(Duration::from_millis(20));
    let config = NodeConfig { drain, ..mesh.node_config(Role::Worker, 1) };
    mesh.join(turno::node("kitchen").service(Kitchen::slow), config).await
}

async fn has_it(mesh: &TestMesh, worker: &TestNode) -> bool {
    let id = worker.running.id();
    mesh.nodes().await.iter().any(|node| node.id == id && node.in_flight == 1)
}

/// What is at the first of two impatient workers goes to the other when it leaves, and then to one that ends it.
async fn leave_one_after_the_other(mesh: &TestMesh, first: TestNode) {
    eventually("the first has it", async || has_it(mesh, &first).await).await;
    let second = impatient(mesh).await;
    first.leave().await;
    eventually("the second has it", async || has_it(mesh, &second).await).await;
    drop(mesh.kitchen(Role::Worker, 1).await);
    second.leave().await;
}

#[tokio::test]
async fn nodes_that_leave_speak_against_no_call() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let (first, mut client) = (impatient(&mesh).await, mesh.client());
    let proving = tokio::spawn(async move { client.prove(Number { value: 7, ms: 0 }).await });
    leave_one_after_the_other(&mesh, first).await;
    assert_eq!(proving.await.unwrap().unwrap().into_inner().value, 7);
}

#[tokio::test]
async fn nodes_that_leave_speak_against_no_ticket() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let first = impatient(&mesh).await;
    let name = submitted_to(&mesh, "Prove", Number { value: 7, ms: 0 }).await;
    leave_one_after_the_other(&mesh, first).await;
    assert_done(&mesh, &name, 7).await;
}

#[tokio::test]
async fn nodes_that_leave_speak_against_no_item_of_a_map() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let first = impatient(&mesh).await;
    let client = Client::connect(mesh.running().clients().to_string()).unwrap();
    let one = stream::iter([kitchen::Number { value: 7, ms: 0 }]);
    let proving = client.map::<rpc::Prove>(one).await.unwrap();
    leave_one_after_the_other(&mesh, first).await;
    let proved = proving.try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(proved.into_iter().map(|(_, number)| number.unwrap().value).collect::<Vec<_>>(), [7]);
}
