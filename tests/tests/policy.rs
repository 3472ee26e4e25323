//! `option (turno.v1.method)` from a user's `.proto` to those who ask: the listing, and reflection.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use std::sync::Arc;

use prost_reflect::{DescriptorPool, DynamicMessage, FileDescriptor};
use tokio_stream::StreamExt as _;
use turno::node::config::Role;
use turno::service::{Table, awaited, job};
use turno::{Context, Rpc, Service, rpc};
use turno_gateway::GatewayConfig;
use turno_proto::v1::admin_client::AdminClient;
use turno_proto::v1::{ListMethodsRequest, Method};
use turno_tests::kitchen::{Dish, Wait};
use turno_tests::{TestMesh, stubs};

async fn listed(mesh: &TestMesh, rpc: &str) -> Method {
    let methods = AdminClient::new(mesh.channel()).list_methods(ListMethodsRequest {}).await.unwrap();
    let name = format!("kitchen.v1.Kitchen/{rpc}");
    methods.into_inner().methods.into_iter().find(|method| method.name == name).unwrap()
}

#[tokio::test]
async fn a_gateway_knows_what_a_method_wants() {
    let mesh = TestMesh::start(1, 1).await;
    let policy = async |rpc| {
        let method = listed(&mesh, rpc).await;
        (method.timeout_us, method.concurrency, method.hedge_after_us)
    };
    assert_eq!(policy("Timed").await, (300_000, 0, 0));
    assert_eq!(policy("Narrow").await, (0, 2, 0));
    assert_eq!(policy("Hedged").await, (10_000_000, 0, 50_000));
    assert_eq!(policy("Echo").await, (0, 0, 0));
}

#[tokio::test]
async fn a_policy_stays_known_when_the_last_node_has_left() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    mesh.kitchen(Role::Io, 1).await.leave().await;
    let method = listed(&mesh, "Timed").await;
    assert_eq!((method.nodes, method.timeout_us), (0, 300_000));
}

/// An rpc as it was before it had a policy: what turno-build would make of the .proto of that day.
macro_rules! before {
    ($marker:ident, $name:literal) => {
        struct $marker;

        impl Rpc for $marker {
            type Request = Wait;
            type Response = Dish;
            const NAME: &'static str = $name;
            const PATH: &'static str = concat!("/", $name);
            const REPEATABLE: bool = false;
        }

        impl rpc::TakesOne for $marker {}

        impl rpc::AnswersOne for $marker {}
    };
}

before!(TimedBefore, "kitchen.v1.Kitchen/Timed");
before!(NarrowBefore, "kitchen.v1.Kitchen/Narrow");

/// The kitchen of that day.
struct OldKitchen;

impl Service for OldKitchen {
    fn table(self) -> Table {
        let timed = awaited::<Self, TimedBefore, Wait, Dish>(|_: Arc<Self>, _: Context, _: Wait| {
            Box::pin(async { Ok(Dish::default()) })
        });
        let narrow = job::<Self, NarrowBefore, Wait, Dish>(|_, _, _| Ok(Dish::default()));
        let kitchen = Arc::new(self);
        Table::new("kitchen.v1.Kitchen", &[], vec![timed.bind(&kitchen), narrow.bind(&kitchen)])
    }
}

#[tokio::test]
async fn the_newest_nodes_word_counts() {
    let mesh = TestMesh::start(0, 1).await;
    let old = turno::node("old").service(|| OldKitchen);
    let old = mesh.join(old, mesh.node_config(Role::Io, 1)).await;
    let both = listed(&mesh, "Timed").await;
    assert_eq!((both.nodes, both.timeout_us), (2, 0));
    old.leave().await;
    assert_eq!(listed(&mesh, "Timed").await.timeout_us, 300_000);
}

#[tokio::test]
async fn when_the_newest_node_has_left_jobs_obey_the_others() {
    let mesh = TestMesh::start(1, 4).await;
    let old = turno::node("old").service(|| OldKitchen);
    let old = mesh.join(old, mesh.node_config(Role::Both, 1)).await;
    assert_eq!(listed(&mesh, "Narrow").await.concurrency, 0);
    old.leave().await;
    assert_eq!(listed(&mesh, "Narrow").await.concurrency, 2);
    let narrow = || {
        let mut client = mesh.client();
        tokio::spawn(async move { client.narrow(stubs::Wait { ms: 150, ..stubs::Wait::default() }).await })
    };
    let calls: Vec<_> = (0..6).map(|_| narrow()).collect();
    assert_eq!(mesh.most_at_once(&calls).await, 2);
}

/// A file as reflection of one version gives it.
macro_rules! file {
    ($version:ident, $mesh:expr, $question:ident, $name:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let message_request = Some(MessageRequest::$question($name.to_owned()));
        let asked = ServerReflectionRequest { host: String::new(), message_request };
        let mut client = ServerReflectionClient::new($mesh.channel());
        let answers = client.server_reflection_info(tokio_stream::iter([asked])).await.unwrap();
        let answer = answers.into_inner().next().await.unwrap().unwrap();
        let Some(MessageResponse::FileDescriptorResponse(found)) = answer.message_response else {
            panic!("{answer:?}")
        };
        found.file_descriptor_proto.into_iter().next().unwrap()
    }};
}

/// As a reflection client has it: `encoded` with all that it imports, which `import` fetches.
async fn load(encoded: Vec<u8>, import: impl AsyncFn(&str) -> Vec<u8>) -> FileDescriptor {
    let mut pool = DescriptorPool::new();
    for name in ["google/protobuf/descriptor.proto", "turno/v1/options.proto"] {
        pool.decode_file_descriptor_proto(import(name).await.as_slice()).unwrap();
    }
    pool.decode_file_descriptor_proto(encoded.as_slice()).unwrap();
    pool.get_file_by_name("kitchen.proto").unwrap()
}

/// `option (turno.v1.method)` beside an rpc of the kitchen.
fn said(kitchen: &FileDescriptor, rpc: &str) -> Option<DynamicMessage> {
    let extension = kitchen.parent_pool().get_extension_by_name("turno.v1.method").unwrap();
    let service = kitchen.services().next().unwrap();
    let options = service.methods().find(|method| method.name() == rpc).unwrap().options();
    let said = options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned());
    said.map(|said| said.as_message().unwrap().clone())
}

#[tokio::test]
async fn reflection_keeps_the_option() {
    let mesh = TestMesh::start(0, 1).await;
    let symbol = file!(v1, mesh, FileContainingSymbol, "kitchen.v1.Kitchen");
    let new = load(symbol, async |name| file!(v1, mesh, FileByFilename, name)).await;
    let named = file!(v1alpha, mesh, FileByFilename, "kitchen.proto");
    let old = load(named, async |name| file!(v1alpha, mesh, FileByFilename, name)).await;
    for kitchen in [new, old] {
        let field = |rpc, name: &str| {
            let value = said(&kitchen, rpc).unwrap().get_field_by_name(name).unwrap().into_owned();
            value.as_str().map(str::to_owned).or_else(|| value.as_u32().map(|number| number.to_string()))
        };
        assert_eq!(field("Timed", "timeout").unwrap(), "300ms");
        assert_eq!(field("Hedged", "hedge_after").unwrap(), "50ms");
        assert_eq!(field("Narrow", "concurrency").unwrap(), "2");
        assert_eq!(said(&kitchen, "Echo"), None);
    }
}
