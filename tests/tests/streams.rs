//! Streams of requests, alone and together with streams of answers: order, ends, errors, and that who stops reading
//! stops who writes.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::{Code, Request};
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::mesh::v1::mesh_client::MeshClient;
use turno_proto::mesh::v1::{Hello, Kind, Method, NodeFrame, Role as MeshRole};
use turno_runtime::units::Size;
use turno_tests::stubs::kitchen_client::KitchenClient;
use turno_tests::stubs::{Dish, Number};
use turno_tests::{TestMesh, eventually};

fn dish(content: impl Into<bytes::Bytes>) -> Dish {
    Dish { content: content.into() }
}

fn dishes<const N: usize>(contents: [&'static str; N]) -> impl Stream<Item = Dish> {
    stream::iter(contents.map(dish))
}

/// A client that keeps its side open.
fn open<const N: usize>(contents: [&'static str; N]) -> impl Stream<Item = Dish> {
    dishes(contents).chain(stream::pending())
}

/// tonic's client has a timer of its own, which says CANCELLED; when it wins, the gateway's word is not heard.
fn is_late(error: &tonic::Status) -> bool {
    error.code() == Code::DeadlineExceeded
        || (error.code() == Code::Cancelled && error.message() == "Timeout expired")
}

async fn given_up(mesh: &TestMesh) -> u64 {
    mesh.client().given_up(Dish::default()).await.unwrap().into_inner().value
}

async fn in_flight(mesh: &TestMesh) -> u64 {
    mesh.nodes().await.iter().map(|node| node.in_flight).sum()
}

/// A client that sends as fast as it may, and counts.
#[derive(Clone, Default)]
struct Writer {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// More of these than any window holds would have been let through by somebody who buffers.
const PLATE: usize = 16 * 1024;
const FAR_TOO_MANY: u64 = 1000;

impl Writer {
    fn stream(&self) -> impl Stream<Item = Dish> + Send + 'static {
        let (writer, plate) = (self.clone(), dish(vec![7; PLATE]));
        stream::iter(std::iter::from_fn(move || {
            let goes_on = !writer.stop.load(Ordering::SeqCst);
            goes_on.then(|| {
                writer.sent.fetch_add(1, Ordering::SeqCst);
                plate.clone()
            })
        }))
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Waits until it is held up, and answers how much it could send.
    async fn held_up(&self) -> u64 {
        loop {
            let before = self.sent();
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(self.sent() < FAR_TOO_MANY, "nobody reads, and yet {} messages went out", self.sent());
            if before > 0 && self.sent() == before {
                return before;
            }
        }
    }
}

#[tokio::test]
async fn ten_thousand_small_messages_come_in_order() {
    let mesh = TestMesh::start(0, 1).await;
    let numbered = || stream::iter((0..10_000).map(|number| dish(format!("{number};"))));
    let all = mesh.client().collect(numbered()).await.unwrap().into_inner();
    let expected: String = (0..10_000).map(|number| format!("{number};")).collect();
    assert!(all.content == expected, "the messages came changed");
    let answers = mesh.client().banter(numbered()).await.unwrap().into_inner();
    let answers: Vec<Dish> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 10_000);
    assert!(answers.iter().zip(0..).all(|(answer, number)| answer.content == format!("{number};")));
}

#[tokio::test]
async fn messages_of_several_megabytes_come_whole() {
    let mesh = TestMesh::start(0, 1).await;
    let large: Vec<Dish> = (1..=3).map(|n| dish(vec![n; 5_000_000 + usize::from(n)])).collect();
    let all = mesh.client().collect(stream::iter(large.clone())).await.unwrap().into_inner();
    assert!(all.content == large.iter().flat_map(|dish| dish.content.to_vec()).collect::<Vec<_>>());
    let answers = mesh.client().banter(stream::iter(large.clone())).await.unwrap().into_inner();
    let answers: Vec<Dish> = answers.map(Result::unwrap).collect().await;
    assert!(answers == large, "the messages came back changed");
}

#[tokio::test]
async fn streams_of_nothing_and_empty_messages_are_streams() {
    let mesh = TestMesh::start(0, 1).await;
    let mut client = mesh.client();
    assert_eq!(client.collect(dishes([])).await.unwrap().into_inner(), Dish::default());
    assert_eq!(client.collect(dishes(["", "a", ""])).await.unwrap().into_inner().content, "a");
    assert_eq!(client.banter(dishes([])).await.unwrap().into_inner().count().await, 0);
    assert_eq!(client.banter(dishes(["", ""])).await.unwrap().into_inner().count().await, 2);
}

#[tokio::test]
async fn a_conversation_goes_to_and_fro_and_ends_when_the_client_has_said_all() {
    let mesh = TestMesh::start(0, 1).await;
    let (words, said) = mpsc::channel(1);
    // The call begins although nothing was said yet.
    let mut answers = mesh.client().banter(ReceiverStream::new(said)).await.unwrap().into_inner();
    for number in 0..100 {
        words.send(dish(number.to_string())).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().content, number.to_string());
    }
    drop(words);
    assert_eq!(answers.message().await.unwrap(), None);
    assert_eq!(given_up(&mesh).await, 0);
}

#[tokio::test]
async fn gzip_is_taken_in_a_stream() {
    let mesh = TestMesh::start(0, 1).await;
    let mut client = mesh.client().send_compressed(Gzip);
    let sent = [dish("bread"), dish(""), dish(vec![7; 1_000_000]), dish("butter")];
    let answers = client.banter(stream::iter(sent.clone())).await.unwrap().into_inner();
    let answers: Vec<Dish> = answers.map(Result::unwrap).collect().await;
    assert!(answers == sent);
}

#[tokio::test]
async fn a_method_may_answer_before_the_client_has_said_all() {
    let mesh = TestMesh::start(0, 1).await;
    let writer = Writer::default();
    for _ in 0..10 {
        let answer = mesh.client().taste(writer.stream()).await.unwrap().into_inner();
        assert_eq!(answer.content.len(), PLATE);
    }
    // Nobody asks the client for more.
    eventually("the client's streams are dropped", async || Arc::strong_count(&writer.sent) == 1).await;
    eventually("nothing is in flight", async || in_flight(&mesh).await == 0).await;
}

#[tokio::test]
async fn an_error_in_the_middle_comes_with_its_metadata() {
    let mesh = TestMesh::start(0, 1).await;
    let mut client = mesh.client();
    let error = client.collect(open(["a", "spoilt"])).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::DataLoss, "a dish is spoilt"));
    assert_eq!(error.metadata().get("waiter").unwrap(), "Rosa");
    assert_eq!(error.metadata().get("kitchen").unwrap(), "open");

    let mut answers = client.banter(open(["a", "b", "spoilt"])).await.unwrap().into_inner();
    for expected in ["a", "b"] {
        assert_eq!(answers.message().await.unwrap().unwrap().content, expected);
    }
    let error = answers.message().await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    assert_eq!(error.metadata().get("waiter").unwrap(), "Rosa");

    let mut closed = Request::new(open(["a"]));
    closed.metadata_mut().insert("x-closed", "yes".parse().unwrap());
    assert_eq!(client.banter(closed).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn another_message_in_the_stream_is_an_invalid_argument() {
    let mesh = TestMesh::start(0, 1).await;
    let mut raw = tonic::client::Grpc::new(mesh.channel());
    raw.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/kitchen.v1.Kitchen/Collect");
    // Field 1 is bytes there.
    let numbers = stream::iter([Number { value: 7, ms: 0 }]);
    let codec = tonic_prost::ProstCodec::<Number, Dish>::default();
    let error = raw.client_streaming(Request::new(numbers), path, codec).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("Dish"), "{error}");
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_cancels_the_method() {
    let mesh = TestMesh::start(0, 1).await;
    let (mut client, writer) = (mesh.client(), Writer::default());
    let plates = writer.stream();
    let calling = tokio::spawn(async move { client.collect(plates).await });
    eventually("it reads", async || writer.sent() > FAR_TOO_MANY).await;
    calling.abort();
    eventually("the method is dropped", async || given_up(&mesh).await == 1).await;

    // A client of its own, that breaks off once it was answered: hyper does not reset a stream of requests that goes
    // on when its answers are dropped.
    let address = format!("http://{}", mesh.running().clients());
    let breaking_off = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = KitchenClient::connect(address).await.unwrap();
            let mut answers = client.banter(open(["b"])).await.unwrap().into_inner();
            assert_eq!(answers.message().await.unwrap().unwrap().content, "b");
        });
    });
    breaking_off.await.unwrap();
    eventually("the other is dropped", async || given_up(&mesh).await == 2).await;
    eventually("nothing is in flight", async || in_flight(&mesh).await == 0).await;
}

#[tokio::test]
async fn a_method_that_does_not_read_stops_its_client() {
    let mesh = TestMesh::start(0, 1).await;
    let (mut client, writer) = (mesh.client(), Writer::default());
    let plates = writer.stream();
    let holding = tokio::spawn(async move { client.hold(plates).await });
    let held = writer.held_up().await;
    mesh.client().ring(Dish::default()).await.unwrap();
    eventually("the client goes on", async || writer.sent() > held + FAR_TOO_MANY).await;
    writer.stop.store(true, Ordering::SeqCst);
    assert_eq!(holding.await.unwrap().unwrap().into_inner().value, writer.sent());
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_stops_the_method() {
    let mesh = TestMesh::start(0, 1).await;
    let writer = Writer::default();
    let mut answers = mesh.client().banter(writer.stream()).await.unwrap().into_inner();
    // The method reads the next only when it could say the one before: so it has stopped too.
    let held = writer.held_up().await;
    for _ in 0..held + FAR_TOO_MANY {
        answers.message().await.unwrap().unwrap();
    }
    writer.stop.store(true, Ordering::SeqCst);
    assert_eq!(answers.count().await as u64 + held + FAR_TOO_MANY, writer.sent());
}

#[tokio::test]
async fn a_deadline_ends_streams_of_both_kinds() {
    let mesh = TestMesh::start(0, 1).await;
    let mut client = mesh.client();
    let mut upload = Request::new(open(["a"]));
    upload.set_timeout(Duration::from_secs(1));
    assert!(is_late(&client.collect(upload).await.unwrap_err()));
    let mut talk = Request::new(open(["a"]));
    talk.set_timeout(Duration::from_secs(1));
    let mut answers = client.banter(talk).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().content, "a");
    assert!(is_late(&answers.message().await.unwrap_err()));
    eventually("both methods are dropped", async || given_up(&mesh).await == 2).await;
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_call() {
    let max_message = Size::mib(1);
    let mesh = TestMesh::gateway(GatewayConfig { max_message, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let sent = stream::iter([dish("a"), dish(vec![0; 2 << 20])]).chain(stream::pending());
    let error = mesh.client().collect(sent).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("max_message"), "{error}");
    eventually("the method is dropped", async || given_up(&mesh).await == 1).await;
}

#[tokio::test]
async fn a_long_stream_needs_no_more_room_than_a_short_one() {
    let max_bodies = Size::mib(1);
    let mesh = TestMesh::gateway(GatewayConfig { max_bodies, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    for _ in 0..2 {
        let sent = stream::iter((0..100).map(|_| dish(vec![7; 200_000])));
        let all = mesh.client().collect(sent).await.unwrap().into_inner();
        assert_eq!(all.content.len(), 20_000_000);
    }
}

#[tokio::test]
async fn a_node_that_is_lost_in_the_middle_is_unavailable() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let lost = mesh.kitchen(Role::Io, 1).await;
    let (mut client, writer) = (mesh.client(), Writer::default());
    let plates = writer.stream();
    let calling = tokio::spawn(async move { client.collect(plates).await });
    eventually("the one reads", async || writer.sent() > FAR_TOO_MANY).await;
    let mut answers = mesh.client().banter(open(["b"])).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    // Some of the upload has gone: this one could not have it.
    let _other = mesh.kitchen(Role::Io, 1).await;
    lost.running.abort();
    let error = calling.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("kitchen.v1.Kitchen/Collect"), "{error}");
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
}

/// A node that takes invocations and never comes for what they bring.
async fn idle_node(
    mesh: &TestMesh,
) -> (mpsc::Sender<NodeFrame>, tonic::Streaming<turno_proto::mesh::v1::GatewayFrame>) {
    let (up, frames) = mpsc::channel(1);
    let method = Method {
        path: "/kitchen.v1.Kitchen/Collect".to_owned(),
        kind: Kind::Stream.into(),
        takes_stream: true,
        ..Method::default()
    };
    let hello = Hello {
        node_id: "idle".to_owned(),
        name: "idle".to_owned(),
        role: MeshRole::Io.into(),
        methods: vec![method],
        ..Hello::default()
    };
    up.send(NodeFrame { hello: Some(hello), ..NodeFrame::default() }).await.unwrap();
    let address = format!("http://{}", mesh.running().nodes());
    let mut client = MeshClient::connect(address).await.unwrap();
    let mut down = client.link(ReceiverStream::new(frames)).await.unwrap().into_inner();
    assert!(down.message().await.unwrap().unwrap().welcome.is_some());
    (up, down)
}

#[tokio::test]
async fn what_a_lost_node_has_not_come_for_goes_elsewhere_whole() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let (up, mut down) = idle_node(&mesh).await;
    let mut client = mesh.client();
    let calling = tokio::spawn(async move { client.collect(dishes(["a", "b", "c"])).await });
    assert_eq!(down.message().await.unwrap().unwrap().invocations.len(), 1);
    let _other = mesh.kitchen(Role::Io, 1).await;
    drop((up, down));
    assert_eq!(calling.await.unwrap().unwrap().into_inner().content, "abc");
}

#[tokio::test]
async fn methods_stream_to_each_other() {
    let mesh = TestMesh::start(0, 1).await;
    let mut client = mesh.client();
    let number = |value| Number { value, ms: 0 };
    let all = client.collect_nested(number(5)).await.unwrap();
    assert_eq!(all.metadata().get("kitchen").unwrap(), "open", "the trailer of a good answer");
    assert_eq!(all.into_inner().content, "0;1;2;3;4;");
    assert_eq!(client.banter_nested(number(500)).await.unwrap().into_inner().value, 500);
}
