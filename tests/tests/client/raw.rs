//! What a client that is not ours may send.

use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status, Streaming};
use turno::Client;
use turno_proto::mesh::v1::Invocation;
use turno_proto::v1::calls_client::CallsClient;
use turno_proto::v1::{CallsFrame, OutcomesFrame};
use turno_tests::kitchen::kitchen;
use turno_tests::{TestMesh, eventually};

use crate::{dish, wait};

async fn link(mesh: &TestMesh) -> (mpsc::Sender<CallsFrame>, Streaming<OutcomesFrame>) {
    let (up, frames) = mpsc::channel(4);
    let mut client = CallsClient::new(mesh.channel());
    (up, client.link(ReceiverStream::new(frames)).await.unwrap().into_inner())
}

fn invocation(call: u64, method: u32, bytes: usize) -> Invocation {
    let body = dish(vec![7; bytes]).encode_to_vec().into();
    Invocation { call, method, body, ..Invocation::default() }
}

async fn end(down: &mut Streaming<OutcomesFrame>) -> Result<(), Status> {
    while down.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn who_breaks_the_protocol_hears_so_and_others_do_not_notice() {
    let mesh = TestMesh::start(0, 1).await;
    let other: Client = crate::client(&mesh);
    other.call::<kitchen::Echo>(dish("x")).await.unwrap();
    let methods = vec!["/kitchen.v1.Kitchen/Simmer".to_owned()];
    let sleeping = wait(60_000).encode_to_vec();
    let sleeping = Invocation { call: 1, body: sleeping.into(), ..Invocation::default() };
    for calls in [vec![invocation(1, 5, 1)], vec![sleeping.clone(), sleeping]] {
        let (up, mut down) = link(&mesh).await;
        up.send(CallsFrame { methods: methods.clone(), calls, ..CallsFrame::default() }).await.unwrap();
        assert_eq!(end(&mut down).await.unwrap_err().code(), Code::InvalidArgument);
    }
    other.call::<kitchen::Echo>(dish("x")).await.unwrap();
    eventually("nothing is in flight", async || mesh.nodes().await[0].in_flight == 0).await;
}

#[tokio::test]
async fn a_frame_may_be_packed_and_who_sends_one_that_is_too_large_hears_so() {
    let mesh = TestMesh::start(0, 1).await;
    let frame = |bytes| CallsFrame {
        methods: vec!["/kitchen.v1.Kitchen/Echo".to_owned()],
        calls: vec![invocation(1, 0, bytes)],
        ..CallsFrame::default()
    };
    let frames = |bytes| tokio_stream::iter([frame(bytes)]);
    let mut packing = CallsClient::new(mesh.channel()).send_compressed(CompressionEncoding::Gzip);
    let mut down = packing.link(frames(1000)).await.unwrap().into_inner();
    let mut codes = Vec::new();
    while let Some(frame) = down.message().await.unwrap() {
        codes.extend(frame.outcomes.into_iter().map(|outcome| outcome.code));
    }
    assert_eq!(codes, [Code::Ok as u32]);
    let mut client = CallsClient::new(mesh.channel());
    for answered in [packing.link(frames(5 << 20)).await, client.link(frames(5 << 20)).await] {
        let error = end(&mut answered.unwrap().into_inner()).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert!(error.message().contains("4194304 bytes"), "{error}");
    }
}

#[tokio::test]
async fn each_call_is_answered_once_also_after_the_client_has_ended_its_side() {
    let mesh = TestMesh::start(0, 1).await;
    let (up, mut down) = link(&mesh).await;
    let methods = ["Echo", "Serve", "Nothing"].map(|name| format!("/kitchen.v1.Kitchen/{name}")).to_vec();
    let max = down.message().await.unwrap().unwrap().max_body as usize;
    let calls = vec![invocation(1, 0, 100), invocation(2, 0, max), invocation(3, 1, 0), invocation(4, 2, 0)];
    up.send(CallsFrame { methods, calls, ..CallsFrame::default() }).await.unwrap();
    drop(up);
    let mut codes = std::collections::BTreeMap::new();
    while let Some(frame) = down.message().await.unwrap() {
        for outcome in frame.outcomes {
            assert_eq!(codes.insert(outcome.call, Code::from(outcome.code as i32)), None);
        }
    }
    let expected =
        [(1, Code::Ok), (2, Code::ResourceExhausted), (3, Code::Unimplemented), (4, Code::Unimplemented)];
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn who_does_not_read_is_not_read_from() {
    let mesh = TestMesh::start(0, 1).await;
    let (up, down) = link(&mesh).await;
    let methods = vec!["/kitchen.v1.Kitchen/Echo".to_owned()];
    up.send(CallsFrame { methods, ..CallsFrame::default() }).await.unwrap();
    let flood = async {
        for frame in 0.. {
            let calls = (0..50).map(|call| invocation(1 + frame * 50 + call, 0, 60_000)).collect();
            up.send(CallsFrame { calls, ..CallsFrame::default() }).await.unwrap();
        }
    };
    // It stands still long before all of it would be in the gateway's memory.
    let served = async || mesh.nodes().await[0].calls_served;
    let standing = async {
        let mut before = 0;
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let now = served().await;
            if now > 0 && now == before {
                return now;
            }
            before = now;
        }
    };
    let served = tokio::select! {
        () = flood => unreachable!("it has no end"),
        served = standing => served,
    };
    assert!(served < 2000, "{served} answers of 60 kB were taken for a client that reads none");
    drop(down);
}
