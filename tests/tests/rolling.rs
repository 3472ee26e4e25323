//! Every process of a mesh is asked to end under load, one after the other, and has a successor: no call is lost, those
//! included that may not be repeated, no stream breaks, no map misses an item, and each submit is done once.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use turno::node::config::Role;
use turno::{Client, Code, Status};
use turno_gateway::GatewayConfig;
use turno_proto::google::longrunning::WaitOperationRequest;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{ShowRequest, SubmitRequest, TicketMetadata, TicketState};
use turno_tests::kitchen::{self, kitchen as rpc};
use turno_tests::stubs::kitchen_client::KitchenClient;
use turno_tests::stubs::{Courses, Dish, Number, Wait};
use turno_tests::{GatewayProcess, Programs, TestMesh, eventually};

const PROGRAMS: Programs = turno_tests::programs!();

/// What callers call: what waits, what works, both together, what is carried, what streams, out, in, and both ways. Only Echo
/// and Square may be repeated.
#[derive(Clone, Copy, Debug)]
enum What {
    Echo,
    Simmer,
    Bake,
    Order,
    Large,
    Serve,
    Collect,
    Banter,
}

const ALL: [What; 8] = [
    What::Echo,
    What::Simmer,
    What::Bake,
    What::Order,
    What::Large,
    What::Serve,
    What::Collect,
    What::Banter,
];

fn large() -> bytes::Bytes {
    vec![7; 100_000].into()
}

const MENU: [&str; 3] = ["soup", "bread", "cake"];

/// One after the other, so that such streams are under way whoever is asked to end, whenever.
fn menu() -> impl Stream<Item = Dish> + Send + 'static {
    tokio_stream::iter(MENU).then(|course| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Dish { content: course.into() }
    })
}

async fn linked(client: &Client, what: What) -> Result<bool, Status> {
    use kitchen::{Courses, Dish, Number, Wait};
    Ok(match what {
        What::Echo => client.call::<rpc::Echo>(Dish { content: "x".into() }).await?.content == "x",
        What::Simmer => client.call::<rpc::Simmer>(Wait { ms: 2, content: "x".into() }).await?.content == "x",
        What::Bake => client.call::<rpc::Bake>(Wait { ms: 2, content: "x".into() }).await?.content == "x",
        What::Order => client.call::<rpc::Order>(Number { value: 12, ms: 1 }).await?.value == 144,
        What::Large => client.call::<rpc::Bake>(Wait { ms: 0, content: large() }).await?.content == large(),
        What::Serve => {
            let courses = Courses { count: 3, bytes: 10, pause_ms: 1, fail_at_end: false };
            let dishes = client.stream::<rpc::Serve>(courses).await?;
            dishes.collect::<Result<Vec<_>, _>>().await?.len() == 3
        }
        // What takes a stream is called by methods alone.
        What::Collect => {
            client.call::<rpc::CollectNested>(Number { value: 3, ms: 0 }).await?.content == "0;1;2;"
        }
        What::Banter => client.call::<rpc::BanterNested>(Number { value: 3, ms: 0 }).await?.value == 3,
    })
}

async fn plain(client: &mut KitchenClient<Channel>, what: What) -> Result<bool, Status> {
    Ok(match what {
        What::Echo => client.echo(Dish { content: "x".into() }).await?.into_inner().content == "x",
        What::Simmer => client.simmer(Wait { ms: 2, content: "x".into() }).await?.into_inner().content == "x",
        What::Bake => client.bake(Wait { ms: 2, content: "x".into() }).await?.into_inner().content == "x",
        What::Order => client.order(Number { value: 12, ms: 1 }).await?.into_inner().value == 144,
        What::Large => client.bake(Wait { ms: 0, content: large() }).await?.into_inner().content == large(),
        What::Serve => {
            let courses = Courses { count: 3, bytes: 10, pause_ms: 1, fail_at_end: false };
            let dishes = client.serve(courses).await?.into_inner();
            dishes.collect::<Result<Vec<_>, _>>().await?.len() == 3
        }
        What::Collect => client.collect(menu()).await?.into_inner().content == MENU.concat(),
        What::Banter => {
            let dishes = client.banter(menu()).await?.into_inner();
            let dishes = dishes.collect::<Result<Vec<Dish>, _>>().await?;
            dishes.iter().map(|dish| &dish.content).eq(MENU)
        }
    })
}

/// Before what a gateway did not take is made again.
const PAUSE: Duration = Duration::from_millis(5);

/// As the README tells users of stock clients: what was never sent is made again, by another gateway. Which has answered, and
/// what.
async fn repeated<T, F>(
    mut gateways: [Channel; 2],
    call: impl Fn(Channel) -> F,
) -> Result<(Channel, T), Status>
where
    F: Future<Output = Result<T, Status>>,
{
    loop {
        match call(gateways[0].clone()).await {
            Err(status) if turno::never_sent(&status) => {
                gateways.reverse();
                tokio::time::sleep(PAUSE).await;
            }
            answer => {
                let [gateway, _] = gateways;
                return answer.map(|answer| (gateway, answer));
            }
        }
    }
}

/// What may not be repeated, over a few items. A map ends with its gateway, which says so, and has answered what has run: the
/// rest is mapped again, until each item has its answer.
async fn mapped(client: &Client) -> Result<bool, Status> {
    let mut missing: BTreeSet<u64> = (0..10).collect();
    while !missing.is_empty() {
        match map_once(client, &mut missing).await {
            Err(status) if is_its_end(&status) || turno::never_sent(&status) => {
                tokio::time::sleep(PAUSE).await;
            }
            ended => ended?,
        }
    }
    Ok(true)
}

/// The gateway's own word, and not that of a connection that breaks: after that nobody knows what has run.
fn is_its_end(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.message().starts_with("the gateway is ending: ")
}

async fn map_once(client: &Client, missing: &mut BTreeSet<u64>) -> Result<(), Status> {
    let numbers: Vec<u64> = missing.iter().copied().collect();
    let wait = |number: &u64| kitchen::Wait { ms: 0, content: number.to_string().into() };
    let waits: Vec<_> = numbers.iter().map(wait).collect();
    let mut answers = client.map::<rpc::Bake>(tokio_stream::iter(waits)).await?;
    while let Some((index, answer)) = answers.try_next().await? {
        let number = numbers[index as usize];
        // An item's own error is not its map's end.
        let dish = answer.map_err(|status| Status::data_loss(format!("item {number}: {status}")))?;
        assert_eq!(dish.content, number.to_string());
        assert!(missing.remove(&number), "item {number} has two answers");
    }
    assert!(missing.is_empty(), "the map is done without {missing:?}");
    Ok(())
}

/// It has ended well, and keeps no record of an attempt that failed, or was lost with a node or a gateway: so it has run once.
async fn is_done_once((gateway, name): (Channel, String)) {
    // A gateway lets nobody wait for longer than it likes.
    let waited = async {
        loop {
            let request = WaitOperationRequest { name: name.clone(), timeout: None };
            let asked = OperationsClient::new(gateway.clone()).wait_operation(request).await;
            let ended = asked.unwrap().into_inner();
            if ended.done {
                break ended;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), waited).await.expect("the ticket ends");
    let metadata = TicketMetadata::decode(&ended.metadata.as_ref().unwrap().value[..]).unwrap();
    assert_eq!(metadata.state(), TicketState::Done, "{ended:?}");
    // One that was lost with its gateway is nobody's failure: `failures` does not count it.
    let shown = TicketsClient::new(gateway).show(ShowRequest { name }).await.unwrap().into_inner();
    assert!(shown.failed_attempts.is_empty(), "{shown:?}");
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// Callers that call one after the other until they are told to end.
struct Load {
    callers: Vec<tokio::task::JoinHandle<()>>,
    done: Vec<Arc<AtomicU64>>,
    ending: CancellationToken,
    /// Tickets, and where they are.
    acknowledged: Arc<Mutex<Vec<(Channel, String)>>>,
}

impl Load {
    fn new() -> Self {
        Self {
            callers: Vec::new(),
            done: Vec::new(),
            ending: CancellationToken::new(),
            acknowledged: Arc::default(),
        }
    }

    /// By the SDK's client and by stock ones, which share a channel to each gateway.
    fn of_all_kinds(gateways: &[GatewayProcess; 2]) -> Self {
        let mut load = Self::new();
        let client =
            Client::to(gateways.iter().map(|gateway| gateway.clients.to_string())).connect().unwrap();
        let channels = [channel(gateways[0].clients), channel(gateways[1].clients)];
        for what in ALL {
            let client = client.clone();
            load.add(what, move || {
                let client = client.clone();
                async move { linked(&client, what).await }
            });
            for channels in [channels.clone(), turned(&channels)] {
                load.add(what, move || {
                    let channels = channels.clone();
                    let call = move |channel: Channel| async move {
                        plain(&mut KitchenClient::new(channel), what).await
                    };
                    async move { repeated(channels, call).await.map(|(_, is_right)| is_right) }
                });
            }
        }
        load.add("Map", move || {
            let client = client.clone();
            async move { mapped(&client).await }
        });
        load.submits("Simmer", 50, channels.clone());
        load.submits("Bake", 20, turned(&channels));
        load
    }

    /// One after the other, without waiting for their ends: who has acknowledged one may be away by then. Each takes a while, so
    /// that some run whoever is asked to end, whenever.
    fn submits(&mut self, method: &str, ms: u64, gateways: [Channel; 2]) {
        let (method, acknowledged) = (format!("kitchen.v1.Kitchen/{method}"), self.acknowledged.clone());
        let request = Wait { ms, content: "x".into() }.encode_to_vec().into();
        let order = SubmitRequest { method, request, ..SubmitRequest::default() };
        self.add("Submit", move || {
            let (gateways, order, acknowledged) = (gateways.clone(), order.clone(), acknowledged.clone());
            let submit = move |channel: Channel| {
                let order = order.clone();
                async move { TicketsClient::new(channel).submit(order).await }
            };
            async move {
                let (gateway, submitted) = repeated(gateways, submit).await?;
                acknowledged.lock().push((gateway, submitted.into_inner().name));
                // All of them are looked at in the end, and those who call need slots too.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(true)
            }
        });
    }

    fn add<F>(&mut self, what: impl Debug + Send + 'static, call: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<bool, Status>> + Send,
    {
        let (done, ending) = (Arc::<AtomicU64>::default(), self.ending.clone());
        self.done.push(done.clone());
        self.callers.push(tokio::spawn(async move {
            while !ending.is_cancelled() {
                assert!(call().await.unwrap(), "{what:?} answered something else");
                done.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }

    /// Waits until every caller has had a few answers more.
    async fn goes_on(&self) {
        let before: Vec<_> = self.done.iter().map(|done| done.load(Ordering::SeqCst)).collect();
        let more =
            || self.done.iter().zip(&before).all(|(done, before)| done.load(Ordering::SeqCst) >= before + 3);
        let failed = || self.callers.iter().any(tokio::task::JoinHandle::is_finished);
        eventually("every caller goes on", async || more() || failed()).await;
    }

    async fn end(self) {
        self.ending.cancel();
        for caller in self.callers {
            caller.await.unwrap();
        }
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock());
        join_all(acknowledged.into_iter().map(is_done_once)).await;
    }
}

fn turned([one, other]: &[Channel; 2]) -> [Channel; 2] {
    [other.clone(), one.clone()]
}

async fn linked_to_both(gateways: &[GatewayProcess; 2], nodes: usize) {
    for gateway in gateways {
        eventually("the nodes are known", async || gateway.list().await.len() == nodes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_every_process_loses_no_call() {
    let mut gateways = [GatewayProcess::start(PROGRAMS).await, GatewayProcess::start(PROGRAMS).await];
    let names = format!("{},{}", gateways[0].nodes, gateways[1].nodes);
    let start = |role| (role, PROGRAMS.kitchen(&names, role, 1));
    let nodes = ["io", "io", "worker", "worker"].map(start);
    linked_to_both(&gateways, 4).await;
    let load = Load::of_all_kinds(&gateways);
    load.goes_on().await;
    for at in 0..gateways.len() {
        assert!(gateways[at].end().await.success());
        load.goes_on().await;
        gateways[at].start_again().await;
        linked_to_both(&gateways, 4).await;
        load.goes_on().await;
    }
    let mut successors = Vec::new();
    for (role, process) in nodes {
        assert!(process.end().await.success());
        linked_to_both(&gateways, 3).await;
        load.goes_on().await;
        successors.push(start(role));
        linked_to_both(&gateways, 4).await;
        load.goes_on().await;
    }
    load.end().await;
}

/// What stands before several gateways where a client knows one address: each connection goes to a gateway that takes it.
async fn balancer(gateways: [SocketAddr; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                for gateway in gateways {
                    if let Ok(mut gateway) = TcpStream::connect(gateway).await {
                        return drop(tokio::io::copy_bidirectional(&mut client, &mut gateway).await);
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_stock_client_that_calls_now_and_then_loses_nothing_behind_a_balancer() {
    let mut gateways = [GatewayProcess::start(PROGRAMS).await, GatewayProcess::start(PROGRAMS).await];
    let names = format!("{},{}", gateways[0].nodes, gateways[1].nodes);
    let _nodes = ["io", "worker"].map(|role| PROGRAMS.kitchen(&names, role, 1));
    linked_to_both(&gateways, 2).await;
    let address = balancer([gateways[0].clients, gateways[1].clients]).await;
    let mut load = Load::new();
    for what in ALL {
        let client = KitchenClient::new(channel(address));
        load.add(what, move || {
            let mut client = client.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                plain(&mut client, what).await
            }
        });
    }
    load.goes_on().await;
    for gateway in &mut gateways {
        assert!(gateway.end().await.success());
        load.goes_on().await;
        gateway.start_again().await;
        load.goes_on().await;
    }
    load.end().await;
}

/// A busy machine may keep a client from it for a while.
#[tokio::test]
async fn who_has_connected_when_the_port_closes_may_be_slow_to_speak() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    drop(mesh.kitchen(Role::Io, 1).await);
    let (gateway, slow) = (mesh.running().clients(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut client = KitchenClient::new(channel(slow.local_addr().unwrap()));
    let call = tokio::spawn(async move { plain(&mut client, What::Simmer).await });
    let (mut from, _) = slow.accept().await.unwrap();
    let mut to = TcpStream::connect(gateway).await.unwrap();
    let speaking = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        tokio::io::copy_bidirectional(&mut from, &mut to).await
    };
    let (_ended, _spoken, answer) = tokio::join!(mesh.end(), speaking, call);
    let answer = answer.unwrap();
    assert!(
        answer.as_ref().is_ok_and(|right| *right) || turno::never_sent(answer.as_ref().unwrap_err()),
        "{answer:?}"
    );
}

/// Or longer than a gateway that ends waits for it.
#[tokio::test]
async fn what_comes_when_a_gateway_has_waited_long_enough_was_never_sent() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let (gateway, slow) = (mesh.running().clients(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut client = KitchenClient::new(channel(slow.local_addr().unwrap()));
    let call = tokio::spawn(async move { plain(&mut client, What::Simmer).await });
    let (mut from, _) = slow.accept().await.unwrap();
    drop(slow);
    let mut to = TcpStream::connect(gateway).await.unwrap();
    let ended = tokio::spawn(mesh.end());
    let mut last_words = Vec::new();
    to.read_to_end(&mut last_words).await.unwrap();
    from.write_all(&last_words).await.unwrap();
    drop(tokio::io::copy_bidirectional(&mut from, &mut to).await);
    drop((from, to));
    let error = call.await.unwrap().unwrap_err();
    assert!(turno::never_sent(&error), "{error:?}");
    ended.await.unwrap();
}
