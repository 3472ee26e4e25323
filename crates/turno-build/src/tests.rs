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
      rpc Deliver(stream Bread) returns (Order);
      rpc Haggle(stream Order) returns (stream Order);
    }
"#;

#[test]
fn a_service_becomes_markers_and_a_field_for_each_rpc() {
    let code = compile(SHOP).unwrap();
    assert!(code.contains("pub mod bread_shop"), "{code}");
    assert!(code.contains("const NAME: &'static str = \"shop.v1.BreadShop/BakeOne\""), "{code}");
    assert!(code.contains("pub bake_one: ::turno::service::Method<S, BakeOne>"), "{code}");
    assert!(code.contains("Bakes one."), "{code}");
}

#[test]
fn what_is_a_stream_is_read_from_the_rpc() {
    let code = compile(SHOP).unwrap();
    let shapes: Vec<_> =
        code.lines().filter_map(|line| line.trim().strip_prefix("impl ::turno::rpc::")).collect();
    assert_eq!(
        shapes,
        [
            "TakesOne for BakeOne {}",
            "AnswersOne for BakeOne {}",
            "TakesOne for Watch {}",
            "AnswersStream for Watch {}",
            "TakesStream for Deliver {}",
            "AnswersOne for Deliver {}",
            "TakesStream for Haggle {}",
            "AnswersStream for Haggle {}",
        ]
    );
}

#[test]
fn what_may_be_repeated_is_read_from_idempotency_level() {
    let code = compile(SHOP).unwrap();
    let flags: Vec<_> = code.lines().filter(|line| line.contains("REPEATABLE")).map(str::trim).collect();
    let [first, rest @ ..] = flags.as_slice() else { panic!("no rpc in {code}") };
    assert_eq!(*first, "const REPEATABLE: bool = true;");
    assert_eq!(rest, ["const REPEATABLE: bool = false;"; 3]);
}

#[test]
fn a_mistake_is_named_with_its_place() {
    let error =
        compile("syntax = \"proto3\";\npackage shop.v1;\nmessage Order { Bred bread = 1; }\n").unwrap_err();
    let shown = format!("{error:?}");
    assert!(shown.contains("Bred") && shown.contains("shop.proto:3"), "{shown}");
}

#[test]
fn imports_are_looked_for_below_the_folder_proto() {
    assert_eq!(include_folder(Path::new("proto/a/v1/a.proto")), Path::new("proto"));
    assert_eq!(include_folder(Path::new("api/a.proto")), Path::new("api"));
    assert_eq!(include_folder(Path::new("a.proto")), Path::new("."));
}
