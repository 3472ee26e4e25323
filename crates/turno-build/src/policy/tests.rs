//! What `option (turno.v1.method)` becomes, and what its mistakes say.

use std::path::Path;

use protox::prost_reflect::DescriptorPool;

use crate::{Builder, Error};

/// A shop whose rpcs are `rpcs`, from the sixth line on, below `folder`.
fn compile_in(folder: &Path, rpcs: &str) -> Result<String, Error> {
    let file = folder.join("shop.proto");
    let head = "syntax = \"proto3\";\npackage shop.v1;\nimport \"turno/v1/options.proto\";\nmessage M {}\nservice Shop {\n";
    std::fs::write(&file, format!("{head}{rpcs}\n}}")).unwrap();
    Builder::new().out_dir(folder).compile(&[file])?;
    Ok(std::fs::read_to_string(folder.join("shop.v1.rs")).unwrap())
}

fn compile(rpcs: &str) -> Result<String, Error> {
    compile_in(tempfile::tempdir().unwrap().path(), rpcs)
}

fn policies(code: &str) -> Vec<&str> {
    code.lines().map(str::trim).filter(|line| line.contains("POLICY")).collect()
}

/// What is refused of one rpc with `option (turno.v1.method) = { POLICY }`.
fn refused(policy: &str) -> String {
    refused_of("rpc Sell(M) returns (M)", policy)
}

fn refused_of(rpc: &str, policy: &str) -> String {
    let rpc = format!(
        "{rpc} {{ option idempotency_level = IDEMPOTENT; option (turno.v1.method) = {{ {policy} }}; }}"
    );
    let error = compile(&rpc).unwrap_err();
    assert!(matches!(error, Error::Policy { .. }), "{error}");
    let text = error.to_string();
    text.strip_prefix("shop.proto:6: rpc shop.v1.Shop/Sell: (turno.v1.method) ").unwrap_or(&text).to_owned()
}

#[test]
fn what_is_said_beside_an_rpc_is_a_const_of_its_marker() {
    let code = compile(
        r#"rpc Plain(M) returns (M);
           rpc Slow(M) returns (M) { option (turno.v1.method) = { timeout: "1m 30s" }; }
           rpc Busy(M) returns (M) { option (turno.v1.method).concurrency = 16; }
           rpc Fast(M) returns (M) {
             option idempotency_level = NO_SIDE_EFFECTS;
             option (turno.v1.method) = { timeout: "2s" concurrency: 3 hedge_after: "50ms" retries: 0 };
           }
           rpc Empty(M) returns (M) { option (turno.v1.method) = {}; }"#,
    );
    let none = "const POLICY: ::turno::rpc::Policy = ::turno::rpc::Policy::NONE";
    let code = flat(&code.unwrap());
    let time = |micros: u64| format!("::core::time::Duration::from_micros({micros})");
    let expected = [
        format!("{none}.with_timeout({});", time(90_000_000)),
        format!("{none}.with_concurrency(16);"),
        format!(
            "{none}.with_timeout({}).with_concurrency(3).with_hedge_after({}).with_retries(0);",
            time(2_000_000),
            time(50_000)
        ),
        format!("{none};"),
    ];
    let at: Vec<_> =
        expected.iter().map(|policy| code.find(policy).unwrap_or_else(|| panic!("{code}"))).collect();
    assert!(at.is_sorted() && code.matches("POLICY").count() == expected.len(), "{code}");
}

/// Without the line breaks of the formatter.
fn flat(code: &str) -> String {
    let words: Vec<_> = code.split_whitespace().collect();
    words.join(" ").replace(" .with", ".with").replace("( ", "(").replace(" )", ")").replace(",)", ")")
}

#[test]
fn without_the_import_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.proto");
    let proto = "syntax = \"proto3\"; package shop.v1; message M {} service S { rpc Sell(M) returns (M); }";
    std::fs::write(&file, proto).unwrap();
    Builder::new().out_dir(folder.path()).compile(&[file]).unwrap();
    assert_eq!(policies(&std::fs::read_to_string(folder.path().join("shop.v1.rs")).unwrap()), [""; 0]);
}

#[test]
fn what_is_no_duration_is_told_how_one_looks() {
    let how = r#"is no duration: write "500ms", "2s", "1m""#;
    assert_eq!(refused(r#"timeout: "2 fortnights""#), format!(r#"timeout: "2 fortnights" {how}"#));
    assert_eq!(refused(r#"hedge_after: "soon""#), format!(r#"hedge_after: "soon" {how}"#));
    assert_eq!(refused(r#"timeout: "2""#), format!(r#"timeout: "2" {how}"#));
}

#[test]
fn times_are_neither_zero_nor_endless() {
    assert_eq!(
        refused(r#"timeout: "0s""#),
        r#"timeout: "0s" is no time at all: leave it out, if none is meant"#
    );
    assert_eq!(refused(r#"timeout: "999ns""#), r#"timeout: "999ns" is shorter than a microsecond"#);
    assert_eq!(refused(r#"timeout: "31days""#), r#"timeout: "31days" is longer than 30 days"#);
    compile(r#"rpc Sell(M) returns (M) { option (turno.v1.method) = { timeout: "30days" }; }"#).unwrap();
}

#[test]
fn only_what_may_be_begun_twice_is_hedged() {
    let plain = compile(r#"rpc Sell(M) returns (M) { option (turno.v1.method).hedge_after = "1s"; }"#);
    let text = plain.unwrap_err().to_string();
    assert!(text.ends_with("say `option idempotency_level = IDEMPOTENT` (or NO_SIDE_EFFECTS)"), "{text}");
    for rpc in ["rpc Sell(M) returns (stream M)", "rpc Sell(stream M) returns (M)"] {
        let text = refused_of(rpc, r#"hedge_after: "1s""#);
        assert!(text.starts_with("hedge_after: a stream is not begun twice"), "{text}");
    }
    let late = refused(r#"timeout: "1s" hedge_after: "1s""#);
    assert_eq!(late, "hedge_after: the second attempt would never begin: the timeout comes first");
}

#[test]
fn a_stream_may_have_a_timeout_and_a_limit() {
    let option = r#"option (turno.v1.method) = { timeout: "1h" concurrency: 4 };"#;
    let code = compile(&format!("rpc Watch(M) returns (stream M) {{ {option} }}")).unwrap();
    assert_eq!(policies(&code).len(), 1, "{code}");
}

#[test]
fn retries_have_a_limit() {
    assert_eq!(refused("retries: 1001"), "retries: 1001 are more than 1000");
    compile(r#"rpc Sell(M) returns (M) { option (turno.v1.method) = { retries: 1000 }; }"#).unwrap();
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_line() {
    let error = compile(
        "rpc A(M) returns (M) { option (turno.v1.method) = { timeout: \"x\" hedge_after: \"y\" }; }\n\
         rpc B(M) returns (M) { option (turno.v1.method) = { timeout: \"0ms\" }; }",
    );
    let text = format!("{:?}", error.unwrap_err());
    let places: Vec<_> = text.lines().map(|line| line.split(": (").next().unwrap()).collect();
    let [a, b] = ["shop.proto:6: rpc shop.v1.Shop/A", "shop.proto:7: rpc shop.v1.Shop/B"];
    assert_eq!(places, [a, a, b], "{text}");
}

#[test]
fn a_field_that_the_option_does_not_have_is_answered_with_those_that_it_has() {
    let error = compile("rpc A(M) returns (M) { option (turno.v1.method) = { lives: 3 }; }").unwrap_err();
    let shown = format!("{error:?}");
    assert!(shown.starts_with("shop.proto:6:") && shown.contains("; write { timeout: \"2s\""), "{shown}");
}

#[test]
fn a_copy_that_the_user_keeps_is_no_second_definition() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("turno/v1/options.proto");
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    for text in [crate::options::TEXT, "syntax = \"proto3\"; package turno.v1; // of an older version"] {
        std::fs::write(&copy, text).unwrap();
        let rpc = r#"rpc A(M) returns (M) { option (turno.v1.method) = { timeout: "2s" }; }"#;
        assert_eq!(policies(&compile_in(folder.path(), rpc).unwrap()).len(), 1);
        Builder::new().include(folder.path()).out_dir(folder.path()).compile(&[&copy]).unwrap();
    }
}

#[test]
fn no_rust_is_made_of_the_option_and_its_bytes_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rpc = r#"rpc A(M) returns (M) { option (turno.v1.method) = { timeout: "2s" }; }"#;
    compile_in(folder.path(), rpc).unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
    let mut files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["shop.proto", "shop.v1.descriptors.bin", "shop.v1.rs"]);
    let set = std::fs::read(folder.path().join("shop.v1.descriptors.bin")).unwrap();
    let pool = DescriptorPool::decode(set.as_slice()).unwrap();
    let method = pool.get_service_by_name("shop.v1.Shop").unwrap().methods().next().unwrap();
    let (options, extension) = (method.options(), pool.get_extension_by_name("turno.v1.method").unwrap());
    let said = options.get_extension(&extension);
    let timeout = said.as_message().unwrap().get_field_by_name("timeout").unwrap().into_owned();
    assert_eq!(timeout.as_str(), Some("2s"));
}
