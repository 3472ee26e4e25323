//! Reflection while nodes are on their way, and what it lists.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use tonic::body::Body;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::{Reflection, services};
use crate::edge::wire::{Wire, prefixed};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// One question, in frames of so many bytes.
fn asks(symbol: &str, frame: usize) -> Request<Body> {
    let question = Some(MessageRequest::FileContainingSymbol(symbol.to_owned()));
    let message = ServerReflectionRequest { host: String::new(), message_request: question }.encode_to_vec();
    Request::post("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        .header("content-type", "application/grpc")
        .body(Body::new(Wire::of(&prefixed(0, &message), frame)))
        .unwrap()
}

fn kitchen() -> Vec<u8> {
    let echo = MethodDescriptorProto { name: Some("Echo".into()), ..MethodDescriptorProto::default() };
    let service = ServiceDescriptorProto { name: Some("Kitchen".into()), method: vec![echo], options: None };
    let file = FileDescriptorProto {
        name: Some("kitchen.proto".into()),
        package: Some("kitchen.v1".into()),
        service: vec![service],
        message_type: vec![DescriptorProto { name: Some("Dish".into()), ..DescriptorProto::default() }],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

/// Another node's, of the same package.
fn cellar() -> Vec<u8> {
    let file = FileDescriptorProto {
        name: Some("cellar.proto".into()),
        package: Some("kitchen.v1".into()),
        service: vec![ServiceDescriptorProto {
            name: Some("Cellar".into()),
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

/// A symbol that is not there is answered with trailers alone.
async fn is_found(answer: Response<Body>) -> bool {
    !answer.into_body().collect().await.unwrap().to_bytes().is_empty()
}

#[tokio::test]
async fn a_symbol_that_comes_with_its_node_is_waited_for() {
    for (symbol, frame) in
        [("kitchen.v1.Kitchen", 1), ("kitchen.v1.Kitchen.Echo", 7), ("kitchen.v1.Dish", 999)]
    {
        let reflection = Reflection::new().unwrap();
        reflection.replace(&cellar()).unwrap();
        let mut asking = Box::pin(reflection.call(asks(symbol, frame), Instant::now() + LONG));
        assert!(asking.as_mut().now_or_never().is_none(), "{symbol} may still come");
        reflection.replace(&kitchen()).unwrap();
        assert!(is_found(asking.await).await, "{symbol}");
    }
}

#[tokio::test]
async fn nobody_waits_for_what_is_known_or_will_not_come() {
    let reflection = Reflection::new().unwrap();
    reflection.replace(&kitchen()).unwrap();
    let later = Instant::now() + LONG;
    for (symbol, settled, found) in [
        ("kitchen.v1.Kitchen", later, true),
        ("kitchen.v1.Kitchen.Fry", later, false),
        ("turno.v1.Tickets", later, true),
        ("turno.v1.Nothing", later, false),
        ("google.rpc.Status", later, true),
        // A service without its method, as `turno call` reads it.
        ("kitchen.v1", later, false),
        ("kitchen", later, false),
        ("burgers.v1.Kitchen", Instant::now(), false),
    ] {
        let answer =
            tokio::time::timeout(Duration::from_secs(10), reflection.call(asks(symbol, 999), settled));
        assert_eq!(is_found(answer.await.expect("it is not waited for")).await, found, "{symbol}");
    }
}

#[test]
fn services_are_listed_by_their_full_names_with_a_package_or_without() {
    let service =
        ServiceDescriptorProto { name: Some("Kitchen".into()), ..ServiceDescriptorProto::default() };
    let file = |package: Option<&str>| FileDescriptorProto {
        package: package.map(str::to_owned),
        service: vec![service.clone()],
        ..FileDescriptorProto::default()
    };
    let files = [file(Some("kitchen.v1")), file(None), file(Some("turno.mesh.v1"))];
    let listed: Vec<String> = services(&files).into_iter().collect();
    assert_eq!(listed, ["Kitchen", "kitchen.v1.Kitchen"]);
}
