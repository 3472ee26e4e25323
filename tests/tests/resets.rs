//! Calls that are given up before the gateway has looked at them, calls that cross its end, and clients that say nothing at
//! its end: frames by hand, so that they come when a test wants.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::io::ErrorKind;
use std::time::Duration;

use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::mesh::v1::Invocation;
use turno_proto::v1::{CallsFrame, OutcomesFrame};
use turno_runtime::units::Span;
use turno_tests::stubs::Wait;
use turno_tests::{TestMesh, eventually};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// RST_STREAM's code for who does not wait any more.
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Each header in full: HPACK's literals, without a table.
fn headers(path: &str) -> Vec<u8> {
    let lines = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "kitchen"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    lines.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// How a client begins.
fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Its answer says that the gateway has looked at what was before it.
fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"all sent")
}

/// So many calls, each given up at once, and a ping behind them.
fn given_up(calls: u32) -> Vec<u8> {
    let headers = headers("/kitchen.v1.Kitchen/Simmer");
    let mut bytes = hello();
    for stream in (0..calls).map(|call| 2 * call + 1) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers));
        bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    bytes.extend(ping());
    bytes
}

/// A call with an empty message.
fn call(stream: u32) -> Vec<u8> {
    call_of("Echo", &[], stream)
}

fn call_of(method: &str, bytes: &[u8], stream: u32) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, stream, &headers(&format!("/kitchen.v1.Kitchen/{method}")));
    [headers, message(bytes, END_STREAM, stream)].concat()
}

fn message(bytes: &[u8], flags: u8, stream: u32) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    frame(DATA, flags, stream, &[&[0_u8][..], &length, bytes].concat())
}

/// Kind, flags and payload of the next frame; none if the gateway has ended its side.
async fn next(stream: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    match stream.read_exact(&mut head).await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
        read => read.unwrap(),
    };
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.unwrap();
    Some((head[3], head[4], payload))
}

/// What the next such frame says.
async fn until(stream: &mut TcpStream, kind: u8, flags: u8) -> Vec<u8> {
    loop {
        let (came, with, payload) = next(stream).await.expect("the gateway has more to say");
        if (came, with) == (kind, flags) {
            return payload;
        }
    }
}

/// Frames until the ping is answered, or the gateway ends the connection: then what its GOAWAY says.
async fn answered(stream: &mut TcpStream) -> Result<(), Vec<u8>> {
    loop {
        match next(stream).await.expect("a ping is answered") {
            (PING, ACK, _) => return Ok(()),
            (GOAWAY, _, payload) => return Err(payload),
            _ => {}
        }
    }
}

/// A mesh, and a client of it that has said nothing yet.
async fn connected() -> (TestMesh, TcpStream) {
    let mesh = TestMesh::start(0, 1).await;
    let stream = TcpStream::connect(mesh.running().clients()).await.unwrap();
    (mesh, stream)
}

#[tokio::test]
async fn many_callers_of_one_connection_may_give_up_at_once() {
    let (mesh, mut stream) = connected().await;
    stream.write_all(&given_up(500)).await.unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(20), answered(&mut stream)).await.unwrap();
    answered.map_err(|goaway| String::from_utf8_lossy(&goaway).into_owned()).unwrap();
    mesh.client().echo(turno_tests::stubs::Dish::default()).await.unwrap();
}

/// As a tonic channel that is busy when it is asked to end: its next calls are behind its answer to the ping, and it writes
/// more of them before it reads. Were one not taken, the channel would break without a look at what it has got.
#[tokio::test]
async fn who_writes_before_it_reads_hears_which_calls_a_gateway_that_ends_has_not_looked_at() {
    let (mesh, mut stream) = connected().await;
    stream.write_all(&[hello(), ping()].concat()).await.unwrap();
    until(&mut stream, PING, ACK).await;
    let ended = tokio::spawn(mesh.end());
    let asked = until(&mut stream, PING, 0).await;
    stream.write_all(&[frame(PING, ACK, 0, &asked), call(1)].concat()).await.unwrap();
    // The gateway has said all, and has ended its side.
    while !stream.ready(Interest::READABLE).await.unwrap().is_read_closed() {
        tokio::task::yield_now().await;
    }
    for id in [3, 5, 7] {
        stream.write_all(&call(id)).await.unwrap();
    }
    assert_eq!(until(&mut stream, GOAWAY, 0).await, [0; 8], "no call, and no error");
    assert_eq!(next(&mut stream).await, None);
    drop(stream);
    ended.await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_place_when_the_port_closes_is_heard() {
    let config = GatewayConfig { max_connections: 1, ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    // Its own channel has the place.
    drop(mesh.kitchen(Role::Io, 1).await);
    let mut stream = TcpStream::connect(mesh.running().clients()).await.unwrap();
    stream.write_all(&[hello(), call(1)].concat()).await.unwrap();
    let ended = tokio::spawn(mesh.end());
    until(&mut stream, DATA, 0).await;
    until(&mut stream, HEADERS, END_HEADERS | END_STREAM).await;
    drop(stream);
    ended.await.unwrap();
}

/// A gateway that would drain for longer than a test may take.
async fn patient() -> TestMesh {
    TestMesh::gateway(GatewayConfig { drain: Span::seconds(3600), ..GatewayConfig::default() }).await
}

async fn ends(mesh: TestMesh) {
    tokio::time::timeout(Duration::from_secs(20), mesh.end()).await.expect("nothing holds the gateway");
}

/// Stopped, or out of reach: it does not answer the ping behind the first GOAWAY.
#[tokio::test]
async fn who_has_no_call_and_says_nothing_does_not_hold_a_gateway_that_ends() {
    let mesh = patient().await;
    let never_spoke = TcpStream::connect(mesh.running().clients()).await.unwrap();
    let mut stopped = TcpStream::connect(mesh.running().clients()).await.unwrap();
    stopped.write_all(&[hello(), ping()].concat()).await.unwrap();
    until(&mut stopped, PING, ACK).await;
    ends(mesh).await;
    drop((never_spoke, stopped));
}

#[tokio::test]
async fn a_clients_link_without_a_call_does_not_hold_a_gateway_that_ends() {
    let mesh = patient().await;
    let mut stopped = TcpStream::connect(mesh.running().clients()).await.unwrap();
    let link = frame(HEADERS, END_HEADERS, 1, &headers("/turno.v1.Calls/Link"));
    stopped.write_all(&[hello(), link].concat()).await.unwrap();
    until(&mut stopped, DATA, 0).await;
    ends(mesh).await;
    drop(stopped);
}

/// As when a packet with both was lost, and was sent again.
#[tokio::test]
async fn a_call_that_was_on_its_way_comes_before_the_answer_to_the_ping_however_late() {
    let (mesh, mut stream) = connected().await;
    stream.write_all(&[hello(), ping()].concat()).await.unwrap();
    until(&mut stream, PING, ACK).await;
    let ended = tokio::spawn(mesh.end());
    let asked = until(&mut stream, PING, 0).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    stream.write_all(&[call(1), frame(PING, ACK, 0, &asked)].concat()).await.unwrap();
    until(&mut stream, DATA, 0).await;
    until(&mut stream, HEADERS, END_HEADERS | END_STREAM).await;
    drop(stream);
    ended.await.unwrap();
}

/// Written before the client has heard that the gateway ends, on a slow network.
#[tokio::test]
async fn a_call_that_was_on_its_way_by_a_clients_link_is_answered() {
    let (mesh, mut stream) = connected().await;
    let link = frame(HEADERS, END_HEADERS, 1, &headers("/turno.v1.Calls/Link"));
    stream.write_all(&[hello(), link].concat()).await.unwrap();
    until(&mut stream, DATA, 0).await;
    let ended = tokio::spawn(mesh.end());
    let said = OutcomesFrame::decode(&until(&mut stream, DATA, 0).await[5..]).unwrap();
    assert!(said.leaving);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let methods = vec!["/kitchen.v1.Kitchen/Echo".to_owned()];
    let calls = vec![Invocation { call: 7, ..Invocation::default() }];
    let sent = CallsFrame { methods, calls, ..CallsFrame::default() };
    stream.write_all(&message(&sent.encode_to_vec(), 0, 1)).await.unwrap();
    let answered = OutcomesFrame::decode(&until(&mut stream, DATA, 0).await[5..]).unwrap();
    let codes: Vec<_> = answered.outcomes.iter().map(|outcome| (outcome.call, outcome.code)).collect();
    assert_eq!(codes, [(7, 0)]);
    stream.write_all(&frame(DATA, END_STREAM, 1, &[])).await.unwrap();
    until(&mut stream, HEADERS, END_HEADERS | END_STREAM).await;
    drop(stream);
    ended.await.unwrap();
}

/// Longer than one without a call is waited for.
#[tokio::test]
async fn who_has_a_call_is_answered_though_it_says_nothing() {
    let (mesh, mut stream) = connected().await;
    let simmer = call_of("Simmer", &Wait { ms: 7_000, ..Wait::default() }.encode_to_vec(), 1);
    stream.write_all(&[hello(), simmer].concat()).await.unwrap();
    eventually("it is at its node", async || mesh.in_flight().await == 1).await;
    let ended = tokio::spawn(mesh.end());
    until(&mut stream, DATA, 0).await;
    until(&mut stream, HEADERS, END_HEADERS | END_STREAM).await;
    drop(stream);
    ended.await.unwrap();
}
