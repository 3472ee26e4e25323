//! Tickets from submit to end, against a double of a gateway's desk that is killed and comes back.

mod double;
mod maps;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::google::rpc;
use turno_proto::mesh::v1::{Caller, Entry};
use turno_proto::v1::{TicketProgress, TicketState};
use turno_runtime::task;

use self::double::{Double, Up, any};
use crate::calls::Mesh;
use crate::context::Particulars;
use crate::cpu::v1::{InfoRequest, images};
use crate::ticket::State;
use crate::{Client, Context, Ticket};

type Info = Ticket<images::Info>;

async fn opened() -> (Double, Up, Client) {
    let double = Double::default();
    let up = double.start().await;
    let client = Client::connect(up.address.to_string()).unwrap();
    (double, up, client)
}

async fn submitted(client: &Client) -> Info {
    client.submit::<images::Info>(picture()).await.unwrap()
}

fn picture() -> InfoRequest {
    InfoRequest { data: Bytes::from_static(b"cat") }
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(),
        "gave up waiting until {what}"
    );
}

#[tokio::test]
async fn what_is_asked_of_a_submit_reaches_the_gateway() {
    let (double, _up, client) = opened().await;
    let mut request = Request::new(picture());
    request.metadata_mut().insert("turno-tenant", "bakery".parse().unwrap());
    request.set_timeout(Duration::from_secs(20));
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    let submit = client.submit::<images::Info>(request).key("cat").key_kept_for(Duration::from_secs(9));
    let submit = submit.not_before(at).label("shop", "a").label("shop", "b").label("order", "17");
    let submit =
        submit.retries(0).timeout(Duration::from_millis(1500)).keep_result_for(Duration::from_secs(5));
    let ticket = submit.await.unwrap();
    assert_eq!(
        (ticket.name(), ticket.id(), ticket.to_string().as_str()),
        ("operations/0", "0", "operations/0")
    );
    let [order] = double.orders().try_into().unwrap();
    assert_eq!(order.method, "turno.cpu.v1.Images/Info");
    assert_eq!(InfoRequest::decode(order.request).unwrap(), picture());
    assert_eq!((order.idempotency_key.as_str(), order.idempotency_key_kept_for.unwrap().seconds), ("cat", 9));
    assert_eq!((order.not_before.unwrap().seconds, order.retries), (7, Some(0)));
    let labels = [("order", "17"), ("shop", "b")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(order.labels, labels.into());
    assert_eq!(order.timeout.unwrap(), prost_types::Duration { seconds: 1, nanos: 500_000_000 });
    assert_eq!(order.keep_result_for.unwrap().seconds, 5);
    ticket.state().await.unwrap();
    for rpc in ["Submit", "GetOperation"] {
        let [metadata] = double.metadata(rpc).try_into().unwrap();
        assert_eq!(metadata.get("turno-tenant").unwrap(), "bakery", "{rpc}");
        assert!(!metadata.contains_key("grpc-timeout"), "a deadline is not the ticket's");
    }
}

#[tokio::test]
async fn a_ticket_is_a_future_of_the_response() {
    let (double, _up, client) = opened().await;
    let ticket = submitted(&client).await;
    let waiting = task::spawn("waits", ticket.clone().into_future());
    eventually("somebody waits", || double.readers(ticket.name()) == 1).await;
    double.finish(ticket.name(), 640);
    assert_eq!(waiting.await.unwrap().unwrap().width, 640);
    assert_eq!(ticket.response().await.unwrap().width, 640);
    assert_eq!(client.ticket::<images::Info>("0").await.unwrap().width, 640);
}

#[tokio::test]
async fn a_ticket_that_fails_answers_the_methods_own_error() {
    let (double, _up, client) = opened().await;
    let ticket = submitted(&client).await;
    let rich =
        rpc::Status { code: 3, message: "no picture".into(), details: vec![any("a.v1.Why", &picture())] };
    double.end(ticket.name(), TicketState::Failed, Ended::Error(rich.clone()));
    let error = ticket.response().await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "no picture"));
    assert_eq!(rpc::Status::decode(error.details()).unwrap(), rich);
    assert_eq!(ticket.state().await.unwrap(), State::Failed);
}

#[tokio::test]
async fn a_submit_whose_answer_is_lost_is_one_ticket() {
    let (double, _up, client) = opened().await;
    double.lose_answers(2);
    let ticket = submitted(&client).await;
    assert_eq!(double.orders().len(), 3);
    assert_eq!(double.names(), [ticket.name()]);
    let other = submitted(&client).await;
    assert_ne!(ticket.name(), other.name(), "two submits are two tickets");
}

#[tokio::test]
async fn a_submit_that_may_be_stored_is_told_so_though_nobody_is_there_later() {
    let double = Double::default();
    let up = double.start().await;
    let client = Client::to([up.address.to_string()]).patience(Duration::from_secs(2)).connect().unwrap();
    double.lose_answers(u32::MAX);
    let submitting = task::spawn("submits", client.submit::<images::Info>(picture()).into_future());
    eventually("the first answer is lost", || double.orders().len() > 1).await;
    drop(up);
    let error = submitting.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "the gateway is ending"));
}

#[tokio::test]
async fn who_waits_outlives_a_gateway() {
    let (double, up, client) = opened().await;
    let ticket = submitted(&client).await;
    let waiting = task::spawn("waits", ticket.clone().into_future());
    eventually("somebody waits", || double.readers(ticket.name()) == 1).await;
    let address = up.address;
    drop(up);
    eventually("the gateway is gone", || double.readers(ticket.name()) == 0).await;
    double.finish(ticket.name(), 480);
    let _up = double.start_at(address).await;
    assert_eq!(waiting.await.unwrap().unwrap().width, 480);
}

#[tokio::test]
async fn who_waits_and_who_watches_wait_for_room() {
    let (double, _up, client) = opened().await;
    let ticket = submitted(&client).await;
    double.is_full("Watch", 3);
    assert_eq!(ticket.watch().next().await.unwrap().unwrap().state, State::Waiting);
    double.finish(ticket.name(), 480);
    double.is_full("WaitOperation", 3);
    assert_eq!(ticket.await.unwrap().width, 480);
    assert_eq!((double.metadata("Watch").len(), double.metadata("WaitOperation").len()), (4, 4));
}

#[tokio::test]
async fn who_asks_and_who_cancels_wait_for_room() {
    let (double, _up, client) = opened().await;
    let ticket = submitted(&client).await;
    double.is_full("GetOperation", 3);
    assert_eq!(ticket.state().await.unwrap(), State::Waiting);
    double.is_full("CancelOperation", 3);
    ticket.cancel().await.unwrap();
    assert_eq!((double.metadata("GetOperation").len(), double.metadata("CancelOperation").len()), (4, 4));
    double.is_full("GetOperation", u32::MAX);
    let error = ticket.patience(Duration::from_millis(50)).state().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("64 calls are in flight"), "{error}");
}

#[tokio::test]
async fn a_submit_that_there_is_no_room_for_is_handed_back() {
    let (double, _up, client) = opened().await;
    double.is_full("Submit", 1);
    let error = client.submit::<images::Info>(picture()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, "64 calls are in flight"));
}

#[tokio::test]
async fn who_watches_outlives_a_gateway_and_hears_nothing_twice() {
    let (double, up, client) = opened().await;
    let ticket = submitted(&client).await;
    let mut watch = ticket.watch();
    assert_eq!(watch.next().await.unwrap().unwrap().state, State::Waiting);
    double.change(ticket.name(), |metadata| {
        metadata.set_state(TicketState::Running);
        metadata.attempts = 1;
        metadata.progress = Some(TicketProgress { done: 1, total: 2, note: "shrinking".into() });
    });
    let seen = watch.next().await.unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.attempts, seen.progress.unwrap().note.as_str()),
        (State::Running, 1, "shrinking")
    );
    let address = up.address;
    drop(up);
    eventually("the gateway is gone", || double.readers(ticket.name()) == 0).await;
    let _up = double.start_at(address).await;
    let following = task::spawn("watches", async move {
        let end = watch.next().await.unwrap().unwrap();
        (end, watch.next().await.is_none())
    });
    eventually("it is followed again", || double.readers(ticket.name()) == 1).await;
    double.finish(ticket.name(), 480);
    let (end, nothing_follows) = following.await.unwrap();
    assert_eq!((end.state, nothing_follows), (State::Done, true));
}

#[tokio::test]
async fn who_watches_keeps_his_place_until_the_end_while_gateways_come_and_go() {
    let double = Double::default();
    let up = double.start().await;
    let client = Client::to([up.address.to_string()]).streams(1).connect().unwrap();
    let (ticket, other) = (submitted(&client).await, submitted(&client).await);
    let mut watch = ticket.watch();
    assert_eq!(watch.next().await.unwrap().unwrap().state, State::Waiting);
    let mut waits = other.watch();
    let mut waiting = std::pin::pin!(waits.next());
    assert!(waiting.as_mut().now_or_never().is_none(), "there is one place");
    let address = up.address;
    drop(up);
    eventually("the gateway is gone", || double.readers(ticket.name()) == 0).await;
    let _up = double.start_at(address).await;
    let following = task::spawn("watches", async move { (watch.next().await, watch) });
    eventually("it is followed again", || double.readers(ticket.name()) == 1).await;
    double.finish(ticket.name(), 480);
    let (end, _watch) = following.await.unwrap();
    assert_eq!(end.unwrap().unwrap().state, State::Done);
    // What has had its last word leaves its place, though it is still at hand.
    assert_eq!(waiting.await.unwrap().unwrap().state, State::Waiting);
}

#[tokio::test]
async fn patience_without_a_gateway_ends_with_the_tickets_name() {
    let (_double, up, client) = opened().await;
    let ticket = submitted(&client).await.patience(Duration::from_millis(50));
    drop(up);
    let mut watch = ticket.watch();
    for error in [ticket.response().await.unwrap_err(), watch.next().await.unwrap().unwrap_err()] {
        assert_eq!(error.code(), Code::Unavailable);
        assert!(
            error.message().starts_with("no gateway has answered for operations/0 in 50 ms: "),
            "{error}"
        );
        assert!(error.message().ends_with("can be picked up again by its name"), "{error}");
    }
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn patience_is_not_had_twice() {
    let (double, up, client) = opened().await;
    let ticket = submitted(&client).await.patience(Duration::from_secs(2));
    // First it is refused for want of room, then nobody is there.
    double.is_full("GetOperation", u32::MAX);
    let began = Instant::now();
    let asking = task::spawn("asks", async move { ticket.state().await });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    drop(up);
    assert_eq!(asking.await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_gateway_that_says_nothing_is_asked_again_and_then_given_up() {
    let (double, _up, client) = opened().await;
    let mut ticket = submitted(&client).await;
    ticket.claim.longest_answer = Duration::from_millis(300);
    double.is_silent("GetOperation", 2);
    assert_eq!(ticket.state().await.unwrap(), State::Waiting);
    assert!(double.metadata("GetOperation").len() > 2);
    for rpc in ["GetOperation", "CancelOperation", "Watch"] {
        double.is_silent(rpc, u32::MAX);
    }
    let ticket = ticket.patience(Duration::from_millis(200));
    let mut watch = ticket.watch();
    for error in [
        ticket.state().await.unwrap_err(),
        ticket.cancel().await.unwrap_err(),
        watch.next().await.unwrap().unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.message().contains("the gateway has fallen silent"), "{error}");
    }
}

#[tokio::test]
async fn a_cancelled_ticket_says_so() {
    let (_double, _up, client) = opened().await;
    let ticket = submitted(&client).await;
    ticket.cancel().await.unwrap();
    assert_eq!(ticket.state().await.unwrap(), State::Cancelled);
    assert_eq!(ticket.await.unwrap_err().code(), Code::Cancelled);
}

#[tokio::test]
async fn a_ticket_that_is_not_there_is_an_answer_at_once() {
    let (_double, _up, client) = opened().await;
    let ticket: Info = client.ticket("operations/none");
    let mut watch = ticket.watch();
    for error in [
        ticket.response().await.unwrap_err(),
        ticket.cancel().await.unwrap_err(),
        ticket.snapshot().await.unwrap_err(),
        watch.next().await.unwrap().unwrap_err(),
    ] {
        assert_eq!((error.code(), error.message()), (Code::NotFound, "there is no operations/none"));
    }
}

#[tokio::test]
async fn a_ticket_of_another_method_is_refused() {
    let (_double, _up, client) = opened().await;
    let name = submitted(&client).await.name().to_owned();
    let strange = client.ticket::<images::Resize>(name);
    assert_eq!(strange.snapshot().await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(strange.watch().next().await.unwrap().unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_submit_ends_at_its_own_deadline() {
    let (_double, up, client) = opened().await;
    drop(up);
    let mut request = Request::new(picture());
    request.set_timeout(Duration::from_millis(50));
    let error = client.submit::<images::Info>(request).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
}

/// A method's context, as the node makes it.
fn context(up: &Up, cancel: CancellationToken) -> Context {
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", up.address)).unwrap().connect_lazy();
    let token = "secret".to_owned().try_into().unwrap();
    let entry = |key: &str, value: &'static str| Entry { key: key.to_owned(), value: value.into() };
    Context::new(Particulars {
        method: "gallery.v1.Gallery/Thumbnail",
        deadline: Some(std::time::Instant::now() + Duration::from_secs(20)),
        cancel,
        entries: vec![entry("turno-tenant", "bakery"), entry("x-own", "1")],
        caller: Caller { peer: "10.0.0.9:1".into(), method: String::new() },
        mesh: Mesh::new(channel, token),
        progress: None,
    })
}

#[tokio::test]
async fn a_method_submits_in_its_own_name() {
    let (double, up, _client) = opened().await;
    let cancel = CancellationToken::new();
    let ctx = context(&up, cancel.clone());
    let ticket = ctx.submit::<images::Info>(picture()).await.unwrap();
    double.finish(ticket.name(), 32);
    // It knows nothing of the method's end.
    cancel.cancel();
    assert_eq!(ticket.response().await.unwrap().width, 32);
    for rpc in ["Submit", "WaitOperation"] {
        let [metadata] = double.metadata(rpc).try_into().unwrap();
        let said = |key: &str| metadata.get(key).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(said("turno-caller-method").as_deref(), Some("gallery.v1.Gallery/Thumbnail"));
        assert_eq!(said("turno-caller-peer").as_deref(), Some("10.0.0.9:1"));
        assert_eq!(said("turno-tenant").as_deref(), Some("bakery"));
        assert_eq!(said("authorization").as_deref(), Some("Bearer secret"));
        assert_eq!((said("x-own"), said("grpc-timeout")), (None, None), "{rpc}");
    }
    let error = ctx.submit::<images::Info>(picture()).await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled, "nobody waits for it any more");
}
