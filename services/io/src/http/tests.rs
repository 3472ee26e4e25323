//! The wire's defaults, and the code of every error.

use std::time::Duration;

use bytes::Bytes;
use tonic_types::StatusExt as _;
use turno::Code;
use turno::io::v1::{FetchRequest, Header};
use turno_proto::status::DOMAIN;

use super::{ANSWER_TOO_LARGE, code, request, response, status};
use crate::fetch::target::Refused;
use crate::fetch::{Error, Response};

#[test]
fn what_is_absent_has_its_default() {
    let sent = request(FetchRequest { url: "http://a/".to_owned(), ..FetchRequest::default() });
    assert_eq!((sent.url.as_str(), sent.method.as_str(), sent.max_redirects), ("http://a/", "GET", 10));
    assert_eq!((sent.timeout, sent.max_bytes), (Duration::from_secs(30), 32 << 20));
}

#[test]
fn what_is_present_is_taken() {
    let sent = request(FetchRequest {
        method: "PUT".to_owned(),
        headers: vec![Header { name: "A".to_owned(), value: Bytes::from_static(b"\xff") }],
        body: Bytes::from_static(b"body"),
        max_redirects: Some(0),
        timeout_ms: 1,
        max_bytes: 2,
        ..FetchRequest::default()
    });
    assert_eq!((sent.method.as_str(), sent.max_redirects, sent.max_bytes), ("PUT", 0, 2));
    assert_eq!(sent.timeout, Duration::from_millis(1));
    assert_eq!(sent.headers, [("A".to_owned(), Bytes::from_static(b"\xff"))]);
    assert_eq!(sent.body, "body");
}

#[test]
fn a_response_goes_on_the_wire_whole() {
    let answer = response(Response {
        status: 404,
        headers: vec![("a".to_owned(), Bytes::from_static(b"1")), ("a".to_owned(), Bytes::from_static(b"2"))],
        body: Bytes::from_static(b"none"),
        url: "http://a/".to_owned(),
    });
    assert_eq!(
        (answer.status, answer.body, answer.url.as_str()),
        (404, Bytes::from_static(b"none"), "http://a/")
    );
    assert_eq!(answer.headers.iter().map(|header| &header.value[..]).collect::<Vec<_>>(), [b"1", b"2"]);
}

#[test]
fn every_error_has_the_code_of_the_contract() {
    let (host, cause) = (|| "a".to_owned(), || "refused".to_owned());
    for (error, expected) in [
        (Error::Invalid { part: "url", detail: cause() }, Code::InvalidArgument),
        (Error::Refused { host: host(), reason: Refused::Loopback }, Code::PermissionDenied),
        (Error::TooManyRedirects { host: host(), limit: 1 }, Code::FailedPrecondition),
        (Error::TooLarge { host: host(), limit: 1 }, Code::ResourceExhausted),
        (Error::TimedOut { host: host(), after: Duration::ZERO }, Code::DeadlineExceeded),
        (Error::Unreachable { host: host(), cause: cause() }, Code::Unavailable),
        (Error::BrokenOff { host: host(), cause: cause() }, Code::Unavailable),
    ] {
        assert_eq!(code(&error), expected);
        assert_eq!(status(&error).message(), error.to_string());
    }
}

#[test]
fn a_body_above_the_limit_says_that_it_is_too_large_and_not_the_house_full() {
    let host = || "a".to_owned();
    let too_large = status(&Error::TooLarge { host: host(), limit: 1 });
    let info = too_large.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (ANSWER_TOO_LARGE, DOMAIN));
    assert_eq!(status(&Error::TimedOut { host: host(), after: Duration::ZERO }).details(), b"");
}
