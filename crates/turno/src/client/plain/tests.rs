//! Large calls and streams, at a gateway that does to them what a test wants.

use std::future::{Pending, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, stream};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http_body::Body as _;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tonic::codec::EncodeBody;
use tonic::codegen::Service;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use turno_proto::v1::OutcomesFrame;
use turno_runtime::task;

use super::{AsItIs, Parting, lost, unary};
use crate::client::beside::Beside;
use crate::client::link::Link;
use crate::client::pending::Lost;
use crate::client::search::Search;
use crate::cpu::v1::{InfoRequest, InfoResponse, images};
use crate::io::v1 as io;
use crate::node::link::endpoint;
use crate::rpc::{AnswersStream, Rpc, TakesOne};
use crate::{Client, never_sent};

/// What becomes of a large call, or of one that answers a stream.
enum Fate {
    /// It is answered.
    Answered,
    /// Its answer begins with one message, and does not end.
    Begun,
    /// It is not even looked at.
    Refused,
    /// It is taken, and not answered.
    Held,
    /// It is taken, and answered when the test says so.
    Late(&'static Notify),
    /// It is taken, and its connection breaks.
    Broken,
}

/// A gateway, and how many such calls have come to it. The first is number 0.
async fn serve(fate: fn(u64) -> Fate) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, calls) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    drop(task::spawn("double", accept(listener, calls.clone(), fate)));
    (address.to_string(), calls)
}

async fn accept(listener: TcpListener, calls: Arc<AtomicU64>, fate: fn(u64) -> Fate) {
    while let Ok((socket, _)) = listener.accept().await {
        drop(task::spawn("double", converse(socket, calls.clone(), fate)));
    }
}

/// As large as a request: nothing has to be said of what was read.
const WINDOW: u32 = 1 << 20;
/// On one connection; what comes above that waits at the client.
const MOST: u32 = 16;

async fn converse(socket: TcpStream, calls: Arc<AtomicU64>, fate: fn(u64) -> Fate) {
    let mut server = h2::server::Builder::new();
    server.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).max_concurrent_streams(MOST);
    let Ok(mut connection) = server.handshake::<_, Bytes>(socket).await else { return };
    let (mut open, mut held) = (Vec::new(), Vec::new());
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if request.uri().path() == "/turno.v1.Calls/Link" {
            let welcome = OutcomesFrame { max_body: 1000, ..OutcomesFrame::default() };
            let mut down = begin(&mut respond);
            down.send_data(framed(&welcome), false).unwrap();
            open.push((request, down));
            continue;
        }
        match fate(calls.fetch_add(1, Ordering::SeqCst)) {
            Fate::Answered => drop(task::spawn("double", answer(request, respond))),
            Fate::Begun => {
                let mut down = begin(&mut respond);
                down.send_data(framed(&info()), false).unwrap();
                open.push((request, down));
            }
            Fate::Refused => respond.send_reset(h2::Reason::REFUSED_STREAM),
            Fate::Held => held.push((request, respond)),
            Fate::Late(told) => drop(task::spawn("double", async move {
                told.notified().await;
                answer(request, respond).await;
            })),
            Fate::Broken => return,
        }
    }
}

async fn answer(request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        // It fails only when the stream is gone.
        let _gone = body.flow_control().release_capacity(data.len());
    }
    let mut down = begin(&mut respond);
    down.send_data(framed(&info()), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    down.send_trailers(trailers).unwrap();
}

fn begin(respond: &mut SendResponse<Bytes>) -> SendStream<Bytes> {
    let headers = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    respond.send_response(headers, false).unwrap()
}

/// As gRPC has a message on the wire.
fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len().try_into().unwrap());
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

fn info() -> InfoResponse {
    InfoResponse { width: 7, ..InfoResponse::default() }
}

fn large() -> InfoRequest {
    InfoRequest { data: vec![7; 100_000].into() }
}

#[tokio::test]
async fn what_a_gateway_does_not_look_at_goes_again_unseen() {
    let (gateway, calls) = serve(|call| if call < 2 { Fate::Refused } else { Fate::Answered }).await;
    let client = Client::connect(gateway).unwrap();
    assert_eq!(client.call::<images::Info>(large()).await.unwrap().width, 7);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_gateway_that_takes_nothing_is_asked_a_few_times_and_then_given_up() {
    let (gateway, calls) = serve(|_| Fate::Refused).await;
    let client = Client::to([gateway.clone()]).patience(Duration::from_secs(2)).connect().unwrap();
    let began = Instant::now();
    let error = client.call::<images::Info>(large()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(never_sent(&error), "{error}");
    let said = format!("turno.cpu.v1.Images/Info was not sent: gateway {gateway} does not take it: ");
    assert!(error.message().starts_with(&said), "{error}");
    let sent = calls.load(Ordering::SeqCst);
    assert!((3..=10).contains(&sent), "it was sent {sent} times");
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_gateway_that_answers_nothing_does_not_get_all_the_places() {
    const PLACES: usize = 8;
    const CALLS: usize = 40;
    let ((hangs, held), (answers, answered)) = (serve(|_| Fate::Held).await, serve(|_| Fate::Answered).await);
    let client = Client::to([hangs, answers]).in_flight(PLACES).connect().unwrap();
    while client.0.links.gateways().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let calls = (0..CALLS).map(|_| client.call::<images::Info>(large()));
    let all = tokio::time::timeout(Duration::from_secs(2), futures_util::future::join_all(calls));
    assert!(all.await.is_err(), "some are held");
    let (held, answered) = (held.load(Ordering::SeqCst), answered.load(Ordering::SeqCst));
    // Otherwise each takes every second call, and one keeps what it takes.
    assert!(held < PLACES as u64 && held + answered == CALLS as u64, "{held} are held, {answered} answered");
}

#[test]
fn an_answer_is_told_from_a_connection_that_breaks() {
    let source = |error: Box<dyn std::error::Error + Send + Sync>| lost(&Status::from_error(error));
    assert_eq!(lost(&Status::unavailable("the node was lost")), None);
    assert_eq!(lost(&Status::unknown("what a method says")), None);
    let timer = Status::cancelled("Timeout expired");
    assert_eq!(lost(&crate::calls::late(timer)), None);
    assert_eq!(source(Box::new(std::io::Error::other("broken pipe"))), Some(Lost { may_have_run: true }));
    let refused = tonic::ConnectError("refused".into());
    assert_eq!(source(Box::new(refused)), Some(Lost { may_have_run: false }));
}

/// Dials for ever.
struct Nowhere;

impl Service<http::Uri> for Nowhere {
    type Response = hyper::upgrade::Upgraded;
    type Error = std::io::Error;
    type Future = Pending<std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        pending()
    }
}

#[tokio::test]
async fn what_waits_for_its_connection_goes_elsewhere_when_the_link_has_ended() {
    let (gateway, calls) = serve(|_| Fate::Answered).await;
    let client = Client::connect(gateway).unwrap();
    let endpoint = Endpoint::from_static("http://10.0.0.1:7070");
    let mut silent = Link::new("10.0.0.1:7070", endpoint.clone(), WINDOW);
    silent.bodies = Beside::on(endpoint.clone(), endpoint.connect_with_connector_lazy(Nowhere));
    let (links, silent) = (&client.0.links, Arc::new(silent));
    let search = Search::new(links);
    let call = unary::<images::Info>(&links.repeats, search, silent.clone(), Request::new(large()), None);
    let (answer, ()) = tokio::join!(tokio::time::timeout(LONG, call), async { silent.close() });
    assert_eq!(answer.expect("it is taken back").unwrap().into_inner().width, 7);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_has_left_when_the_link_has_ended_is_waited_for_and_goes_nowhere_else() {
    static TOLD: Notify = Notify::const_new();
    let (ends, held) = serve(|_| Fate::Late(&TOLD)).await;
    let (stays, others) = serve(|_| Fate::Answered).await;
    let client = Client::connect(stays).unwrap();
    let link = Arc::new(Link::new(&ends, endpoint(&ends).unwrap(), WINDOW));
    let (links, request) = (&client.0.links, Request::new(large()));
    let call = unary::<images::Info>(&links.repeats, Search::new(links), link.clone(), request, None);
    let mut call = pin!(call);
    let has_left = async {
        while held.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = &mut call => panic!("nobody has answered it: {answer:?}"),
        () = has_left => {}
    }
    link.close();
    // It hears of it, and its answer is not there.
    let answer = call.as_mut().now_or_never();
    assert!(answer.is_none(), "nobody has answered it: {answer:?}");
    TOLD.notify_one();
    let answer = tokio::time::timeout(LONG, call).await.expect("it is answered now");
    assert_eq!(answer.unwrap().into_inner().width, 7);
    assert_eq!((held.load(Ordering::SeqCst), others.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn a_call_leaves_or_is_taken_back_and_never_both() {
    let leaves = async |parting: &Parting| {
        let request = stream::iter([Ok::<_, Status>(Bytes::from_static(b"request"))]);
        let mut body = pin!(EncodeBody::new_client(AsItIs(parting.clone()), request, None, None));
        poll_fn(|cx| body.as_mut().poll_frame(cx)).await.expect("there is a request").is_ok()
    };
    let taken_back = Parting::default();
    assert!(taken_back.is_first());
    assert!(!leaves(&taken_back).await);
    let left = Parting::default();
    assert!(leaves(&left).await);
    assert!(!left.is_first());
}

#[tokio::test]
async fn what_may_be_repeated_outlives_its_connection() {
    let (gateway, calls) = serve(|call| if call == 0 { Fate::Broken } else { Fate::Answered }).await;
    let client = Client::connect(gateway).unwrap();
    assert_eq!(client.call::<images::Info>(large()).await.unwrap().width, 7);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_may_have_run_is_not_told_as_unsent_where_it_does_not_go_again() {
    let (gateway, calls) = serve(|call| if call == 0 { Fate::Broken } else { Fate::Refused }).await;
    let client = Client::to([gateway]).patience(Duration::from_secs(1)).connect().unwrap();
    let error = client.call::<images::Info>(large()).await.unwrap_err();
    assert_eq!((error.code(), never_sent(&error)), (Code::Unavailable, false), "{error}");
    assert!(error.message().contains("it may have run; it did not go again: gateway"), "{error}");
    assert!(!error.message().contains("was not sent"), "{error}");
    assert!(calls.load(Ordering::SeqCst) > 1);
}

#[tokio::test]
async fn what_may_not_be_repeated_or_was_so_often_enough_is_unavailable() {
    let (gateway, calls) = serve(|_| Fate::Broken).await;
    let client = Client::connect(gateway).unwrap();
    let fetch = io::FetchRequest { body: vec![7; 100_000].into(), ..io::FetchRequest::default() };
    let error = client.call::<io::http::Fetch>(fetch).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("it may have run; it was not tried again"), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let error = client.call::<images::Info>(large()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("may have run 3 times"), "{error}");
    assert!(calls.load(Ordering::SeqCst) <= 4);
}

/// A method that answers a stream, and may be repeated.
struct Follow;

impl Rpc for Follow {
    type Request = InfoRequest;
    type Response = InfoResponse;
    const NAME: &'static str = "turno.cpu.v1.Images/Follow";
    const PATH: &'static str = "/turno.cpu.v1.Images/Follow";
    const REPEATABLE: bool = true;
}

impl TakesOne for Follow {}
impl AnswersStream for Follow {}

/// For what would wait for ever.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn streams_do_not_stand_in_the_way_of_large_calls_and_of_tickets() {
    let fate = |call: u64| if call < u64::from(MOST) { Fate::Begun } else { Fate::Answered };
    let (gateway, calls) = serve(fate).await;
    let client = Client::connect(gateway).unwrap();
    let mut open = Vec::new();
    for _ in 0..MOST {
        open.push(client.stream::<Follow>(InfoRequest::default()).await.unwrap());
    }
    assert_eq!(calls.load(Ordering::SeqCst), u64::from(MOST));
    // Their connection has as many as it may.
    let large = tokio::time::timeout(LONG, client.call::<images::Info>(large())).await;
    assert_eq!(large.expect("it does not wait for them").unwrap().width, 7);
    let mesh = client.mesh_within(LONG).await.unwrap();
    let small = mesh.unary::<images::Info>(Request::new(InfoRequest::default()));
    assert_eq!(tokio::time::timeout(LONG, small).await.expect("nor does this").unwrap().width, 7);
}

#[tokio::test]
async fn a_stream_has_a_place_until_it_has_ended_or_is_dropped() {
    let (gateway, _) = serve(|_| Fate::Answered).await;
    let client = Client::to([gateway]).streams(1).patience(Duration::from_secs(2)).connect().unwrap();
    let mut first = client.stream::<Follow>(InfoRequest::default()).await.unwrap();
    let error = client.stream::<Follow>(InfoRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    assert!(error.message().contains("Builder::streams"), "{error}");
    let map = client.map::<images::Info>(stream::iter([InfoRequest::default()]));
    assert_eq!(map.await.unwrap_err().code(), Code::ResourceExhausted);
    let soon = || {
        let mut request = Request::new(InfoRequest::default());
        request.set_timeout(Duration::from_millis(50));
        request
    };
    assert_eq!(client.stream::<Follow>(soon()).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(client.call::<images::Info>(large()).await.unwrap().width, 7);
    assert_eq!(first.message().await.unwrap().unwrap().width, 7);
    assert!(first.message().await.unwrap().is_none());
    // The first is still at hand, and has ended.
    let second = client.stream::<Follow>(InfoRequest::default()).await.unwrap();
    drop(second);
    drop(client.stream::<Follow>(InfoRequest::default()).await.unwrap());
    drop(first);
}

#[tokio::test]
async fn a_stream_whose_connection_breaks_is_unavailable() {
    let (gateway, _) = serve(|call| if call == 1 { Fate::Broken } else { Fate::Begun }).await;
    let client = Client::connect(gateway).unwrap();
    let mut broken = client.stream::<Follow>(InfoRequest::default()).await.unwrap();
    assert_eq!(broken.message().await.unwrap().unwrap().width, 7);
    // The one that breaks the connection goes again, as its answer has not begun.
    let mut again = client.stream::<Follow>(InfoRequest::default()).await.unwrap();
    assert_eq!(again.message().await.unwrap().unwrap().width, 7);
    let error = broken.message().await.unwrap_err();
    assert_eq!((error.code(), never_sent(&error)), (Code::Unavailable, false), "{error}");
    assert!(error.message().starts_with("the connection broke while the answer was on its way: "), "{error}");
}
