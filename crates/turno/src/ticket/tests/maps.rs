//! Maps as tickets, from submit to the last result.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::google::rpc;
use turno_proto::v1::{MapError, MapOrder, MapResult, MapSummary, OnFailure as Wire, TicketState};
use turno_runtime::task;

use super::double::{Double, Up, any};
use super::{context, eventually, opened, picture, submitted};
use crate::cpu::v1::{InfoRequest, InfoResponse, images};
use crate::map::{OnFailure, Summary};
use crate::ticket::{MapTicket, Results, State};
use crate::{Client, never_sent};

type Infos = MapTicket<images::Info>;

fn pictures(count: u8) -> Vec<InfoRequest> {
    (0..count).map(|number| InfoRequest { data: vec![number].into() }).collect()
}

/// Three pictures, submitted.
async fn mapped(client: &Client) -> Infos {
    client.submit_map::<images::Info>(stream::iter(pictures(3))).await.unwrap()
}

fn result(index: u64) -> MapResult {
    let width = u32::try_from(index).unwrap() + 100;
    let response = InfoResponse { width, ..InfoResponse::default() }.encode_to_vec().into();
    MapResult { index, response, error: None }
}

fn summary(items: u64, succeeded: u64, failed: u64) -> MapSummary {
    MapSummary { items, succeeded, failed }
}

/// Numbers and widths of the next results.
async fn next(results: &mut Results<images::Info>, count: usize) -> Vec<(u64, u32)> {
    let good = results.take(count).map_ok(|(index, answer)| (index, answer.unwrap().width));
    good.try_collect().await.unwrap()
}

#[tokio::test]
async fn what_is_asked_of_a_map_reaches_the_gateway() {
    let (double, _up, client) = opened().await;
    let mut requests = Request::new(stream::iter(pictures(5)));
    requests.metadata_mut().insert("turno-tenant", "bakery".parse().unwrap());
    requests.set_timeout(Duration::from_secs(20));
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    let submit = client.submit_map::<images::Info>(requests).key("cats").key_kept_for(Duration::from_secs(9));
    let submit = submit.not_before(at).label("shop", "a").label("shop", "b").retries(0);
    let submit = submit.keep_result_for(Duration::from_secs(5)).ordered().in_flight(40);
    let ticket = submit.on_failure(OnFailure::StopAbove(0.25)).await.unwrap();
    assert_eq!((ticket.name(), ticket.id()), ("operations/0", "0"));
    let [(header, items)] = double.maps().try_into().unwrap();
    let map = header.map.clone().unwrap();
    assert_eq!((map.method.as_str(), map.order()), ("turno.cpu.v1.Images/Info", MapOrder::AsSent));
    assert_eq!((map.on_failure(), map.failures, map.in_flight), (Wire::StopAbove, 0.25, 40));
    assert_eq!(
        (header.idempotency_key.as_str(), header.idempotency_key_kept_for.unwrap().seconds),
        ("cats", 9)
    );
    assert_eq!((header.not_before.unwrap().seconds, header.retries), (7, Some(0)));
    assert_eq!(header.labels, [("shop".to_owned(), "b".to_owned())].into());
    assert_eq!(header.keep_result_for.unwrap().seconds, 5);
    let sent = items.into_iter().map(|item| InfoRequest::decode(item).unwrap()).collect::<Vec<_>>();
    assert_eq!(sent, pictures(5));
    assert_eq!(ticket.snapshot().await.unwrap().map_items, Some(5));
    for rpc in ["SubmitMap", "GetOperation"] {
        let [metadata] = double.metadata(rpc).try_into().unwrap();
        assert_eq!(metadata.get("turno-tenant").unwrap(), "bakery", "{rpc}");
        assert!(!metadata.contains_key("grpc-timeout"), "a deadline is not the ticket's");
    }
}

#[tokio::test]
async fn a_map_is_read_while_it_runs_and_is_a_future_of_its_summary() {
    let (double, _up, client) = opened().await;
    let ticket = mapped(&client).await;
    double.result(ticket.name(), [result(2)]);
    let mut results = ticket.results();
    assert_eq!(next(&mut results, 1).await, [(2, 102)]);
    assert_eq!((results.position(), results.summary()), (1, None));
    let error = MapError { code: 3, message: "no picture".into(), details: "why".into() };
    double
        .result(ticket.name(), [result(0), MapResult { index: 1, error: Some(error), ..Default::default() }]);
    double.finish_map(ticket.name(), summary(3, 2, 1));
    assert_eq!(next(&mut results, 1).await, [(0, 100)]);
    let (index, failed) = results.try_next().await.unwrap().unwrap();
    let failed = failed.unwrap_err();
    assert_eq!((index, failed.code(), failed.message()), (1, Code::InvalidArgument, "no picture"));
    assert_eq!(failed.details(), b"why");
    assert!(results.next().await.is_none() && results.next().await.is_none());
    let expected = Summary { items: 3, succeeded: 2, failed: 1 };
    assert_eq!((results.position(), results.summary()), (3, Some(expected)));
    assert_eq!(ticket.state().await.unwrap(), State::Done);
    // Anybody who knows its name.
    let again = client.map_ticket::<images::Info>("0");
    assert_eq!(next(&mut again.results_from(1), 1).await, [(0, 100)]);
    assert_eq!(again.await.unwrap(), expected);
    assert_eq!(ticket.await.unwrap(), expected);
}

/// A map whose requests come one by one; so many have come.
async fn begun(double: &Double, client: &Client, count: u8) -> (mpsc::Sender<InfoRequest>, Submitting) {
    let (requests, coming) = mpsc::channel(8);
    let submit = client.submit_map::<images::Info>(ReceiverStream::new(coming));
    let submitting = task::spawn("submits", submit.into_future());
    for picture in pictures(count) {
        requests.send(picture).await.unwrap();
    }
    eventually("they have come", || double.items_come() == usize::from(count)).await;
    (requests, submitting)
}

type Submitting = tokio::task::JoinHandle<crate::Result<Infos>>;

#[tokio::test]
async fn a_map_that_breaks_off_half_way_may_be_submitted_again() {
    let (double, up, client) = opened().await;
    let (_more, submitting) = begun(&double, &client, 3).await;
    drop(up);
    let error = submitting.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().starts_with("the map was not submitted: "), "{error}");
    assert!(error.message().ends_with("may be submitted again from its beginning"), "{error}");
    assert!(never_sent(&error));
    assert_eq!(double.names(), [""; 0]);
}

#[tokio::test]
async fn who_drops_a_submit_leaves_nothing() {
    let (double, _up, client) = opened().await;
    let (more, submitting) = begun(&double, &client, 3).await;
    submitting.abort();
    assert!(submitting.await.is_err());
    eventually("the requests are not read any more", || more.is_closed()).await;
    mapped(&client).await;
    assert_eq!((double.names().len(), double.maps().len()), (1, 1));
}

#[tokio::test]
async fn a_map_whose_answer_is_lost_is_one_ticket_by_its_key() {
    let (double, _up, client) = opened().await;
    let submit = || client.submit_map::<images::Info>(stream::iter(pictures(3)));
    double.lose_answers(2);
    let error = submit().await.unwrap_err();
    assert_eq!((error.code(), never_sent(&error)), (Code::Unavailable, false));
    assert!(error.message().ends_with("submitting it again may make a second ticket"), "{error}");
    let error = submit().key("cats").await.unwrap_err();
    assert_eq!((error.code(), never_sent(&error)), (Code::Unavailable, false));
    assert!(error.message().ends_with(r#"with the same key, "cats": it is one ticket"#), "{error}");
    let ticket = submit().key("cats").await.unwrap();
    assert_eq!(double.names(), ["operations/0", ticket.name()]);
}

#[tokio::test]
async fn a_map_of_which_nothing_was_taken_goes_to_the_next_gateway() {
    let (double, _up, client) = opened().await;
    double.refuse_maps(2);
    let (requests, submitting) = begun(&double, &client, 0).await;
    eventually("it is asked a third time", || double.metadata("SubmitMap").len() == 3).await;
    for picture in pictures(4) {
        requests.send(picture).await.unwrap();
    }
    drop(requests);
    let ticket = submitting.await.unwrap().unwrap();
    assert_eq!(double.names(), [ticket.name()]);
    let [(header, items)] = double.maps().try_into().unwrap();
    assert_eq!((header.map.unwrap().method.as_str(), items.len()), ("turno.cpu.v1.Images/Info", 4));
}

#[tokio::test]
async fn a_map_waits_for_a_gateway_and_may_be_submitted_again_when_none_came() {
    let (double, up, _client) = opened().await;
    let address = up.address;
    drop(up);
    let client =
        |ms| Client::to([address.to_string()]).patience(Duration::from_millis(ms)).connect().unwrap();
    let error = client(50).submit_map::<images::Info>(stream::iter(pictures(3))).await.unwrap_err();
    assert_eq!((error.code(), never_sent(&error)), (Code::Unavailable, true));
    let mut requests = Request::new(stream::iter(pictures(3)));
    requests.set_timeout(Duration::from_millis(50));
    let late = client(20_000).submit_map::<images::Info>(requests).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let client = client(20_000);
    let submit = client.submit_map::<images::Info>(stream::iter(pictures(3))).into_future();
    let submitting = task::spawn("submits", submit);
    let _up: Up = double.start_at(address).await;
    submitting.await.unwrap().unwrap();
    assert_eq!(double.maps().len(), 1);
}

#[tokio::test]
async fn what_is_no_key_of_a_map_is_refused() {
    let (_double, _up, client) = opened().await;
    let submit = || client.submit_map::<images::Info>(stream::iter(pictures(1)));
    let day = Duration::from_secs(86_400);
    for wrong in [submit().key(""), submit().key_kept_for(day)] {
        assert_eq!(wrong.await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn who_reads_outlives_a_gateway_and_reads_nothing_twice() {
    let (double, up, client) = opened().await;
    let ticket = mapped(&client).await;
    let mut results = ticket.results();
    double.result(ticket.name(), (0..5).map(result));
    assert_eq!(next(&mut results, 4).await, [(0, 100), (1, 101), (2, 102), (3, 103)]);
    let address = up.address;
    drop(up);
    eventually("the gateway is gone", || double.readers(ticket.name()) == 0).await;
    // What had come is there, and what has not is read from the next one.
    assert_eq!(next(&mut results, 1).await, [(4, 104)]);
    let _up = double.start_at(address).await;
    double.result(ticket.name(), (5..9).map(result));
    double.finish_map(ticket.name(), summary(9, 9, 0));
    assert_eq!(next(&mut results, 10).await, [(5, 105), (6, 106), (7, 107), (8, 108)]);
    assert_eq!(results.summary().unwrap().succeeded, 9);
    assert_eq!(double.metadata("ReadMap").len(), 2);
}

#[tokio::test]
async fn who_reads_waits_for_room() {
    let (double, _up, client) = opened().await;
    let ticket = mapped(&client).await;
    double.result(ticket.name(), [result(0)]);
    double.is_full("ReadMap", 3);
    assert_eq!(next(&mut ticket.results(), 1).await, [(0, 100)]);
    assert_eq!(double.metadata("ReadMap").len(), 4);
    double.is_full("ReadMap", u32::MAX);
    let impatient = ticket.patience(Duration::from_millis(50));
    let error = impatient.results().try_next().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("64 calls are in flight"), "{error}");
    assert!(error.message().contains(impatient.name()), "{error}");
}

#[tokio::test]
async fn what_a_map_has_ended_with_is_told_as_it_is() {
    let (double, _up, client) = opened().await;
    let detail = any("turno.v1.MapSummary", &summary(3, 1, 1));
    for (code, state, details) in [
        // As a gateway that is gone would say it, but it is the ticket's own.
        (Code::Unavailable, TicketState::Dead, Vec::new()),
        (Code::Aborted, TicketState::Failed, vec![detail]),
    ] {
        let ticket = mapped(&client).await;
        double.result(ticket.name(), [result(0)]);
        let error = rpc::Status { code: code.into(), message: "no more".into(), details: details.clone() };
        double.end(ticket.name(), state, Ended::Error(error.clone()));
        let mut results = ticket.results();
        assert_eq!(next(&mut results, 1).await, [(0, 100)]);
        let told = results.try_next().await.unwrap_err();
        assert_eq!((told.code(), told.message()), (code, "no more"));
        assert_eq!(rpc::Status::decode(told.details()).unwrap(), error);
        assert!(results.next().await.is_none());
        let counted = (!details.is_empty()).then_some(Summary { items: 3, succeeded: 1, failed: 1 });
        assert_eq!((results.summary(), Summary::of(&told)), (counted, counted));
        let waited = ticket.await.unwrap_err();
        assert_eq!((waited.code(), Summary::of(&waited)), (code, counted));
    }
}

#[tokio::test]
async fn a_map_is_watched_and_cancelled() {
    let (_double, _up, client) = opened().await;
    let ticket = mapped(&client).await;
    let mut watch = ticket.watch();
    assert_eq!(watch.next().await.unwrap().unwrap().state, State::Waiting);
    ticket.cancel().await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().state, State::Cancelled);
    assert_eq!(ticket.results().try_next().await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(ticket.await.unwrap_err().code(), Code::Cancelled);
}

#[tokio::test]
async fn patience_without_a_gateway_ends_with_the_maps_name() {
    let (double, up, client) = opened().await;
    let ticket = mapped(&client).await.patience(Duration::from_millis(50));
    double.result(ticket.name(), [result(0)]);
    let mut results = ticket.results();
    assert_eq!(next(&mut results, 1).await, [(0, 100)]);
    drop(up);
    let unread = ticket.results().try_next().await.unwrap_err();
    for error in [results.try_next().await.unwrap_err(), unread] {
        assert_eq!(error.code(), Code::Unavailable);
        assert!(
            error.message().starts_with("no gateway has answered for operations/0 in 50 ms: "),
            "{error}"
        );
    }
    assert!(results.next().await.is_none());
    assert_eq!(results.position(), 1);
}

#[tokio::test]
async fn a_ticket_that_is_no_such_map_is_not_read() {
    let (double, _up, client) = opened().await;
    let (map, call) = (mapped(&client).await, submitted(&client).await);
    double.result(map.name(), [result(0)]);
    let strange = client.map_ticket::<images::Resize>(map.name());
    assert_eq!(strange.results().try_next().await.unwrap_err().code(), Code::FailedPrecondition);
    let no_map: Infos = client.map_ticket(call.name());
    assert_eq!(no_map.results().try_next().await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(no_map.state().await.unwrap_err().code(), Code::FailedPrecondition);
    let no_call = client.ticket::<images::Info>(map.name());
    assert_eq!(no_call.state().await.unwrap_err().code(), Code::FailedPrecondition);
    let none: Infos = client.map_ticket("operations/none");
    assert_eq!(none.results().try_next().await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_method_submits_a_map_in_its_own_name() {
    let (double, up, _client) = opened().await;
    let cancel = CancellationToken::new();
    let ctx = context(&up, cancel.clone());
    let ticket = ctx.submit_map::<images::Info>(stream::iter([picture()])).await.unwrap();
    double.result(ticket.name(), [result(0)]);
    // It knows nothing of the method's end.
    cancel.cancel();
    let mut results = ctx.map_ticket::<images::Info>(ticket.name()).results();
    assert_eq!(next(&mut results, 1).await, [(0, 100)]);
    for rpc in ["SubmitMap", "ReadMap"] {
        let [metadata] = double.metadata(rpc).try_into().unwrap();
        let said = |key: &str| metadata.get(key).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(said("turno-caller-method").as_deref(), Some("gallery.v1.Gallery/Thumbnail"));
        assert_eq!(said("turno-tenant").as_deref(), Some("bakery"));
        assert_eq!((said("x-own"), said("grpc-timeout")), (None, None), "{rpc}");
    }
    let error = ctx.submit_map::<images::Info>(stream::iter([picture()])).await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled, "nobody waits for it any more");
}
