//! Reflection against tonic's own.

use tonic::service::Routes;
use tonic::transport::Channel;

use super::{Refused, describe, find, list_services};
use crate::call::dial;
use crate::call::method::Name;
use crate::call::tests::serve;
use crate::doubles;

async fn channel() -> Channel {
    dial(&serve().await.to_string()).await.unwrap()
}

/// A server that has a health service only.
async fn without_reflection() -> Channel {
    let (_, health) = tonic_health::server::health_reporter();
    let address = doubles::serve(Routes::new(health)).await;
    dial(&address.to_string()).await.unwrap()
}

#[tokio::test]
async fn services_are_listed() {
    let served = list_services(channel().await).await.unwrap();
    assert_eq!(served, ["album.v1.Studio", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
}

#[tokio::test]
async fn a_service_comes_with_all_that_it_imports() {
    let service = describe(channel().await, "album.v1.Studio").await.unwrap();
    let methods: Vec<_> = service.methods().map(|method| method.name().to_owned()).collect();
    assert_eq!(methods, ["Print", "Pages", "Upload", "Drop"]);
    let pool = service.parent_pool();
    for name in ["album.v1.Picture", "google.protobuf.Timestamp", "google.protobuf.BytesValue"] {
        assert!(pool.get_message_by_name(name).is_some(), "{name}");
    }
    assert!(pool.get_service_by_name("grpc.health.v1.Health").is_none());
}

#[tokio::test]
async fn an_unknown_service_is_answered_with_those_that_there_are() {
    let error = describe(channel().await, "grpc.health.Health").await.unwrap_err().to_string();
    let expected =
        "no service grpc.health.Health; did you mean grpc.health.v1.Health?\nserved: album.v1.Studio, ";
    assert!(error.starts_with(expected), "{error}");
}

#[tokio::test]
async fn a_server_without_reflection_is_told_apart() {
    let channel = without_reflection().await;
    for error in [
        describe(channel.clone(), "grpc.health.v1.Health").await.unwrap_err(),
        list_services(channel).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("does not offer server reflection"), "{error}");
    }
}

#[tokio::test]
async fn who_has_refused_is_named() {
    let name = Name::parse("grpc.health.v1.Health/Check").unwrap();
    let error = find(without_reflection().await, "[::1]:7070", &name).await.unwrap_err();
    let said = format!("{error:#}");
    assert!(said.starts_with("[::1]:7070: what answers there does not offer server reflection"), "{said}");
    assert!(error.is::<Refused>(), "{said}");
}
