//! What is generated, and what a mistake in a `.proto` looks like. That the code compiles and works is shown
//! wherever it is used: in the SDK, in the examples.

use std::path::Path;

use super::{Builder, Error, include_folder};

fn compile(proto: &str) -> Result<String, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.proto");
    std::fs::write(&file, proto).unwrap();
    Builder::new().out_dir(folder.path()).compile(&[file])?;
    Ok(std::fs::read_to_string(folder.path().join("shop.v1.rs")).unwrap())
}

const SHOP: &str = r#"
    syntax = "proto3";
    package shop.v1;
    message Order { bytes note = 1; }
    message Bread {}
    // Sells bread.
    service BreadShop {
      // Bakes one.
      rpc BakeOne(Order) returns (Bread) { option idempotency_level = IDEMPOTENT; }
      rpc Watch(Order) returns (stream Bread);
    }
"#;

#[test]
fn a_service_becomes_markers_and_a_field_for_each_rpc() {
    let code = compile(SHOP).unwrap();
    assert!(code.contains("pub mod bread_shop"), "{code}");
    assert!(code.contains("const NAME: &'static str = \"shop.v1.BreadShop/BakeOne\""), "{code}");
    assert!(code.contains("pub bake_one: ::turno::service::Method<S, BakeOne>"), "{code}");
    assert!(code.contains("impl ::turno::rpc::Unary for BakeOne"), "{code}");
    assert!(code.contains("impl ::turno::rpc::ServerStreaming for Watch"), "{code}");
    assert!(code.contains("Bakes one."), "{code}");
}

#[test]
fn what_may_be_repeated_is_read_from_idempotency_level() {
    let code = compile(SHOP).unwrap();
    let flags: Vec<_> = code.lines().filter(|line| line.contains("REPEATABLE")).map(str::trim).collect();
    assert_eq!(flags, ["const REPEATABLE: bool = true;", "const REPEATABLE: bool = false;"]);
}

#[test]
fn a_mistake_is_named_with_its_place() {
    let error =
        compile("syntax = \"proto3\";\npackage shop.v1;\nmessage Order { Bred bread = 1; }\n").unwrap_err();
    let shown = format!("{error:?}");
    assert!(shown.contains("Bred") && shown.contains("shop.proto:3"), "{shown}");
}

#[test]
fn a_stream_of_requests_is_refused_by_name() {
    let proto =
        "syntax = \"proto3\";\npackage shop.v1;\nmessage M {}\nservice S { rpc Up(stream M) returns (M); }";
    let error = compile(proto).unwrap_err().to_string();
    assert!(error.starts_with("rpc shop.v1.S/Up: a stream of requests"), "{error}");
}

#[test]
fn imports_are_looked_for_below_the_folder_proto() {
    assert_eq!(include_folder(Path::new("proto/a/v1/a.proto")), Path::new("proto"));
    assert_eq!(include_folder(Path::new("api/a.proto")), Path::new("api"));
    assert_eq!(include_folder(Path::new("a.proto")), Path::new("."));
}
