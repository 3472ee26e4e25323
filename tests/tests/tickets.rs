//! Tickets as clients meet them: submitted, run, waited for, watched, cancelled, retried, dead, forgotten.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use metrics_exporter_prometheus::PrometheusBuilder;
use prost::Message;
use prost_types::Timestamp;
use sqlx::ConnectOptions as _;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use turno::node::config::{NodeConfig, Role};
use turno_gateway::{Gateway, GatewayConfig};
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
    WaitOperationRequest,
};
use turno_proto::google::rpc;
use turno_proto::v1::submit_response::Result as Submitted;
use turno_proto::v1::{
    EditRequest, RedriveRequest, ShowRequest, SubmitRequest, SubmitResponse, TicketMetadata, TicketState,
    WatchRequest,
};
use turno_tests::kitchen::Cook;
use turno_tests::stubs::{Dish, Inspection, Number, Wait};
use turno_tests::{TestMesh, eventually, kitchen};

fn submit(method: &str, request: &impl Message) -> SubmitRequest {
    SubmitRequest {
        method: format!("kitchen.v1.Kitchen/{method}"),
        request: request.encode_to_vec().into(),
        ..SubmitRequest::default()
    }
}

fn echo(content: &'static str) -> SubmitRequest {
    submit("Echo", &Dish { content: content.into() })
}

fn wait(ms: u64) -> Wait {
    Wait { ms, content: "soup".into() }
}

async fn submitted(mesh: &TestMesh, request: SubmitRequest) -> Operation {
    mesh.tickets().submit(request).await.unwrap().into_inner()
}

async fn refused(mesh: &TestMesh, request: SubmitRequest) -> Status {
    mesh.tickets().submit(request).await.unwrap_err()
}

async fn get(mesh: &TestMesh, name: &str) -> Result<Operation, Status> {
    let request = GetOperationRequest { name: name.to_owned() };
    mesh.operations().get_operation(request).await.map(tonic::Response::into_inner)
}

async fn ended(mesh: &TestMesh, name: &str) -> Operation {
    let request = WaitOperationRequest { name: name.to_owned(), timeout: None };
    let operation = mesh.operations().wait_operation(request).await.unwrap().into_inner();
    assert!(operation.done);
    operation
}

/// Without responses.
fn basic<T>(question: T) -> Request<T> {
    let mut question = Request::new(question);
    question.metadata_mut().insert("turno-view", "basic".parse().unwrap());
    question
}

async fn list(mesh: &TestMesh, filter: &str) -> Vec<String> {
    let request = ListOperationsRequest { filter: filter.to_owned(), ..ListOperationsRequest::default() };
    let page = mesh.operations().list_operations(request).await.unwrap().into_inner();
    page.operations.into_iter().map(|operation| operation.name).collect()
}

async fn pages(mesh: &TestMesh, page_size: i32) -> Vec<Vec<Operation>> {
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListOperationsRequest { page_size, page_token, ..ListOperationsRequest::default() };
        let page = mesh.operations().list_operations(request).await.unwrap().into_inner();
        pages.push(page.operations);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return pages;
        }
    }
}

fn metadata(operation: &Operation) -> TicketMetadata {
    let any = operation.metadata.as_ref().unwrap();
    assert_eq!(any.type_url, "type.googleapis.com/turno.v1.TicketMetadata");
    TicketMetadata::decode(&any.value[..]).unwrap()
}

fn submit_time(operation: &Operation) -> SystemTime {
    metadata(operation).submit_time.unwrap().try_into().unwrap()
}

fn state(operation: &Operation) -> TicketState {
    metadata(operation).state()
}

fn response<M: Message + Default>(operation: &Operation, name: &str) -> M {
    match operation.result.as_ref() {
        Some(Ending::Response(any)) => {
            assert_eq!(any.type_url, format!("type.googleapis.com/kitchen.v1.{name}"));
            M::decode(&any.value[..]).unwrap()
        }
        other => panic!("no response: {other:?}"),
    }
}

fn error(operation: &Operation) -> rpc::Status {
    match operation.result.as_ref() {
        Some(Ending::Error(error)) => error.clone(),
        other => panic!("no error: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_submitted_is_run_and_its_result_is_the_methods_own() {
    let mesh = TestMesh::start(1, 1).await;
    let labels = HashMap::from([("shop".to_owned(), "rosa".to_owned())]);
    let ticket = submitted(&mesh, SubmitRequest { labels, ..echo("bread") }).await;
    assert!(ticket.name.starts_with("operations/") && !ticket.done);
    let done = ended(&mesh, &ticket.name).await;
    assert_eq!(response::<Dish>(&done, "Dish").content, "bread");
    let told = metadata(&done);
    assert_eq!((told.state(), told.attempts, told.failures, told.retries), (TicketState::Done, 1, 0, 2));
    assert_eq!((told.method.as_str(), told.labels["shop"].as_str()), ("kitchen.v1.Kitchen/Echo", "rosa"));
    let times = [told.submit_time, told.begin_time, told.end_time, told.expire_time];
    let times = times.map(|time| time.map(|time| (time.seconds, time.nanos)).unwrap());
    assert!(times.is_sorted() && times[2] < times[3], "{times:?}");
    assert_eq!(get(&mesh, &ticket.name).await.unwrap(), done);
    let job = submitted(&mesh, submit("Square", &Number { value: 7, ms: 1 })).await;
    assert_eq!(response::<Number>(&ended(&mesh, &job.name).await, "Number").value, 49);
}

#[tokio::test]
async fn a_large_request_and_a_large_result_are_tickets_too() {
    let mesh = TestMesh::start(0, 1).await;
    let content = bytes::Bytes::from(vec![7; 3 << 20]);
    let ticket = submitted(&mesh, submit("Echo", &Dish { content: content.clone() })).await;
    assert_eq!(response::<Dish>(&ended(&mesh, &ticket.name).await, "Dish").content, content);
}

#[tokio::test]
async fn gzip_is_taken_of_submits_and_questions_too() {
    use tonic::codec::CompressionEncoding::Gzip;
    let mesh = TestMesh::start(0, 1).await;
    let mut tickets = mesh.tickets().send_compressed(Gzip);
    let mut operations = mesh.operations().send_compressed(Gzip);
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let contents = [bytes::Bytes::from_static(b"bread"), vec![7; 1_000_000].into(), noise.into()];
    let submits: Vec<_> =
        contents.iter().map(|content| submit("Echo", &Dish { content: content.clone() })).collect();
    let name = tickets.submit(submits[0].clone()).await.unwrap().into_inner().name;
    let get = GetOperationRequest { name: name.clone() };
    assert_eq!(operations.get_operation(get).await.unwrap().into_inner().name, name);
    let page = operations.list_operations(ListOperationsRequest::default()).await.unwrap().into_inner();
    assert_eq!(page.operations.len(), 1);
    let answers = tickets.submit_many(tokio_stream::iter(submits)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().result.unwrap()).collect().await;
    assert_eq!(answers.len(), contents.len());
    for (answer, content) in answers.into_iter().zip(contents) {
        let Submitted::Operation(ticket) = answer else { panic!("{answer:?}") };
        assert_eq!(response::<Dish>(&ended(&mesh, &ticket.name).await, "Dish").content, content);
    }
}

#[tokio::test]
async fn the_method_sees_who_submitted_and_for_which_ticket_it_runs() {
    let mesh = TestMesh::start(0, 1).await;
    let mut request = Request::new(submit("Inspect", &Dish::default()));
    for (key, value) in [("turno-tenant", "bakery"), ("x-oven", "7"), ("authorization", "Bearer secret")] {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    let ticket = mesh.tickets().submit(request).await.unwrap().into_inner();
    let done = ended(&mesh, &ticket.name).await;
    let seen = response::<Inspection>(&done, "Inspection");
    assert_eq!(metadata(&done).tenant, "bakery");
    assert_eq!(seen.metadata["x-oven"], "7");
    assert_eq!(seen.metadata["turno-lane"], "batch");
    assert_eq!(seen.metadata["turno-ticket"], ticket.name);
    assert_eq!(seen.metadata["turno-attempt"], "1");
    assert!(!seen.metadata.contains_key("authorization"));
    assert!(seen.peer.starts_with("127.0.0.1:"), "{}", seen.peer);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_it_is_stored() {
    let patience = turno_runtime::units::Span(Duration::from_millis(200));
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..GatewayConfig::default() }).await;
    let node = mesh.kitchen(Role::Io, 1).await;
    let unknown = refused(&mesh, submit("Nothing", &Dish::default())).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    let own = SubmitRequest { method: "turno.v1.Tickets/Submit".into(), ..SubmitRequest::default() };
    let own = refused(&mesh, own).await;
    assert_eq!(own.code(), Code::InvalidArgument);
    assert!(own.message().contains("the gateway's own method"), "{}", own.message());
    for stream in ["Serve", "Collect", "Banter"] {
        let error = refused(&mesh, submit(stream, &Dish::default())).await;
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("stream"), "{error}");
    }
    let error = refused(&mesh, SubmitRequest { retries: Some(1001), ..echo("x") }).await;
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "retries: 1001 are more than 1000"));
    assert!(list(&mesh, "").await.is_empty());
    // Its nodes are just away: that is no reason to refuse it.
    node.leave().await;
    let ticket = submitted(&mesh, echo("later")).await;
    assert_eq!(state(&ticket), TicketState::Waiting);
    let _again = mesh.kitchen(Role::Io, 1).await;
    assert_eq!(response::<Dish>(&ended(&mesh, &ticket.name).await, "Dish").content, "later");
}

#[tokio::test]
async fn a_request_above_the_limit_is_refused_with_its_limit() {
    let max_message = turno_runtime::units::Size::kib(8);
    let mesh = TestMesh::gateway(GatewayConfig { max_message, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let error = refused(&mesh, submit("Echo", &Dish { content: vec![7; 9000].into() })).await;
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("max_message"), "{error}");
}

#[tokio::test]
async fn one_that_is_too_large_to_be_read_hears_the_same_and_ends_its_stream() {
    let max_message = turno_runtime::units::Size::kib(8);
    let mesh = TestMesh::gateway(GatewayConfig { max_message, ..GatewayConfig::default() }).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let large = || submit("Echo", &Dish { content: vec![7; 100_000].into() });
    let many = tokio_stream::iter([echo("bread"), large(), echo("butter")]);
    let mut answers = mesh.tickets().submit_many(many).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert!(matches!(first.result, Some(Submitted::Operation(_))), "{first:?}");
    let of_a_stream = answers.message().await.unwrap_err();
    for error in [of_a_stream, refused(&mesh, large()).await] {
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert!(error.message().contains("max_message"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_above_the_limit_is_the_tickets_end() {
    let (max_message, carry_above) = (turno_runtime::units::Size::kib(8), turno_runtime::units::Size::kib(4));
    let config = GatewayConfig { max_message, carry_above, ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    // It answers what it is sent beside its request.
    let mut request = Request::new(submit("Inspect", &Dish::default()));
    request.metadata_mut().insert("x-order", "7".repeat(9000).parse().unwrap());
    let ticket = mesh.tickets().submit(request).await.unwrap().into_inner();
    let dead = ended(&mesh, &ticket.name).await;
    assert_eq!((state(&dead), metadata(&dead).attempts), (TicketState::Dead, 1));
    let why = error(&dead);
    assert_eq!(why.code, Code::ResourceExhausted as i32);
    assert!(why.message.contains("a larger --max-message"), "{why:?}");
}

#[tokio::test]
async fn the_same_key_is_the_same_ticket() {
    let mesh = TestMesh::start(0, 1).await;
    let keyed = |request| SubmitRequest { idempotency_key: "order 7".into(), ..request };
    let first = submitted(&mesh, keyed(echo("bread"))).await;
    let second = submitted(&mesh, keyed(echo("bread"))).await;
    assert_eq!(first.name, second.name);
    let done = ended(&mesh, &first.name).await;
    let third = submitted(&mesh, keyed(echo("bread"))).await;
    assert_eq!(third, done);
    let other = refused(&mesh, keyed(echo("cake"))).await;
    assert_eq!(other.code(), Code::AlreadyExists);
    assert!(other.message().contains("order 7"), "{other}");
    assert_eq!(list(&mesh, "").await.len(), 1);
}

#[tokio::test]
async fn a_key_is_kept_for_its_time_from_the_submit_on() {
    let mesh = TestMesh::start(0, 1).await;
    let kept_for = Duration::from_millis(1_500);
    let keyed = |request| SubmitRequest {
        idempotency_key: "order 7".into(),
        idempotency_key_kept_for: Some(kept_for.try_into().unwrap()),
        ..request
    };
    let first = submitted(&mesh, keyed(echo("bread"))).await;
    let lasting = || SubmitRequest { idempotency_key: "order 8".into(), ..echo("bread") };
    let lasts = submitted(&mesh, lasting()).await;
    eventually("the key is free", async || {
        let answer = mesh.tickets().submit(keyed(echo("cake"))).await;
        answer.map_err(|error| assert_eq!(error.code(), Code::AlreadyExists, "{error}")).is_ok()
    })
    .await;
    let names = list(&mesh, "").await;
    let [second, _, _] = names.as_slice() else { panic!("{names:?}") };
    // Not a millisecond before, by the store's own clock.
    let then = submit_time(&first);
    let now = submit_time(&get(&mesh, second).await.unwrap());
    assert!(now.duration_since(then).unwrap() >= kept_for, "{then:?} {now:?}");
    // The ticket outlives its key, and a key without a time is another matter.
    assert_eq!(response::<Dish>(&ended(&mesh, &first.name).await, "Dish").content, "bread");
    assert_eq!(response::<Dish>(&ended(&mesh, second).await, "Dish").content, "cake");
    assert_eq!(submitted(&mesh, lasting()).await.name, lasts.name);
}

#[tokio::test]
async fn what_may_mend_is_tried_again_and_the_attempts_are_on_record() {
    let mesh = TestMesh::start(0, 1).await;
    let fussy = submit("Fuss", &Number { value: Code::Unavailable as u64, ms: 1 });
    let ticket = submitted(&mesh, fussy).await;
    // What the .proto says.
    assert_eq!(metadata(&ticket).retries, 3);
    let done = ended(&mesh, &ticket.name).await;
    assert_eq!(response::<Number>(&done, "Number").value, 2);
    let told = metadata(&done);
    assert_eq!((told.attempts, told.failures), (2, 1));
    let shown = mesh.tickets().show(ShowRequest { name: ticket.name }).await.unwrap().into_inner();
    let [failed] = shown.failed_attempts.as_slice() else { panic!("{:?}", shown.failed_attempts) };
    assert_eq!(failed.failure.as_ref().unwrap().message, "attempt 1 will not do");
    assert_eq!(failed.number, 1);
    assert_eq!(Number::decode(shown.request).unwrap().ms, 1);
}

#[tokio::test]
async fn what_would_not_mend_is_final_with_its_details() {
    let mesh = TestMesh::start(0, 1).await;
    let details = rpc::Status {
        code: Code::FailedPrecondition as i32,
        message: "the oven is cold".into(),
        details: vec![prost_types::Any { type_url: "type.googleapis.com/a.B".into(), value: vec![7] }],
    };
    let refuse = submit("Refuse", &Dish { content: details.encode_to_vec().into() });
    let failed = ended(&mesh, &submitted(&mesh, refuse).await.name).await;
    assert_eq!((state(&failed), metadata(&failed).attempts), (TicketState::Failed, 1));
    assert_eq!(error(&failed), details);
}

#[tokio::test]
async fn what_has_failed_too_often_is_dead_and_can_be_edited_and_redriven() {
    let mesh = TestMesh::start(0, 1).await;
    let fussy = submit("Fuss", &Number { value: Code::Internal as u64, ms: 9 });
    let dead = ended(&mesh, &submitted(&mesh, SubmitRequest { retries: Some(0), ..fussy }).await.name).await;
    assert_eq!((state(&dead), error(&dead).code), (TicketState::Dead, Code::Internal as i32));
    assert_eq!(list(&mesh, "state = \"dead\"").await, std::slice::from_ref(&dead.name));
    let mild = Number { value: 14, ms: 0 }.encode_to_vec();
    let edit = EditRequest { name: dead.name.clone(), request: Some(mild.into()), retries: Some(1) };
    mesh.tickets().edit(edit).await.unwrap();
    let redrive = || RedriveRequest { name: dead.name.clone() };
    let new = mesh.tickets().redrive(redrive()).await.unwrap().into_inner();
    let again = mesh.tickets().redrive(redrive()).await.unwrap().into_inner();
    assert_eq!(new.name, again.name);
    let done = ended(&mesh, &new.name).await;
    assert_eq!(response::<Number>(&done, "Number").value, 1);
    assert_eq!((metadata(&done).redrive_of, metadata(&done).retries), (dead.name.clone(), 1));
    let again = mesh.tickets().redrive(redrive()).await.unwrap().into_inner();
    assert_eq!(response::<Number>(&again, "Number").value, 1, "it has ended by now");
    assert_eq!(metadata(&get(&mesh, &dead.name).await.unwrap()).redriven_as, new.name);
    let alive = mesh.tickets().redrive(RedriveRequest { name: new.name }).await.unwrap_err();
    assert_eq!(alive.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_panic_is_an_attempt() {
    let mesh = TestMesh::start(1, 1).await;
    for method in ["Burn", "Spill"] {
        let request = SubmitRequest { retries: Some(0), ..submit(method, &Dish::default()) };
        let dead = ended(&mesh, &submitted(&mesh, request).await.name).await;
        assert_eq!((state(&dead), error(&dead).code), (TicketState::Dead, Code::Internal as i32));
    }
}

#[tokio::test]
async fn a_ticket_does_not_begin_before_its_time_and_can_be_cancelled_meanwhile() {
    let mesh = TestMesh::start(0, 1).await;
    let at = |ahead| Some(Timestamp::from(SystemTime::now() + Duration::from_millis(ahead)));
    let not_before = at(400);
    let soon = submitted(&mesh, SubmitRequest { not_before, ..echo("soon") }).await;
    let late = submitted(&mesh, SubmitRequest { not_before: at(3_600_000), ..echo("late") }).await;
    assert_eq!([state(&soon), state(&late)], [TicketState::Waiting; 2]);
    let begun = metadata(&ended(&mesh, &soon.name).await).begin_time;
    // The store counts in milliseconds, and rounds this one up.
    let [begun, not_before] = [begun, not_before].map(|time| time.map(|time| (time.seconds, time.nanos)));
    assert!(begun.is_some() && begun >= not_before, "{begun:?} {not_before:?}");
    mesh.operations().cancel_operation(CancelOperationRequest { name: late.name.clone() }).await.unwrap();
    let cancelled = get(&mesh, &late.name).await.unwrap();
    assert_eq!((state(&cancelled), error(&cancelled).code), (TicketState::Cancelled, Code::Cancelled as i32));
    assert_eq!(metadata(&cancelled).attempts, 0);
}

#[tokio::test]
async fn a_cancel_reaches_the_method_and_says_when_it_has_stopped() {
    let mesh = TestMesh::start(1, 1).await;
    let given_up = async || {
        let counts = [mesh.client().given_up(Dish::default()).await.unwrap().into_inner().value];
        counts.iter().sum::<u64>()
    };
    let ticket = submitted(&mesh, submit("Simmer", &wait(60_000))).await;
    eventually("it runs", async || mesh.nodes().await.iter().any(|node| node.in_flight == 1)).await;
    mesh.operations().cancel_operation(CancelOperationRequest { name: ticket.name.clone() }).await.unwrap();
    let cancelled = ended(&mesh, &ticket.name).await;
    assert_eq!(state(&cancelled), TicketState::Cancelled);
    // It has stopped, and does not only stop some time.
    assert_eq!(given_up().await, 1);
    // A job sees it at its next checkpoint; one behind it, in the queue, never begins.
    let job = submitted(&mesh, submit("Knead", &wait(60_000))).await;
    eventually("it runs", async || mesh.nodes().await.iter().any(|node| node.in_flight == 1)).await;
    let queued = submitted(&mesh, submit("Knead", &wait(60_000))).await;
    for name in [&queued.name, &job.name] {
        mesh.operations().cancel_operation(CancelOperationRequest { name: name.clone() }).await.unwrap();
        assert_eq!(state(&ended(&mesh, name).await), TicketState::Cancelled);
    }
    // Twice is once, and what has ended stays as it is.
    mesh.operations().cancel_operation(CancelOperationRequest { name: job.name.clone() }).await.unwrap();
    assert_eq!(state(&get(&mesh, &job.name).await.unwrap()), TicketState::Cancelled);
}

#[tokio::test]
async fn a_watch_tells_states_attempts_and_progress_until_the_end() {
    let mesh = TestMesh::start(1, 1).await;
    for method in ["Roll", "Stir"] {
        let ticket = submitted(&mesh, submit(method, &wait(400))).await;
        let request = WatchRequest { name: ticket.name.clone() };
        let watched = mesh.tickets().watch(request).await.unwrap().into_inner();
        let seen: Vec<Operation> = watched.map(Result::unwrap).collect().await;
        let progress: Vec<u64> =
            seen.iter().filter_map(|now| metadata(now).progress).map(|progress| progress.done).collect();
        assert!(progress.len() >= 2 && progress.is_sorted(), "{method}: {progress:?}");
        assert_eq!(progress.last(), Some(&400), "the last word wins");
        let last = seen.last().unwrap();
        assert!(seen[..seen.len() - 1].iter().all(|now| !now.done));
        assert_eq!((last.done, state(last)), (true, TicketState::Done));
        assert_eq!(metadata(last).progress.unwrap().total, 400);
    }
}

#[tokio::test]
async fn tickets_are_listed_by_what_they_are_in_pages() {
    let mesh = TestMesh::start(0, 1).await;
    let label = |value: &str| HashMap::from([("batch".to_owned(), value.to_owned())]);
    let mut names = Vec::new();
    // More than are read at once.
    for number in 0..20 {
        let labels = label(if number < 17 { "a" } else { "b" });
        let ticket = submitted(&mesh, SubmitRequest { labels, ..echo("x") }).await;
        ended(&mesh, &ticket.name).await;
        names.push(ticket.name);
    }
    names.reverse();
    assert_eq!(list(&mesh, "").await, names);
    assert_eq!(list(&mesh, "labels.batch = \"a\" AND state = done").await, names[3..]);
    assert_eq!(list(&mesh, "method = \"kitchen.v1.Kitchen/\" AND labels.batch = b").await, names[..3]);
    assert!(list(&mesh, "method = \"kitchen.v1.Kitchen/Bake\"").await.is_empty());
    assert!(list(&mesh, "submitted_at > \"2100-01-01T00:00:00Z\"").await.is_empty());
    let paged = pages(&mesh, 9).await.concat();
    assert!(paged.iter().map(|operation| &operation.name).eq(&names), "{paged:?}");
    assert!(paged.iter().all(|operation| response::<Dish>(operation, "Dish").content == "x"));
    let request = ListOperationsRequest { filter: "colour = red".into(), ..ListOperationsRequest::default() };
    let error = mesh.operations().list_operations(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("colour"), "{error}");
}

#[tokio::test]
async fn a_page_whose_responses_are_large_ends_early_and_none_is_left_out() {
    let mesh = TestMesh::start(0, 1).await;
    let mut expected = Vec::new();
    for kib in [1, 600, 600, 3000, 1] {
        let content = bytes::Bytes::from(vec![7; kib << 10]);
        let ticket = submitted(&mesh, submit("Echo", &Dish { content })).await;
        expected.push(ended(&mesh, &ticket.name).await);
    }
    let not_before = Some(Timestamp::from(SystemTime::now() + Duration::from_secs(3600)));
    let late = submitted(&mesh, SubmitRequest { not_before, ..echo("late") }).await;
    expected.push(get(&mesh, &late.name).await.unwrap());
    expected.reverse();
    let pages = pages(&mesh, 0).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 2]);
    // Compared and not shown: they are megabytes.
    assert!(pages.concat() == expected, "each is there once, as GetOperation has it");
    let basic = basic(ListOperationsRequest::default());
    let listed = mesh.operations().list_operations(basic).await.unwrap().into_inner();
    assert_eq!(listed.operations.len(), 6);
    assert!(listed.operations.iter().all(|operation| operation.result.is_none()));
}

#[tokio::test]
async fn who_takes_no_large_message_hears_how_a_ticket_stands_all_the_same() {
    let mesh = TestMesh::start(0, 1).await;
    let content = bytes::Bytes::from(vec![7; 5 << 20]);
    let name = submitted(&mesh, submit("Echo", &Dish { content })).await.name;
    let expected = Operation { result: None, ..ended(&mesh, &name).await };
    // It takes 4 MiB, as any that nobody has told otherwise.
    let mut client = OperationsClient::new(mesh.channel());
    let get = || GetOperationRequest { name: name.clone() };
    assert_eq!(client.get_operation(get()).await.unwrap_err().code(), Code::OutOfRange);
    let got = client.get_operation(basic(get())).await.unwrap().into_inner();
    let wait = WaitOperationRequest { name: name.clone(), timeout: None };
    let waited = client.wait_operation(basic(wait)).await.unwrap().into_inner();
    assert_eq!([&got, &waited], [&expected, &expected]);
    assert!(got.done && state(&got) == TicketState::Done);
}

#[tokio::test]
async fn a_damaged_response_spoils_no_listing() {
    let data = tempfile::tempdir().unwrap();
    let config = GatewayConfig { data: data.path().into(), ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    let _node = mesh.kitchen(Role::Io, 1).await;
    let hit = ended(&mesh, &submitted(&mesh, echo("hit")).await.name).await;
    let well = ended(&mesh, &submitted(&mesh, echo("well")).await.name).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.path().join("tickets.sqlite3"));
    let mut connection = options.connect().await.unwrap();
    let damage = sqlx::query("UPDATE ticket SET response = x'07' WHERE id = ?");
    damage.bind(hit.name.replace("operations/", "")).execute(&mut connection).await.unwrap();
    let listed = pages(&mesh, 0).await.concat();
    let [first, second] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(*first, well);
    assert_eq!((&second.name, second.done, state(second)), (&hit.name, true, TicketState::Done));
    assert_eq!(error(second).code, Code::DataLoss as i32);
}

#[tokio::test]
async fn what_is_deleted_or_expired_is_gone() {
    let mesh = TestMesh::start(0, 1).await;
    let one = submitted(&mesh, echo("x")).await;
    ended(&mesh, &one.name).await;
    mesh.operations().delete_operation(DeleteOperationRequest { name: one.name.clone() }).await.unwrap();
    assert_eq!(get(&mesh, &one.name).await.unwrap_err().code(), Code::NotFound);
    let keep_result_for = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let two = submitted(&mesh, SubmitRequest { keep_result_for, ..echo("y") }).await;
    ended(&mesh, &two.name).await;
    eventually("it has expired", async || get(&mesh, &two.name).await.is_err()).await;
    assert_eq!(get(&mesh, &two.name).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(get(&mesh, "operations/7").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_key_outlives_its_ticket_and_says_how_that_has_ended() {
    let mesh = TestMesh::start(0, 1).await;
    let keyed = |key: &str, request| SubmitRequest { idempotency_key: key.into(), ..request };
    let burnt = keyed("burnt", submit("Refuse", &Dish::default()));
    for (request, came_to) in
        [(keyed("bread", echo("bread")), TicketState::Done), (burnt, TicketState::Failed)]
    {
        let name = submitted(&mesh, request.clone()).await.name;
        assert_eq!(state(&ended(&mesh, &name).await), came_to);
        mesh.operations().delete_operation(DeleteOperationRequest { name: name.clone() }).await.unwrap();
        let left = submitted(&mesh, request).await;
        assert_eq!((&left.name, left.done, state(&left)), (&name, true, came_to));
        let why = error(&left);
        assert_eq!(why.code, Code::NotFound as i32);
        assert!(why.message.contains("only its idempotency key is remembered"), "{why:?}");
        assert_eq!(metadata(&left).last_failure, None);
        assert_eq!(get(&mesh, &name).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test]
async fn what_is_deleted_while_it_runs_stays_for_who_submits_it_again() {
    let mesh = TestMesh::start(0, 1).await;
    let keyed = || SubmitRequest { idempotency_key: "order 7".into(), ..submit("Simmer", &wait(60_000)) };
    let ticket = submitted(&mesh, keyed()).await;
    mesh.operations().delete_operation(DeleteOperationRequest { name: ticket.name.clone() }).await.unwrap();
    assert!(metadata(&get(&mesh, &ticket.name).await.unwrap()).delete_requested);
    let wanted = submitted(&mesh, keyed()).await;
    assert_eq!((&wanted.name, metadata(&wanted).delete_requested), (&ticket.name, false));
    assert!(!metadata(&get(&mesh, &ticket.name).await.unwrap()).delete_requested);
    mesh.operations().cancel_operation(CancelOperationRequest { name: ticket.name.clone() }).await.unwrap();
    assert_eq!(state(&ended(&mesh, &ticket.name).await), TicketState::Cancelled);
}

#[tokio::test]
async fn a_wait_that_is_over_says_how_the_ticket_stands() {
    let mesh = TestMesh::start(0, 1).await;
    let ticket = submitted(&mesh, submit("Simmer", &wait(60_000))).await;
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
    let request = WaitOperationRequest { name: ticket.name, timeout };
    let now = mesh.operations().wait_operation(request).await.unwrap().into_inner();
    assert_eq!((now.done, state(&now)), (false, TicketState::Running));
}

#[tokio::test]
async fn many_are_answered_in_order_and_one_that_is_refused_does_not_end_the_stream() {
    let mesh = TestMesh::start(0, 1).await;
    let requests = (0..500_u64).map(|value| match value % 100 {
        7 => submit("Nothing", &Number::default()),
        _ => SubmitRequest { idempotency_key: value.to_string(), ..submit("Fuss", &Number { value, ms: 0 }) },
    });
    let requests: Vec<_> = requests.collect();
    let answers = mesh.tickets().submit_many(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().result.unwrap()).collect().await;
    assert_eq!(answers.len(), 500);
    for (value, answer) in answers.into_iter().enumerate() {
        match answer {
            Submitted::Operation(operation) => {
                assert_eq!(metadata(&operation).idempotency_key, value.to_string());
            }
            Submitted::Error(error) => assert_eq!((value % 100, error.code), (7, Code::Unimplemented as i32)),
        }
    }
}

#[tokio::test]
async fn an_attempt_is_cut_short_at_its_timeout_and_tried_again() {
    let mesh = TestMesh::start(0, 1).await;
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let request = SubmitRequest { timeout, retries: Some(1), ..submit("Simmer", &wait(60_000)) };
    let dead = ended(&mesh, &submitted(&mesh, request).await.name).await;
    assert_eq!((state(&dead), metadata(&dead).attempts), (TicketState::Dead, 2));
    assert_eq!(error(&dead).code, Code::DeadlineExceeded as i32);
}

#[tokio::test]
async fn a_lost_node_costs_an_attempt_whatever_the_method_says_of_itself() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let lost = mesh.kitchen(Role::Io, 1).await;
    // Simmer may not be repeated: as a call it would fail.
    let ticket = submitted(&mesh, submit("Simmer", &wait(1000))).await;
    eventually("it runs", async || mesh.nodes().await.iter().any(|node| node.in_flight == 1)).await;
    let _other = mesh.kitchen(Role::Io, 1).await;
    lost.running.abort();
    let done = ended(&mesh, &ticket.name).await;
    assert_eq!((state(&done), metadata(&done).attempts), (TicketState::Done, 2));
    assert_eq!(metadata(&done).failures, 1);
}

#[tokio::test]
async fn a_gateway_that_is_back_goes_on_with_what_it_had() {
    let data = tempfile::tempdir().unwrap();
    let config = || GatewayConfig { data: data.path().into(), ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config()).await;
    let node = mesh.kitchen(Role::Io, 1).await;
    let not_before = Some(Timestamp::from(SystemTime::now() + Duration::from_millis(500)));
    let later = submitted(&mesh, SubmitRequest { not_before, ..echo("later") }).await;
    let running = submitted(&mesh, submit("Simmer", &wait(300))).await;
    let done = ended(&mesh, &submitted(&mesh, echo("done")).await.name).await;
    // What runs is finished first.
    mesh.end().await;
    drop(node);
    let mesh = TestMesh::gateway(config()).await;
    assert_eq!(get(&mesh, &done.name).await.unwrap(), done);
    let finished = get(&mesh, &running.name).await.unwrap();
    assert_eq!((state(&finished), metadata(&finished).attempts), (TicketState::Done, 1));
    let _node = mesh.kitchen(Role::Io, 1).await;
    assert_eq!(response::<Dish>(&ended(&mesh, &later.name).await, "Dish").content, "later");
}

#[tokio::test]
async fn a_gateway_that_is_back_takes_submits_of_methods_whose_nodes_are_not() {
    let (data, patience) =
        (tempfile::tempdir().unwrap(), turno_runtime::units::Span(Duration::from_millis(200)));
    let config = || GatewayConfig { data: data.path().into(), patience, ..GatewayConfig::default() };
    let keyed = |request| SubmitRequest { idempotency_key: "order 7".into(), ..request };
    let mesh = TestMesh::gateway(config()).await;
    let node = mesh.kitchen(Role::Io, 1).await;
    let done = ended(&mesh, &submitted(&mesh, keyed(echo("bread"))).await.name).await;
    mesh.end().await;
    drop(node);
    let mesh = TestMesh::gateway(config()).await;
    // Its patience is over with this: nobody has submitted one before.
    let unknown = refused(&mesh, submit("Reheat", &wait(1))).await;
    assert_eq!(unknown.code(), Code::Unavailable);
    assert!(unknown.message().starts_with("no node has joined since this gateway started"), "{unknown}");
    assert!(!unknown.details().is_empty(), "the SDK knows by them that nothing was stored");
    assert_eq!(submitted(&mesh, keyed(echo("bread"))).await, done);
    assert_eq!(refused(&mesh, keyed(echo("cake"))).await.code(), Code::AlreadyExists);
    let new = submitted(&mesh, echo("cake")).await;
    assert_eq!(state(&new), TicketState::Waiting);
    let _node = mesh.kitchen(Role::Io, 1).await;
    assert_eq!(response::<Dish>(&ended(&mesh, &new.name).await, "Dish").content, "cake");
}

#[tokio::test]
async fn a_gateway_that_is_back_does_not_wait_for_all_its_nodes_before_it_takes_them() {
    let (data, patience) = (tempfile::tempdir().unwrap(), turno_runtime::units::Span::seconds(3600));
    let config = || GatewayConfig { data: data.path().into(), patience, ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config()).await;
    let node = mesh.kitchen(Role::Io, 1).await;
    ended(&mesh, &submitted(&mesh, echo("bread")).await.name).await;
    mesh.end().await;
    drop(node);
    let mesh = TestMesh::gateway(config()).await;
    let submitting = tokio::time::timeout(Duration::from_secs(20), submitted(&mesh, echo("cake")));
    let new = submitting.await.expect("it is stored long before an hour is over");
    assert_eq!(state(&new), TicketState::Waiting);
    let _node = mesh.kitchen(Role::Io, 1).await;
    assert_eq!(response::<Dish>(&ended(&mesh, &new.name).await, "Dish").content, "cake");
}

/// Its method would fail by that.
#[tokio::test]
async fn what_an_attempt_calls_is_not_cut_off_before_the_attempt_itself() {
    let (data, drain) =
        (tempfile::tempdir().unwrap(), turno_runtime::units::Span(Duration::from_millis(600)));
    let config = || GatewayConfig { data: data.path().into(), drain, ..GatewayConfig::default() };
    let (mesh, cook) = (TestMesh::gateway(config()).await, Cook::default());
    let _node = mesh.kitchen_of(&cook, Role::Both, 1).await;
    let ticket = submitted(&mesh, submit("LaminateNested", &wait(60_000))).await;
    eventually("it runs", async || cook.begun() == 1).await;
    mesh.end().await;
    let mesh = TestMesh::gateway(config()).await;
    let kept = get(&mesh, &ticket.name).await.unwrap();
    assert_eq!((state(&kept), metadata(&kept).failures), (TicketState::Running, 0));
}

/// As calls do; but of one stream all together, and once.
#[tokio::test]
async fn submits_wait_for_the_first_node_however_late_it_is() {
    let patience = turno_runtime::units::Span::seconds(3);
    let mesh = TestMesh::gateway(GatewayConfig { patience, ..GatewayConfig::default() }).await;
    let (requests, coming) = tokio::sync::mpsc::channel(1);
    let answers = mesh.tickets().submit_many(ReceiverStream::new(coming)).await;
    let mut answers = answers.unwrap().into_inner();
    let code = |answer: Option<SubmitResponse>| match answer.unwrap().result {
        Some(Submitted::Error(error)) => error.code,
        other => panic!("it was taken: {other:?}"),
    };
    requests.send(echo("flour")).await.unwrap();
    // The gateway's own first time is over with this.
    assert_eq!(code(answers.message().await.unwrap()), Code::Unavailable as i32);
    let mut tickets = mesh.tickets();
    let waiting = tokio::spawn(async move { tickets.submit(echo("bread")).await });
    requests.send(echo("butter")).await.unwrap();
    assert_eq!(code(answers.message().await.unwrap()), Code::Unavailable as i32);
    assert!(!waiting.is_finished(), "its stream had waited, and this one waits");
    let _node = mesh.kitchen(Role::Io, 1).await;
    let ticket = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(response::<Dish>(&ended(&mesh, &ticket.name).await, "Dish").content, "bread");
}

/// `turno.v1.Tickets/Submit`, by turno::Client's link.
struct Submit;

impl turno::Rpc for Submit {
    type Request = SubmitRequest;
    type Response = Operation;
    const NAME: &'static str = "turno.v1.Tickets/Submit";
    const PATH: &'static str = "/turno.v1.Tickets/Submit";
    const REPEATABLE: bool = false;
}

impl turno::rpc::TakesOne for Submit {}
impl turno::rpc::AnswersOne for Submit {}

/// The same of `google.longrunning.Operations/WaitOperation`.
struct WaitFor;

impl turno::Rpc for WaitFor {
    type Request = WaitOperationRequest;
    type Response = Operation;
    const NAME: &'static str = "google.longrunning.Operations/WaitOperation";
    const PATH: &'static str = "/google.longrunning.Operations/WaitOperation";
    const REPEATABLE: bool = true;
}

impl turno::rpc::TakesOne for WaitFor {}
impl turno::rpc::AnswersOne for WaitFor {}

#[tokio::test]
async fn clients_that_are_linked_submit_by_their_link() {
    let mesh = TestMesh::start(0, 1).await;
    let client = turno::Client::connect(mesh.running().clients().to_string()).unwrap();
    let mut request = Request::new(submit("Inspect", &Dish::default()));
    request.metadata_mut().insert("turno-tenant", "bakery".parse().unwrap());
    let ticket = client.call::<Submit>(request).await.unwrap();
    let waiting = WaitOperationRequest { name: ticket.name.clone(), timeout: None };
    let done = client.call::<WaitFor>(waiting).await.unwrap();
    let seen = response::<Inspection>(&done, "Inspection");
    assert_eq!(
        (metadata(&done).tenant.as_str(), seen.metadata["turno-tenant"].as_str()),
        ("bakery", "bakery")
    );
    assert_eq!(seen.metadata["turno-ticket"], ticket.name);
    let error = client.call::<Submit>(submit("Nothing", &Dish::default())).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_wait_answers_how_the_ticket_stands_before_its_calls_deadline() {
    let mesh = TestMesh::start(0, 1).await;
    let client = turno::Client::connect(mesh.running().clients().to_string()).unwrap();
    let ticket = submitted(&mesh, submit("Simmer", &wait(60_000))).await;
    let waiting = |timeout| {
        let mut request = Request::new(WaitOperationRequest { name: ticket.name.clone(), timeout });
        request.set_timeout(Duration::from_secs(2));
        request
    };
    let mut operations = mesh.operations();
    let longer = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let (plain, linked) =
        tokio::join!(operations.wait_operation(waiting(longer)), client.call::<WaitFor>(waiting(None)));
    for now in [plain.unwrap().into_inner(), linked.unwrap()] {
        assert_eq!((now.done, state(&now)), (false, TicketState::Running));
    }
}

#[tokio::test]
async fn the_sdks_tickets_wait_watch_and_outlive_a_gateway() {
    let data = tempfile::tempdir().unwrap();
    let (listen, nodes) = (turno_tests::free_port(), turno_tests::free_port());
    let config = || GatewayConfig { listen, nodes, data: data.path().into(), ..GatewayConfig::default() };
    let start =
        async |shutdown: &CancellationToken| Gateway::bind(config()).await.unwrap().start(shutdown.clone());
    let first = CancellationToken::new();
    let gateway = start(&first).await;
    let node_config = NodeConfig { gateway: nodes.to_string(), role: Role::Io, ..NodeConfig::default() };
    let node = turno::node("kitchen").service(kitchen::Kitchen::default);
    let _node = node.start(&node_config, CancellationToken::new()).unwrap();
    let client = turno::Client::connect(listen.to_string()).unwrap();
    let request = kitchen::Wait { ms: 100, content: "soup".into() };
    let stirring = client.submit::<kitchen::kitchen::Stir>(request).label("shop", "rosa").await.unwrap();
    let mut changes = stirring.watch();
    let mut furthest = None;
    while let Some(seen) = changes.next().await.transpose().unwrap() {
        furthest = seen.progress.map(|progress| progress.done).or(furthest);
    }
    assert_eq!(furthest, Some(100));
    assert_eq!(stirring.await.unwrap().content, "soup");
    let soon = SystemTime::now() + Duration::from_millis(700);
    let dish = kitchen::Dish { content: "bread".into() };
    let later = client.submit::<kitchen::kitchen::Echo>(dish).not_before(soon).await.unwrap();
    let name = later.name().to_owned();
    let waiting = tokio::spawn(async move { later.await });
    first.cancel();
    gateway.ended().await;
    let _gateway = start(&CancellationToken::new()).await;
    assert_eq!(waiting.await.unwrap().unwrap().content, "bread");
    assert_eq!(client.ticket::<kitchen::kitchen::Echo>(name).await.unwrap().content, "bread");
}

#[tokio::test]
async fn a_directory_that_another_gateway_has_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let config = || GatewayConfig {
        data: data.path().into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        nodes: "127.0.0.1:0".parse().unwrap(),
        ..GatewayConfig::default()
    };
    let _mesh = TestMesh::gateway(config()).await;
    let error = turno_gateway::Gateway::bind(config()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
}

/// What Prometheus reads: the sum of the lines with these words.
fn counted(text: &str, words: &[&str]) -> u64 {
    let lines = text.lines().filter(|line| words.iter().all(|word| line.contains(word)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn attempts_are_counted_with_where_their_time_went_the_store_first() {
    let recorder = PrometheusBuilder::new().build_recorder();
    // All of the mesh is on this thread.
    let _counting = metrics::set_default_local_recorder(&recorder);
    let mesh = TestMesh::gateway(GatewayConfig { tickets_in_hand: 1, ..GatewayConfig::default() }).await;
    let _kitchen = mesh.kitchen(Role::Io, 1).await;
    let first = submitted(&mesh, submit("Simmer", &wait(600_000))).await.name;
    let second = submitted(&mesh, submit("Reheat", &wait(50))).await.name;
    // That it waits so long is what is counted.
    tokio::time::sleep(Duration::from_millis(50)).await;
    mesh.operations().cancel_operation(CancelOperationRequest { name: first.clone() }).await.unwrap();
    for (name, came_to) in [(first, TicketState::Cancelled), (second, TicketState::Done)] {
        assert_eq!(state(&ended(&mesh, &name).await), came_to);
    }
    let text = recorder.handle().render();
    let attempts = |method, code| counted(&text, &["turno_attempts_total{", method, code]);
    assert_eq!((attempts("Simmer\"", "CANCELLED"), attempts("Reheat\"", "\"OK\"")), (1, 1), "{text}");
    let spent = |part| counted(&text, &["turno_attempt_microseconds_total{", "Reheat\"", part]);
    // Of what is counted in another unit, or twice, there would be far more.
    for part in ["\"store\"", "\"wait\""] {
        assert!((45_000..10_000_000).contains(&spent(part)), "{part}: {text}");
    }
    // Calls are counted apart.
    let calls = ["turno_calls_total{", "turno_call_microseconds_total{"];
    assert_eq!(calls.map(|metric| counted(&text, &[metric, "Reheat\""])), [0, 0], "{text}");
}

/// What the lines with this mark name.
fn named<'a>(page: &'a str, mark: &str) -> BTreeSet<&'a str> {
    page.lines().filter_map(|line| line.strip_prefix(mark)?.split(' ').next()).collect()
}

/// Those of a gateway and of a node. A method has its own when it is known, tickets and attempts when one has ended.
const METRICS: [&str; 18] = [
    "turno_attempt_microseconds_total",
    "turno_attempts_total",
    "turno_blocking_longest_seconds",
    "turno_blocking_total",
    "turno_call_microseconds_total",
    "turno_calls_in_flight",
    "turno_calls_total",
    "turno_cpu_microseconds_total",
    "turno_jobs_waiting",
    "turno_nodes",
    "turno_run_microseconds_total",
    "turno_served_total",
    "turno_tickets_in_hand",
    "turno_tickets_running",
    "turno_tickets_total",
    "turno_tickets_waiting",
    "turno_unread_bytes",
    "turno_workers_set_aside_total",
];

#[tokio::test]
async fn the_page_has_words_for_every_metric() {
    let recorder = PrometheusBuilder::new().build_recorder();
    // All of the mesh is on this thread.
    let _counting = metrics::set_default_local_recorder(&recorder);
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let _kitchen = mesh.kitchen(Role::Io, 1).await;
    let ticket = submitted(&mesh, echo("soup")).await.name;
    ended(&mesh, &ticket).await;
    eventually("all are on the page", async || {
        let page = recorder.handle().render();
        let there = named(&page, "# TYPE ");
        METRICS.iter().all(|name| there.contains(name)) && page.lines().any(|line| line == "turno_nodes 1")
    })
    .await;
    let page = recorder.handle().render();
    assert_eq!(named(&page, "# TYPE "), named(&page, "# HELP "), "{page}");
}

#[tokio::test]
async fn a_backlog_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    // All of the mesh is on this thread.
    let _counting = metrics::set_default_local_recorder(&recorder);
    let mesh = TestMesh::gateway(GatewayConfig { tickets_in_hand: 1, ..GatewayConfig::default() }).await;
    let _kitchen = mesh.kitchen(Role::Io, 1).await;
    for _ in 0..3 {
        submitted(&mesh, submit("Simmer", &wait(600_000))).await;
    }
    eventually("the gauges say so", async || {
        let text = recorder.handle().render();
        let says = |line: &str| text.lines().any(|one| one == line);
        says("turno_tickets_waiting 2") && says("turno_tickets_running 1")
    })
    .await;
}

#[tokio::test]
async fn a_backlog_of_one_method_does_not_make_others_wait() {
    let config = GatewayConfig { tickets_in_hand: 8, ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    let _kitchen = mesh.kitchen(Role::Io, 1).await;
    let mut backlog = Vec::new();
    for _ in 0..20 {
        backlog.push(submitted(&mesh, submit("Simmer", &wait(600_000))).await.name);
    }
    // Of what is in hand none has more than it leaves to others.
    eventually("half of the places are taken", async || {
        let states = list(&mesh, "state = running").await;
        states.len() == 4
    })
    .await;
    // One begins with its submit, one is claimed, past all that was due before it.
    let soon = SystemTime::now() + Duration::from_millis(300);
    let later = SubmitRequest { not_before: Some(Timestamp::from(soon)), ..echo("later") };
    for request in [echo("now"), later] {
        let name = submitted(&mesh, request).await.name;
        assert_eq!(state(&ended(&mesh, &name).await), TicketState::Done);
    }
    // Another tenant's queue is another one.
    let mut request = Request::new(submit("Simmer", &wait(1)));
    request.metadata_mut().insert("turno-tenant", "somebody".parse().unwrap());
    let name = mesh.tickets().submit(request).await.unwrap().into_inner().name;
    assert_eq!(state(&ended(&mesh, &name).await), TicketState::Done);
    // Where some end, as many begin.
    for name in list(&mesh, "state = running").await {
        mesh.operations().cancel_operation(CancelOperationRequest { name }).await.unwrap();
    }
    eventually("the next ones have begun", async || {
        list(&mesh, "state = cancelled").await.len() == 4 && list(&mesh, "state = running").await.len() == 4
    })
    .await;
}
