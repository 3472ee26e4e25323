//! What is refused before it is sent, and what a redirect makes of a request.

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;

use super::super::{Error, Request};
use super::Hop;

fn hop(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Hop, Error> {
    let headers =
        headers.iter().map(|(n, v)| ((*n).to_owned(), Bytes::copy_from_slice(v.as_bytes()))).collect();
    let body = Bytes::from_static(b"body");
    Hop::first(Request {
        method: method.to_owned(),
        url: url.to_owned(),
        headers,
        body,
        ..Request::default()
    })
}

fn message(result: Result<Hop, Error>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    error.to_string()
}

fn redirect(from: &Hop, status: u16, location: &str) -> Option<Hop> {
    let location = HeaderValue::from_bytes(location.as_bytes()).unwrap();
    from.redirected(StatusCode::from_u16(status).unwrap(), Some(&location))
}

#[test]
fn what_cannot_be_sent_is_named() {
    let url = "http://example.com/";
    for (result, expected) in [
        (hop("GET", "", &[]), "invalid url: relative URL without a base"),
        (hop("GET", "/path", &[]), "invalid url: relative URL without a base"),
        (hop("GET", "http://", &[]), "invalid url: empty host"),
        (hop("GET", "http://[::g]/", &[]), "invalid url: invalid IPv6 address"),
        (hop("GET", "http://a:99999/", &[]), "invalid url: invalid port number"),
        (hop("GET", "ftp://example.com/", &[]), "invalid url: scheme ftp, not http or https"),
        (hop("GET", "file:///etc/passwd", &[]), "invalid url: scheme file, not http or https"),
        (hop("", url, &[]), "invalid method: \"\" is not an HTTP method"),
        (hop("GE T", url, &[]), "invalid method: \"GE T\" is not an HTTP method"),
        (hop("CONNECT", url, &[]), "invalid method: CONNECT cannot be fetched"),
        (hop("GET", url, &[("", "x")]), "invalid header: \"\" is not a header name"),
        (hop("GET", url, &[("a b", "x")]), "invalid header: \"a b\" is not a header name"),
        (
            hop("GET", url, &[("a", "x\r\nb: y")]),
            "invalid header: the value of a has bytes that HTTP does not allow",
        ),
        (hop("GET", url, &[("Content-Length", "4")]), "invalid header: content-length is set by the node"),
        (
            hop("GET", url, &[("transfer-encoding", "x")]),
            "invalid header: transfer-encoding is set by the node",
        ),
        (hop("GET", url, &[("connection", "close")]), "invalid header: connection is set by the node"),
        (hop("GET", url, &[("a", "x"); 1_001]), "invalid header: 1001 headers, at most 1000"),
    ] {
        assert_eq!(message(result), expected);
    }
    assert!(message(hop(&"\n".repeat(10_000), url, &[])).len() < 200);
}

#[test]
fn only_redirects_that_say_whither_are_redirects() {
    let from = hop("GET", "http://example.com/a/b", &[]).unwrap();
    for status in [200, 201, 204, 300, 304, 305, 306, 400, 500] {
        assert!(redirect(&from, status, "/").is_none(), "{status}");
    }
    for status in [301, 302, 303, 307, 308] {
        assert!(redirect(&from, status, "/").is_some(), "{status}");
        assert!(from.redirected(StatusCode::from_u16(status).unwrap(), None).is_none());
    }
    assert!(redirect(&from, 302, "http://[").is_none());
    assert!(redirect(&from, 302, "http://").is_none());
}

#[test]
fn locations_are_relative_to_the_url() {
    let from = hop("GET", "http://example.com/a/b?c", &[]).unwrap();
    for (location, expected) in [
        ("d", "http://example.com/a/d"),
        ("/d", "http://example.com/d"),
        ("?d", "http://example.com/a/b?d"),
        ("//other/d", "http://other/d"),
        ("https://other:81/d", "https://other:81/d"),
        ("/é", "http://example.com/%C3%A9"),
        ("file:///etc/passwd", "file:///etc/passwd"),
    ] {
        assert_eq!(redirect(&from, 302, location).unwrap().url.as_str(), expected);
    }
}

#[test]
fn the_method_is_kept_or_becomes_get() {
    for (method, status, expected) in [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("PUT", 301, "PUT"),
        ("PUT", 302, "PUT"),
        ("PUT", 303, "GET"),
        ("HEAD", 303, "HEAD"),
        ("DELETE", 303, "GET"),
    ] {
        let from = hop(method, "http://example.com/", &[("content-type", "text/plain"), ("x", "y")]).unwrap();
        let next = redirect(&from, status, "/next").unwrap();
        let kept = expected == method && status != 303;
        assert_eq!(next.method.as_str(), expected, "{method} {status}");
        assert_eq!(next.body.is_empty(), !kept, "{method} {status}");
        assert_eq!(next.headers.contains_key("content-type"), kept, "{method} {status}");
        assert!(next.headers.contains_key("x"));
    }
}

#[test]
fn secrets_stay_with_their_origin() {
    let secrets = [("authorization", "s"), ("Cookie", "s"), ("proxy-authorization", "s"), ("host", "h")];
    let from = hop("GET", "http://example.com/", &[&secrets[..], &[("x", "y")]].concat()).unwrap();
    assert_eq!(redirect(&from, 302, "/same").unwrap().headers.len(), 5);
    assert_eq!(redirect(&from, 302, "http://example.com:80/").unwrap().headers.len(), 5);
    for other in
        ["http://example.org/", "http://example.com:81/", "https://example.com/", "http://sub.example.com/"]
    {
        let next = redirect(&from, 302, other).unwrap();
        assert_eq!(next.headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x"], "{other}");
    }
}

#[test]
fn targets_are_named_without_secrets() {
    for (url, expected) in [
        ("http://user:word@example.com/path?key=1", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("http://[::1]:8080/", "[::1]:8080"),
    ] {
        assert_eq!(hop("GET", url, &[]).unwrap().target(), expected);
    }
    let from = hop("GET", "http://example.com/", &[]).unwrap();
    assert_eq!(redirect(&from, 302, "data:,x").unwrap().target(), "data:");
}
