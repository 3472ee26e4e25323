//! Maps as clients meet them: by the SDK, and by the plain service.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use turno::map::{Answers, OnFailure};
use turno::node::config::{NodeConfig, Role};
use turno_gateway::GatewayConfig;
use turno_proto::v1::map_client::MapClient;
use turno_proto::v1::{MapHeader, MapRequest, MapResponse};
use turno_runtime::units::{Size, Span};
use turno_tests::kitchen::{Cook, Dish, Kitchen, Number, Wait, kitchen};
use turno_tests::{TestMesh, call, eventually, stubs};

fn client(mesh: &TestMesh) -> turno::Client {
    turno::Client::connect(mesh.running().clients().to_string()).unwrap()
}

fn numbers(count: u64) -> impl futures_util::Stream<Item = Number> + Send + 'static {
    stream::iter((0..count).map(|value| Number { value, ms: 0 }))
}

type Seen = BTreeMap<u64, Result<u64, Status>>;

/// All results until the map ends, each of which must be the only one of its item; and how it ended.
async fn results<R>(answers: &mut Answers<R>) -> (Seen, Result<(), Status>)
where
    R: turno::rpc::Unary<Response = Number>,
{
    let mut seen = Seen::new();
    loop {
        match answers.try_next().await {
            Ok(Some((index, answer))) => {
                let twice = seen.insert(index, answer.map(|number| number.value));
                assert!(twice.is_none(), "{index} twice");
            }
            Ok(None) => return (seen, Ok(())),
            Err(status) => return (seen, Err(status)),
        }
    }
}

#[tokio::test]
async fn each_item_of_a_job_has_its_own_answer() {
    let mesh = TestMesh::start(2, 2).await;
    let mut answers = client(&mesh).map::<kitchen::Square>(numbers(5_000)).await.unwrap();
    let (seen, ended) = results(&mut answers).await;
    ended.unwrap();
    assert_eq!(seen.len(), 5_000);
    assert!(seen.iter().all(|(index, square)| *square.as_ref().unwrap() == index * index));
    let summary = answers.summary().unwrap();
    assert_eq!((summary.items, summary.succeeded, summary.failed), (5_000, 5_000, 0));
    // Far fewer invocations than items.
    let served: u64 = mesh.nodes().await.iter().map(|node| node.calls_served).sum();
    assert!(served < 2_500, "{served}");
}

#[tokio::test]
async fn what_is_awaited_can_be_mapped_and_comes_in_order_if_it_is_to() {
    let mesh = TestMesh::start(0, 1).await;
    let waits = stream::iter(
        (0..200_u64).map(|number| Wait { ms: (number * 7) % 20, content: number.to_string().into() }),
    );
    let answers = client(&mesh).map::<kitchen::Simmer>(waits).ordered().in_flight(50).await.unwrap();
    let dishes: Vec<(u64, String)> = answers
        .map_ok(|(index, dish)| (index, String::from_utf8(dish.unwrap().content.to_vec()).unwrap()))
        .try_collect()
        .await
        .unwrap();
    let expected: Vec<(u64, String)> = (0..200).map(|number| (number, number.to_string())).collect();
    assert_eq!(dishes, expected);
}

#[tokio::test]
async fn jobs_come_in_order_too() {
    let mesh = TestMesh::start(2, 2).await;
    let answers = client(&mesh).map::<kitchen::Square>(numbers(3_000)).ordered().await.unwrap();
    let indexes: Vec<u64> = answers.map_ok(|(index, _)| index).try_collect().await.unwrap();
    assert_eq!(indexes, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failure_is_a_result_like_any_other() {
    let mesh = TestMesh::start(1, 2).await;
    let mut answers = client(&mesh).map::<kitchen::Risk>(numbers(100)).await.unwrap();
    let (mut seen, ended) = results(&mut answers).await;
    ended.unwrap();
    let unlucky = seen.remove(&13).unwrap().unwrap_err();
    assert_eq!(
        (unlucky.code(), unlucky.message(), unlucky.details()),
        (Code::OutOfRange, "bad luck", &b"details"[..])
    );
    assert_eq!(seen.remove(&17).unwrap().unwrap_err().code(), Code::Internal);
    assert_eq!(seen.len(), 98);
    assert!(seen.iter().all(|(index, value)| value.as_ref().unwrap() == index), "{seen:?}");
    let summary = answers.summary().unwrap();
    assert_eq!((summary.items, summary.succeeded, summary.failed), (100, 98, 2));
}

#[tokio::test]
async fn a_failure_stops_the_map_if_it_is_to() {
    let mesh = TestMesh::start(1, 2).await;
    let numbers = stream::iter((0..100_000).map(|at| Number { value: at % 100, ms: 0 }));
    let map = client(&mesh).map::<kitchen::Risk>(numbers).ordered();
    let mut answers = map.on_failure(OnFailure::Stop).await.unwrap();
    let (seen, ended) = results(&mut answers).await;
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), (0..=13).collect::<Vec<_>>());
    let ended = ended.unwrap_err();
    assert_eq!(ended.code(), Code::Aborted);
    assert!(ended.message().contains("item 13: OUT_OF_RANGE: bad luck"), "{ended}");
    assert_eq!(answers.summary().unwrap().failed, 1);
    eventually("nothing of it is left", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}

#[tokio::test]
async fn a_share_of_failures_stops_the_map() {
    let mesh = TestMesh::start(1, 2).await;
    let unlucky =
        |count| stream::iter((0..count).map(|at| Number { value: if at % 2 == 0 { 13 } else { 1 }, ms: 0 }));
    let map = client(&mesh).map::<kitchen::Risk>(unlucky(10_000));
    let mut answers = map.on_failure(OnFailure::StopAbove(0.25)).await.unwrap();
    let (seen, ended) = results(&mut answers).await;
    assert_eq!(ended.unwrap_err().code(), Code::Aborted);
    assert!(seen.len() < 10_000);
    let map = client(&mesh).map::<kitchen::Risk>(unlucky(1_000));
    let mut answers = map.on_failure(OnFailure::StopAbove(0.75)).await.unwrap();
    let (seen, ended) = results(&mut answers).await;
    ended.unwrap();
    assert_eq!(seen.len(), 1_000);
}

/// Whether something was sent, and nothing more is.
async fn stands(sent: &AtomicU64) -> bool {
    let before = sent.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    before > 0 && before == sent.load(Ordering::SeqCst)
}

/// Each of these maps, waiting for a node, would be more than the house holds; and so would a quarter of it for each.
#[tokio::test]
async fn large_items_are_taken_in_as_others_are_done_and_leave_room_for_calls() {
    const ALL: usize = 100;
    let (max_bodies, max_message, patience) = (Size::mib(8), Size::mib(2), Span::seconds(20));
    let config = GatewayConfig { max_bodies, max_message, patience, ..GatewayConfig::default() };
    let mesh = TestMesh::gateway(config).await;
    mesh.kitchen(Role::Io, 1).await.leave().await;
    let sent = Arc::new(AtomicU64::new(0));
    let mut maps = Vec::new();
    for _ in 0..5 {
        let counter = sent.clone();
        let dishes = stream::iter((0..ALL).map(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Dish { content: vec![7; 100_000].into() }
        }));
        let answers = client(&mesh).map::<kitchen::Echo>(dishes).await.unwrap();
        maps.push(tokio::spawn(answers.try_collect::<Vec<_>>()));
    }
    eventually("no more are taken in", async || stands(&sent).await).await;
    let mut caller = mesh.client();
    let call =
        tokio::spawn(async move { caller.echo(stubs::Dish { content: vec![7; 2_000_000].into() }).await });
    let _node = mesh.kitchen(Role::Io, 1).await;
    call.await.unwrap().unwrap();
    for map in maps {
        let dishes = map.await.unwrap().unwrap();
        assert_eq!(dishes.iter().filter(|(_, dish)| dish.is_ok()).count(), ALL);
    }
}

/// One large message fills it.
async fn small_house() -> (TestMesh, Cook) {
    let (max_bodies, max_message) = (Size::mib(4), Size::mib(4));
    let config = GatewayConfig { max_bodies, max_message, ..GatewayConfig::default() };
    (TestMesh::gateway(config).await, Cook::default())
}

/// What it has come to would be lost.
#[tokio::test]
async fn a_full_house_ends_no_map() {
    let (mesh, cook) = small_house().await;
    let _kitchen = mesh.kitchen_of(&cook, Role::Both, 2).await;
    let mut caller = mesh.client();
    let call =
        tokio::spawn(async move { caller.rest(stubs::Dish { content: vec![7; 4_000_000].into() }).await });
    eventually("there is a large call", async || cook.resting() == 1).await;
    let dish = Dish { content: vec![7; 300_000].into() };
    let first = client(&mesh).map::<kitchen::Rest>(stream::iter([dish.clone()])).await.unwrap();
    let first = tokio::spawn(first.try_collect::<Vec<_>>());
    eventually("the house is full", async || cook.resting() == 2).await;
    let next = client(&mesh).map::<kitchen::Echo>(stream::iter([dish.clone(), dish])).await.unwrap();
    assert_eq!(next.try_collect::<Vec<_>>().await.unwrap().len(), 2, "it goes on, if slowly");
    call.abort();
    eventually("the call has gone", async || cook.resting() == 1).await;
    cook.let_go(1);
    assert_eq!(first.await.unwrap().unwrap().len(), 1);
}

/// Nobody tells it of that, and what it has out may take long.
#[tokio::test]
async fn a_map_finds_the_room_that_others_leave() {
    let (mesh, cook) = small_house().await;
    let _kitchen = mesh.kitchen_of(&cook, Role::Io, 1).await;
    let mut caller = mesh.client();
    let large = stubs::Wait { ms: 60_000, content: vec![7; 4_000_000].into() };
    let call = tokio::spawn(async move { caller.simmer(large).await });
    eventually("there is a large call", async || cook.begun() == 1).await;
    let waits = [(); 2].map(|()| Wait { ms: 60_000, content: vec![7; 300_000].into() });
    let _map = client(&mesh).map::<kitchen::Simmer>(stream::iter(waits)).await.unwrap();
    eventually("there is one item, and no room for another", async || cook.begun() == 2).await;
    call.abort();
    eventually("the other one is there too", async || cook.begun() == 3).await;
}

#[tokio::test]
async fn where_maps_have_all_of_the_house_a_new_one_is_refused_and_one_that_has_nothing_waits() {
    let (mesh, cook) = small_house().await;
    let _kitchen = mesh.kitchen_of(&cook, Role::Io, 1).await;
    let (waits, coming) = mpsc::channel::<Wait>(1);
    let mut standing = client(&mesh).map::<kitchen::Simmer>(ReceiverStream::new(coming)).await.unwrap();
    let (of_a_method, coming) = mpsc::channel(1);
    of_a_method.send(request(Some(header("Simmer")), &[])).await.unwrap();
    let nodes = Channel::from_shared(format!("http://{}", mesh.running().nodes())).unwrap().connect_lazy();
    let answered = MapClient::new(nodes).map(ReceiverStream::new(coming)).await;
    let mut answered = answered.unwrap().into_inner();
    let mut maps = Vec::new();
    for bytes in [4_000_000, 300_000] {
        let wait = Wait { ms: 60_000, content: vec![7; bytes].into() };
        maps.push(client(&mesh).map::<kitchen::Simmer>(stream::iter([wait])).await.unwrap());
        eventually("it is at a node", async || cook.begun() == maps.len() as u64).await;
    }
    let new = client(&mesh).map::<kitchen::Simmer>(stream::iter([Wait::default()])).await;
    let refused = new.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("max_bodies"), "{refused}");
    // One that a method has begun does not wait: the others may wait for it.
    of_a_method.send(request(None, &[2])).await.unwrap();
    let ended = answered.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::ResourceExhausted, "{ended}");
    waits.send(Wait { ms: 0, content: "late".into() }).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), standing.try_next()).await;
    assert!(early.is_err(), "there is no room for it");
    drop(maps.pop());
    let (index, dish) = standing.try_next().await.unwrap().unwrap();
    assert_eq!((index, dish.unwrap().content), (0, Bytes::from("late")));
}

#[tokio::test]
async fn who_does_not_read_is_not_read_from() {
    const ALL: u64 = 100_000;
    let mesh = TestMesh::start(0, 1).await;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let dish = Dish { content: vec![7; 4096].into() };
    let dishes = stream::iter((0..ALL).map(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        dish.clone()
    }));
    let mut answers = client(&mesh).map::<kitchen::Echo>(dishes).in_flight(500).await.unwrap();
    eventually("the client is not read from any more", async || stands(&sent).await).await;
    let stopped_at = sent.load(Ordering::SeqCst);
    assert!(stopped_at < 10_000, "{stopped_at} of {ALL} were taken though nobody reads");
    for _ in 0..stopped_at + 1_000 {
        answers.try_next().await.unwrap().unwrap().1.unwrap();
    }
    assert!(sent.load(Ordering::SeqCst) > stopped_at);
}

/// They wait at their node, for longer than a call of the method may take, and none is made again.
#[tokio::test]
async fn large_answers_of_a_small_item_wait_for_their_reader_and_are_made_once() {
    const ALL: u64 = 300;
    let (max_bodies, longest_call) = (Size::mib(16), Span::seconds(2));
    let config = GatewayConfig { max_bodies, longest_call, ..GatewayConfig::default() };
    let (mesh, cook) = (TestMesh::gateway(config).await, Cook::default());
    let _kitchen = mesh.kitchen_of(&cook, Role::Io, 1).await;
    let mut begun = 0;
    for is_ordered in [false, true] {
        // As they would wait in order for the first, which is the last to be there.
        let ms = move |index| if index == 0 && is_ordered { 1_000 } else { 0 };
        let large = stream::iter((0..ALL).map(move |index| Number { value: 1_000_000, ms: ms(index) }));
        let map = client(&mesh).map::<kitchen::Ladle>(large);
        let mut answers = if is_ordered { map.ordered().await } else { map.await }.unwrap();
        tokio::time::sleep(3 * longest_call.0 / 2).await;
        assert!(
            cook.begun() - begun < ALL / 3,
            "{} answers were made though nobody reads",
            cook.begun() - begun
        );
        let mut read = 0;
        while let Some((_, dish)) = answers.try_next().await.unwrap() {
            assert_eq!(dish.unwrap().content.len(), 1_000_000);
            read += 1;
        }
        assert_eq!((read, cook.begun() - begun), (ALL, ALL));
        begun = cook.begun();
    }
}

/// All others that have run wait for room, which they would have after it.
#[tokio::test]
async fn an_item_for_which_large_answers_wait_goes_again_when_its_node_has_left() {
    const ALL: u64 = 100;
    let config = GatewayConfig { max_bodies: Size::mib(16), ..GatewayConfig::default() };
    let (mesh, cook) = (TestMesh::gateway(config).await, Cook::default());
    let drain = Span(Duration::from_millis(200));
    let short = NodeConfig { drain, ..mesh.node_config(Role::Io, 1) };
    let kitchen = Kitchen::of(&cook);
    let first = mesh.join(turno::node("first").service(move || kitchen), short).await;
    let (items, coming) = mpsc::channel(1);
    let map = client(&mesh).map::<kitchen::Ladle>(ReceiverStream::new(coming)).ordered();
    let mut answers = map.await.unwrap();
    items.send(Number { value: 1, ms: 3_000 }).await.unwrap();
    eventually("it is at the first node", async || cook.begun() == 1).await;
    let _second = mesh.kitchen_of(&cook, Role::Io, 1).await;
    // After the small ones nobody expects them to be large.
    for index in 1..ALL {
        let value = if index < 10 { 1 } else { 1_000_000 };
        items.send(Number { value, ms: 0 }).await.unwrap();
        eventually("it has run", async || index >= 10 || cook.begun() > index).await;
    }
    drop(items);
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.leave().await;
    for index in 0..ALL {
        let (at, dish) = answers.try_next().await.unwrap().unwrap();
        assert_eq!((at, dish.is_ok()), (index, true));
    }
}

#[tokio::test]
async fn who_goes_away_cancels_what_is_on_its_way() {
    let mesh = TestMesh::start(1, 2).await;
    let waits = stream::iter((0..100).map(|_| Wait { ms: 60_000, ..Wait::default() }));
    let answers = client(&mesh).map::<kitchen::Knead>(waits).await.unwrap();
    let in_flight = async || mesh.nodes().await.iter().map(|node| node.in_flight).sum::<u64>();
    eventually("the slots are taken", async || in_flight().await >= 2).await;
    drop(answers);
    eventually("they are free again", async || in_flight().await == 0).await;
}

/// The next item of the chunk would rest too: a call that had to wait for its end would wait for dozens of them, in several chunks.
#[tokio::test]
async fn a_chunk_ends_for_a_call_between_two_items() {
    const ALL: usize = 3_000;
    let (mesh, cook) = (TestMesh::gateway(GatewayConfig::default()).await, Cook::default());
    mesh.kitchen_of(&cook, Role::Worker, 1).await;
    cook.let_go(500);
    let dishes = stream::iter((0..ALL).map(|_| Dish::default()));
    let answers = client(&mesh).map::<kitchen::Rest>(dishes).await.unwrap();
    let map = tokio::spawn(answers.try_collect::<Vec<_>>());
    eventually("an item rests in the midst of a chunk", async || cook.resting() == 1).await;
    let beside = client(&mesh);
    let call = tokio::spawn(async move { beside.call::<kitchen::Square>(Number { value: 3, ms: 0 }).await });
    // It is known to wait, and the chunk is not over.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut items = 0;
    while !call.is_finished() {
        tokio::time::sleep(Duration::from_millis(3)).await;
        if cook.resting() == 1 {
            cook.let_go(1);
            items += 1;
        }
    }
    assert_eq!(call.await.unwrap().unwrap().value, 9);
    assert!(items <= 20, "{items} items went before the call");
    cook.let_go(ALL as u64);
    assert_eq!(map.await.unwrap().unwrap().len(), ALL, "what a chunk hands back runs all the same");
}

#[tokio::test]
async fn the_deadline_is_the_maps() {
    let mesh = TestMesh::start(1, 1).await;
    let mut waits = Request::new(stream::iter((0..100).map(|_| Wait { ms: 60_000, ..Wait::default() })));
    waits.set_timeout(Duration::from_millis(300));
    let answers = client(&mesh).map::<kitchen::Knead>(waits).await.unwrap();
    let ended = answers.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
    eventually("the slot is free", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0)).await;
}

#[tokio::test]
async fn a_methods_timeout_is_each_items() {
    let mesh = TestMesh::start(0, 1).await;
    let waits = stream::iter([60_000, 1, 60_000].map(|ms| Wait { ms, ..Wait::default() }));
    let answers = client(&mesh).map::<kitchen::Timed>(waits).ordered().await.unwrap();
    let codes: Vec<Code> = answers
        .map_ok(|(_, answer)| answer.map_or_else(|error| error.code(), |_| Code::Ok))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(codes, [Code::DeadlineExceeded, Code::Ok, Code::DeadlineExceeded]);
}

#[tokio::test]
async fn what_a_node_is_slow_with_at_the_end_is_issued_again_elsewhere() {
    let mesh = TestMesh::start(1, 2).await;
    let slow = turno::node("slow").service(Kitchen::slow);
    mesh.join(slow, mesh.node_config(Role::Worker, 2)).await;
    let mut answers = client(&mesh).map::<kitchen::Prove>(numbers(50)).await.unwrap();
    let (seen, ended) = results(&mut answers).await;
    ended.unwrap();
    assert_eq!(seen.len(), 50);
    assert!(seen.iter().all(|(index, value)| value.as_ref().unwrap() == index));
    eventually("the slow ones are told", async || mesh.nodes().await.iter().all(|node| node.in_flight == 0))
        .await;
}

#[tokio::test]
async fn a_method_can_map_another() {
    let mesh = TestMesh::start(1, 2).await;
    let sum = call::<kitchen::SumSquares>(&mesh, Number { value: 1_000, ms: 0 }).await.unwrap();
    assert_eq!(sum.value, (0..1_000).map(|value| value * value).sum::<u64>());
}

#[tokio::test]
async fn large_items_are_carried_each_by_itself() {
    let mesh = TestMesh::start(0, 1).await;
    let dishes = stream::iter((0..20_u8).map(|number| Dish { content: vec![number; 300_000].into() }));
    let answers = client(&mesh).map::<kitchen::Echo>(dishes).ordered().await.unwrap();
    let dishes: Vec<Bytes> = answers.map_ok(|(_, dish)| dish.unwrap().content).try_collect().await.unwrap();
    assert_eq!(dishes.len(), 20);
    assert!((0..20_u8).zip(&dishes).all(|(number, dish)| dish[..] == vec![number; 300_000]));
}

/// The plain service: whatever is sent, until the end.
async fn raw(mesh: &TestMesh, sent: Vec<MapRequest>) -> Result<Vec<MapResponse>, Status> {
    let answered = MapClient::new(mesh.channel()).map(stream::iter(sent)).await?;
    answered.into_inner().try_collect().await
}

fn header(method: &str) -> MapHeader {
    MapHeader { method: format!("kitchen.v1.Kitchen/{method}"), ..MapHeader::default() }
}

fn request(header: Option<MapHeader>, items: &[u64]) -> MapRequest {
    let item = |value: &u64| Number { value: *value, ms: 0 }.encode_to_vec().into();
    MapRequest { header, items: items.iter().map(item).collect() }
}

#[tokio::test]
async fn any_client_can_map() {
    let mesh = TestMesh::start(1, 1).await;
    let sent = vec![request(Some(header("Square")), &[2, 3]), request(None, &[4]), request(None, &[])];
    let answered = raw(&mesh, sent).await.unwrap();
    let mut results: Vec<_> = answered.iter().flat_map(|message| message.results.clone()).collect();
    results.sort_by_key(|result| result.index);
    let values: Vec<u64> =
        results.iter().map(|it| Number::decode(it.response.clone()).unwrap().value).collect();
    assert_eq!(values, [4, 9, 16]);
    let summary = answered.last().unwrap().summary.unwrap();
    assert_eq!((summary.items, summary.succeeded, summary.failed), (3, 3, 0));
    let empty = raw(&mesh, vec![request(Some(header("Square")), &[])]).await.unwrap();
    assert_eq!(empty.last().unwrap().summary.unwrap().items, 0);
}

#[tokio::test]
async fn gzip_is_taken_of_a_maps_requests() {
    let mesh = TestMesh::start(1, 1).await;
    let sent = vec![request(Some(header("Square")), &[2, 3]), request(None, &[4])];
    let mut client = MapClient::new(mesh.channel()).send_compressed(CompressionEncoding::Gzip);
    let answered = client.map(stream::iter(sent)).await.unwrap().into_inner();
    let answered: Vec<MapResponse> = answered.try_collect().await.unwrap();
    assert_eq!(answered.last().unwrap().summary.unwrap().succeeded, 3);
}

#[tokio::test]
async fn a_map_of_which_a_request_is_too_large_ends_with_the_limits_name() {
    let max_message = turno_runtime::units::Size::kib(8);
    let mesh = TestMesh::gateway(GatewayConfig { max_message, ..GatewayConfig::default() }).await;
    drop(mesh.kitchen(Role::Both, 1).await);
    let large = MapRequest { header: None, items: vec![vec![7; 10_000].into()] };
    let error = raw(&mesh, vec![request(Some(header("Square")), &[2]), large]).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    assert!(error.message().contains("max_message"), "{error}");
}

/// A part of an account.
fn part(account: &str, name: &str) -> u64 {
    let of = |part: &str| part.strip_prefix(name)?.strip_prefix('=')?.strip_suffix("us")?.parse().ok();
    account.split(' ').find_map(of).unwrap_or_else(|| panic!("no {name} in {account}"))
}

#[tokio::test]
async fn who_asks_hears_where_the_time_of_a_map_went() {
    let mesh = TestMesh::start(0, 1).await;
    let wait = Bytes::from(Wait { ms: 50, ..Wait::default() }.encode_to_vec());
    let sent = MapRequest { header: Some(header("Simmer")), items: vec![wait; 10] };
    for asks in [true, false] {
        let mut request = Request::new(stream::iter([sent.clone()]));
        if asks {
            request.metadata_mut().insert("turno-explain", "1".parse().unwrap());
        }
        let mut answers = MapClient::new(mesh.channel()).map(request).await.unwrap().into_inner();
        while answers.message().await.unwrap().is_some() {}
        let trailers = answers.trailers().await.unwrap().unwrap_or_default();
        assert_eq!(trailers.contains_key("turno-explain"), asks);
        let Some(account) = trailers.get("turno-explain") else { continue };
        let account = account.to_str().unwrap();
        // They wait side by side, and each has its own time.
        assert!(part(account, "wait") >= 10 * 45_000, "{account}");
        let parts = ["edge", "queue", "again", "away", "wire", "window", "wait", "cpu"];
        assert_eq!(parts.map(|name| part(account, name)).iter().sum::<u64>(), part(account, "total"));
        assert!(account.contains(" chunks="), "{account}");
    }
}

#[tokio::test]
async fn what_cannot_be_mapped_is_refused_in_words() {
    let mesh =
        TestMesh::gateway(GatewayConfig { patience: Span::seconds(1), ..GatewayConfig::default() }).await;
    drop(mesh.kitchen(Role::Both, 1).await);
    let own = MapHeader { method: "turno.v1.Admin/ListNodes".to_owned(), ..MapHeader::default() };
    for (sent, code, named) in [
        (vec![], Code::InvalidArgument, "begins with its header"),
        (vec![request(None, &[1])], Code::InvalidArgument, "begins with its header"),
        (vec![request(Some(MapHeader::default()), &[])], Code::InvalidArgument, "method: \"\" names none"),
        (vec![request(Some(header("Serve")), &[])], Code::InvalidArgument, "takes or answers a stream"),
        (vec![request(Some(header("Collect")), &[])], Code::InvalidArgument, "takes or answers a stream"),
        (vec![request(Some(header("Squared")), &[])], Code::Unimplemented, "kitchen.v1.Kitchen/Squared"),
        (vec![request(Some(own), &[])], Code::Unimplemented, "turno.v1.Admin/ListNodes"),
        (
            vec![request(Some(header("Square")), &[]), request(Some(header("Square")), &[])],
            Code::InvalidArgument,
            "one header",
        ),
    ] {
        let error = raw(&mesh, sent).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(named), "{error}");
    }
    let crowd = MapRequest { header: Some(header("Square")), items: vec![Bytes::new(); 70_000] };
    assert_eq!(raw(&mesh, vec![crowd]).await.unwrap_err().code(), Code::ResourceExhausted);
    let not_the_message =
        MapRequest { header: Some(header("Square")), items: vec![Bytes::from_static(b"\xff")] };
    let answered = raw(&mesh, vec![not_the_message]).await.unwrap();
    assert_eq!(answered[0].results[0].error.as_ref().unwrap().code, Code::InvalidArgument as u32);
}

#[tokio::test]
async fn a_gateway_that_ends_lets_what_is_out_come_back() {
    let mesh = TestMesh::start(1, 2).await;
    let endless = stream::iter(0..).map(|value| Number { value, ms: 1 });
    let mut answers = client(&mesh).map::<kitchen::Square>(endless).await.unwrap();
    answers.try_next().await.unwrap().unwrap().1.unwrap();
    let ending = tokio::spawn(mesh.end());
    let (seen, ended) = results(&mut answers).await;
    let ended = ended.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    assert!(ended.message().contains("the gateway is ending"), "{ended}");
    assert!(seen.values().all(Result::is_ok));
    ending.await.unwrap();
}
