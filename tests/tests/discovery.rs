//! What a client can find out: reflection, health, the listings; and what it hears when it does not speak gRPC.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test's own tasks, and its own failures"
)]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use turno::node::config::Role;
use turno_gateway::GatewayConfig;
use turno_proto::v1::ListNodesRequest;
use turno_proto::v1::admin_client::AdminClient;
use turno_tests::stubs::Dish;
use turno_tests::{TestMesh, eventually};

/// The services that reflection of one version lists, and the files that it has for the kitchen.
macro_rules! reflect {
    ($version:ident, $mesh:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let asked = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("kitchen.v1.Kitchen".to_owned())),
        ];
        let mut client = ServerReflectionClient::new($mesh.channel());
        let answers = client.server_reflection_info(tokio_stream::iter(asked)).await.unwrap().into_inner();
        let (mut services, mut files) = (Vec::new(), 0);
        for answer in answers.collect::<Vec<_>>().await {
            // tonic-reflection ends the stream with NOT_FOUND.
            let Ok(answer) = answer else { break };
            match answer.message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    services = list.service.into_iter().map(|service| service.name).collect();
                }
                MessageResponse::FileDescriptorResponse(found) => files = found.file_descriptor_proto.len(),
                MessageResponse::ErrorResponse(_) => {}
                other => panic!("{other:?}"),
            }
        }
        (services, files)
    }};
}

#[tokio::test]
async fn reflection_describes_what_nodes_bring() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let (services, files): (Vec<String>, usize) = reflect!(v1, mesh);
    assert!(!services.iter().any(|service| service == "kitchen.v1.Kitchen"));
    assert_eq!(files, 0);
    let _node = mesh.kitchen(Role::Io, 1).await;
    for (services, files) in [reflect!(v1, mesh), reflect!(v1alpha, mesh)] {
        let services: Vec<String> = services;
        assert!(services.iter().any(|service| service == "kitchen.v1.Kitchen"), "{services:?}");
        assert!(services.iter().any(|service| service == "turno.v1.Admin"), "{services:?}");
        assert!(!services.iter().any(|service| service.starts_with("turno.mesh")), "{services:?}");
        assert_eq!(files, 1);
    }
}

async fn health(mesh: &TestMesh, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let checked = HealthClient::new(mesh.channel()).check(request).await;
    checked.map(|status| status.into_inner().status()).map_err(|error| error.code())
}

#[tokio::test]
async fn health_follows_the_nodes() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    assert_eq!(health(&mesh, "").await, Ok(ServingStatus::Serving));
    assert_eq!(health(&mesh, "kitchen.v1.Kitchen").await, Err(Code::NotFound));
    let io = mesh.kitchen(Role::Io, 1).await;
    assert_eq!(health(&mesh, "kitchen.v1.Kitchen").await, Ok(ServingStatus::Serving));
    io.leave().await;
    assert_eq!(health(&mesh, "kitchen.v1.Kitchen").await, Ok(ServingStatus::NotServing));
}

#[tokio::test]
async fn an_open_health_watch_does_not_hold_a_gateway_that_ends() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let watch = HealthClient::new(mesh.channel()).watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let reading = tokio::spawn(async move { while let Ok(Some(_)) = watch.message().await {} });
    // Its time to drain is 30 s; a test has less patience.
    tokio::time::timeout(std::time::Duration::from_secs(10), mesh.end()).await.expect("the gateway ends");
    reading.await.unwrap();
}

#[tokio::test]
async fn gzip_is_taken_by_what_tells_of_the_mesh() {
    use tonic::codec::CompressionEncoding::Gzip;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let mut health = HealthClient::new(mesh.channel()).send_compressed(Gzip);
    health.check(HealthCheckRequest::default()).await.unwrap();
    let mut admin = AdminClient::new(mesh.channel()).send_compressed(Gzip);
    admin.list_nodes(ListNodesRequest {}).await.unwrap();
    let services = Some(MessageRequest::ListServices(String::new()));
    let asked = ServerReflectionRequest { host: String::new(), message_request: services };
    let mut reflection = ServerReflectionClient::new(mesh.channel()).send_compressed(Gzip);
    let answers = reflection.server_reflection_info(tokio_stream::iter([asked])).await.unwrap();
    assert!(answers.into_inner().message().await.unwrap().is_some());
}

#[tokio::test]
async fn who_does_not_speak_grpc_hears_what_this_is() {
    let mesh = TestMesh::gateway(GatewayConfig::default()).await;
    let mut stream = tokio::net::TcpStream::connect(mesh.running().clients()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains("turno methods"), "{answer}");
}

#[tokio::test]
async fn garbage_on_either_port_harms_nobody() {
    let mesh = TestMesh::start(0, 1).await;
    for address in [mesh.running().clients(), mesh.running().nodes()] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        drop(stream.write_all(&noise).await);
        drop(stream);
    }
    eventually("the mesh still answers", async || mesh.client().echo(Dish::default()).await.is_ok()).await;
}
