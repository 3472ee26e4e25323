//! From the words of a command line to what is asked of a gateway.

use std::time::{Duration, SystemTime};

use clap::Parser as _;

use super::SubmitArgs;
use crate::call::method::Name;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: SubmitArgs,
}

pub(super) fn parsed(words: &[&str]) -> Result<SubmitArgs, clap::Error> {
    Line::try_parse_from(["submit", "a.v1.A/Do"].iter().chain(words)).map(|line| line.args)
}

fn name() -> Name {
    Name::parse("a.v1.A/Do").unwrap()
}

#[test]
fn what_is_wished_is_asked_for() {
    let args = parsed(&[
        "{}",
        "--key=k",
        "--key-kept-for=2h",
        "--not-before=1970-01-01T00:00:07Z",
        "--label=shop=a=b",
        "--label=order=17",
        "--retries=0",
        "--timeout=1500ms",
        "--keep-result-for=1day",
    ])
    .unwrap();
    let order = args.order(&name(), "x".into(), None);
    assert_eq!((order.method.as_str(), order.request.as_ref()), ("a.v1.A/Do", &b"x"[..]));
    assert_eq!(
        (order.idempotency_key.as_str(), order.idempotency_key_kept_for.unwrap().seconds),
        ("k", 7200)
    );
    assert_eq!(
        SystemTime::try_from(order.not_before.unwrap()).unwrap(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(7)
    );
    assert_eq!((order.labels["shop"].as_str(), order.labels["order"].as_str()), ("a=b", "17"));
    assert_eq!((order.retries, order.keep_result_for.unwrap().seconds), (Some(0), 86_400));
    assert_eq!(order.timeout.unwrap().nanos, 500_000_000);
}

#[test]
fn what_is_not_wished_is_left_to_the_gateway() {
    let order = parsed(&[]).unwrap().order(&name(), "x".into(), Some(3));
    let expected = turno_proto::v1::SubmitRequest {
        method: "a.v1.A/Do".into(),
        request: "x".into(),
        ..Default::default()
    };
    assert_eq!(order, expected);
}

#[test]
fn each_of_many_has_a_key_of_its_own() {
    let args = parsed(&["--many=-", "--key=nightly"]).unwrap();
    assert_eq!(args.order(&name(), "x".into(), Some(7)).idempotency_key, "nightly/7");
}

#[test]
fn what_does_not_go_together_is_refused() {
    for words in [
        vec!["--many=f", "--wait"],
        vec!["{}", "--many=f"],
        vec!["--out=f"],
        vec!["--key-kept-for=1h"],
        vec!["--key="],
        vec!["--many=f", "--key", ""],
        vec!["--label=x"],
        vec!["--not-before=tomorrow"],
    ] {
        assert!(parsed(&words).is_err(), "{words:?}");
    }
}

#[test]
fn retries_have_a_range() {
    for words in [["--retries", "-1"], ["--retries", "1001"]] {
        let told = parsed(&words).unwrap_err().to_string();
        assert!(told.contains("is not in 0..=1000"), "{told}");
    }
    parsed(&["--retries", "1000"]).unwrap();
}

#[test]
fn a_label_has_one_value() {
    let args = parsed(&["--label=shop=a", "--label=lane=a", "--label=shop=b"]).unwrap();
    let told = args.wishes.check().unwrap_err().to_string();
    assert_eq!(told, "--label shop is given twice: a label has one value");
    parsed(&["--label=shop=a", "--label=lane=a"]).unwrap().wishes.check().unwrap();
}
