//! Well-behaved servers: what arrives at them, what comes back, redirects, kept connections.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request as Received};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response as Answer};
use axum::routing::{any, get as on_get};
use bytes::Bytes;

use super::servers::{Server, serve};
use super::{Error, Request, fetch, get, open, values};

/// Answers what it was asked: the method in the status line's place, all headers, the body.
async fn echo(received: Received) -> Answer {
    let (head, body) = received.into_parts();
    let mut answer = Answer::new(body);
    answer.headers_mut().insert("echo-method", head.method.as_str().parse().unwrap());
    answer.headers_mut().insert("echo-path", head.uri.path().parse().unwrap());
    for (name, value) in &head.headers {
        let name = format!("echo-{name}").parse::<axum::http::HeaderName>().unwrap();
        answer.headers_mut().append(name, value.clone());
    }
    answer
}

/// `/redirect/3` leads to `/redirect/2` and so on to `/echo`.
async fn countdown(Path(left): Path<u32>) -> Answer {
    let to = if left > 1 { format!("/redirect/{}", left - 1) } else { "/echo".to_owned() };
    (StatusCode::FOUND, [(LOCATION, to)], "elsewhere").into_response()
}

/// `/to/307?http://...`
async fn to(Path(status): Path<u16>, received: Received) -> Answer {
    let target = received.uri().query().unwrap().to_owned();
    (StatusCode::from_u16(status).unwrap(), [(LOCATION, target)]).into_response()
}

async fn status(Path(status): Path<u16>) -> StatusCode {
    StatusCode::from_u16(status).unwrap()
}

async fn repeated() -> impl IntoResponse {
    let headers = [("z-first", "0"), ("set-cookie", "a=1"), ("a-last", "9"), ("set-cookie", "b=2")];
    (AppendHeaders(headers), "")
}

async fn server() -> Server {
    let router = Router::new()
        .route("/echo", any(echo))
        .route("/redirect/{left}", any(countdown))
        .route("/to/{status}", any(to))
        .route("/status/{status}", any(status))
        .route("/repeated", on_get(repeated))
        .route("/zipped", on_get(async || ([("content-encoding", "gzip")], "not unzipped")))
        .route("/lost", on_get(async || StatusCode::FOUND))
        .route("/big", any(async || Body::from(vec![7_u8; 3 << 20])));
    serve(router).await
}

fn pair(name: &str, value: &[u8]) -> (String, Bytes) {
    (name.to_owned(), Bytes::copy_from_slice(value))
}

#[tokio::test]
async fn methods_and_bodies_arrive() {
    let server = server().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
        let body = Bytes::from(format!("body of {method}"));
        let request = Request { method: method.to_owned(), body: body.clone(), ..get(server.url("/echo")) };
        let response = fetch(request).await.unwrap();
        assert_eq!((response.status, &response.body), (200, &body));
        assert_eq!(values(&response, "echo-method"), [method]);
        assert_eq!(values(&response, "echo-content-length"), [body.len().to_string()]);
        assert_eq!(response.url, server.url("/echo"));
    }
}

#[tokio::test]
async fn head_has_no_body_however_long_it_says_it_is() {
    let server = server().await;
    let request = Request { method: "HEAD".to_owned(), max_bytes: 10, ..get(server.url("/big")) };
    let response = fetch(request).await.unwrap();
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(values(&response, "content-length"), [(3 << 20).to_string()]);
}

#[tokio::test]
async fn headers_arrive_as_they_are() {
    let server = server().await;
    let headers = vec![pair("X-Twice", b"1"), pair("x-bytes", b"\xff\xfe"), pair("x-twice", b"2")];
    let response = fetch(Request { headers, ..get(server.url("/echo")) }).await.unwrap();
    assert_eq!(values(&response, "echo-x-twice"), ["1", "2"]);
    assert_eq!(values(&response, "echo-x-bytes"), [&b"\xff\xfe"[..]]);
    assert_eq!(values(&response, "echo-accept"), ["*/*"]);
    assert!(values(&response, "echo-user-agent")[0].starts_with(b"turno/"));
    assert!(values(&response, "echo-accept-encoding").is_empty());
}

#[tokio::test]
async fn the_callers_headers_come_before_the_clients() {
    let server = server().await;
    let headers =
        vec![pair(USER_AGENT.as_str(), b"mine"), pair("accept", b"text/plain"), pair(HOST.as_str(), b"a.b")];
    let response = fetch(Request { headers, ..get(server.url("/echo")) }).await.unwrap();
    for (name, value) in [("echo-user-agent", "mine"), ("echo-accept", "text/plain"), ("echo-host", "a.b")] {
        assert_eq!(values(&response, name), [value]);
    }
}

#[tokio::test]
async fn user_and_password_of_the_url_are_sent_and_not_answered() {
    let server = server().await;
    let response = fetch(get(server.url("/echo").replace("//", "//user:word@"))).await.unwrap();
    assert_eq!(values(&response, "echo-authorization"), ["Basic dXNlcjp3b3Jk"]);
    assert_eq!(response.url, server.url("/echo"));
}

#[tokio::test]
async fn every_status_is_a_response() {
    let server = server().await;
    for status in [204, 304, 400, 404, 418, 500, 503] {
        assert_eq!(fetch(get(server.url(&format!("/status/{status}")))).await.unwrap().status, status);
    }
}

#[tokio::test]
async fn repeated_response_headers_are_kept_in_order() {
    let response = fetch(get(server().await.url("/repeated"))).await.unwrap();
    assert_eq!(values(&response, "set-cookie"), ["a=1", "b=2"]);
    let names: Vec<_> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
    let place = |name| names.iter().position(|n| *n == name).unwrap();
    assert!(place("z-first") < place("set-cookie") && place("set-cookie") < place("a-last"), "{names:?}");
}

#[tokio::test]
async fn an_encoding_is_not_undone() {
    let response = fetch(get(server().await.url("/zipped"))).await.unwrap();
    assert_eq!(values(&response, "content-encoding"), ["gzip"]);
    assert_eq!(response.body, "not unzipped");
}

#[tokio::test]
async fn large_bodies_go_both_ways() {
    let server = server().await;
    let body = Bytes::from((0..5_000_000_u32).map(|i| i as u8).collect::<Vec<_>>());
    let request = Request { method: "POST".to_owned(), body: body.clone(), ..get(server.url("/echo")) };
    assert!(fetch(request).await.unwrap().body == body);
}

#[tokio::test]
async fn redirects_are_followed_up_to_the_limit() {
    let server = server().await;
    for (hops, max_redirects) in [(1, 1), (3, 10), (10, 10), (20, 20), (20, 1_000)] {
        let url = server.url(&format!("/redirect/{hops}"));
        let response = fetch(Request { max_redirects, ..get(url) }).await.unwrap();
        assert_eq!((response.status, response.url), (200, server.url("/echo")));
    }
    for (hops, max_redirects, limit) in [(2, 1, 1), (11, 10, 10), (21, 20, 20), (21, 1_000, 20)] {
        let url = server.url(&format!("/redirect/{hops}"));
        let error = fetch(Request { max_redirects, ..get(url) }).await.unwrap_err();
        assert_eq!(error, Error::TooManyRedirects { host: server.address.to_string(), limit });
    }
}

#[tokio::test]
async fn without_redirects_the_redirect_is_the_response() {
    let server = server().await;
    let response = fetch(Request { max_redirects: 0, ..get(server.url("/redirect/3")) }).await.unwrap();
    assert_eq!((response.status, response.url.clone()), (302, server.url("/redirect/3")));
    assert_eq!(values(&response, "location"), ["/redirect/2"]);
    assert_eq!(response.body, "elsewhere");
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_the_response() {
    assert_eq!(fetch(get(server().await.url("/lost"))).await.unwrap().status, 302);
}

#[tokio::test]
async fn redirects_keep_or_drop_the_body() {
    let server = server().await;
    for (status, method, body) in
        [(302, "GET", ""), (303, "GET", ""), (307, "POST", "body"), (308, "POST", "body")]
    {
        let url = server.url(&format!("/to/{status}?/echo"));
        let request = Request { method: "POST".to_owned(), body: Bytes::from_static(b"body"), ..get(url) };
        let response = fetch(request).await.unwrap();
        assert_eq!(
            (&values(&response, "echo-method")[0][..], &response.body[..]),
            (method.as_bytes(), body.as_bytes())
        );
    }
}

#[tokio::test]
async fn secrets_are_not_told_to_another_origin() {
    let (server, other) = (server().await, server().await);
    let headers = vec![pair(AUTHORIZATION.as_str(), b"s"), pair(COOKIE.as_str(), b"s"), pair("x-kept", b"k")];
    for (target, kept) in [(server.url("/echo"), 1), (other.url("/echo"), 0)] {
        let url = server.url(&format!("/to/302?{target}"));
        let response = fetch(Request { headers: headers.clone(), ..get(url) }).await.unwrap();
        assert_eq!(response.url, target);
        assert_eq!(values(&response, "echo-authorization").len(), kept);
        assert_eq!(values(&response, "echo-cookie").len(), kept);
        assert_eq!(values(&response, "echo-x-kept").len(), 1);
        assert!(values(&response, "echo-referer").is_empty());
    }
}

#[tokio::test]
async fn a_password_of_the_url_is_not_told_to_another_origin() {
    let (server, other) = (server().await, server().await);
    let url = server.url(&format!("/to/302?{}", other.url("/echo"))).replacen("//", "//user:word@", 1);
    let response = fetch(get(url)).await.unwrap();
    assert!(values(&response, "echo-authorization").is_empty());
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = server().await;
    let fetcher = open();
    for _ in 0..10 {
        let request =
            Request { method: "POST".to_owned(), body: Bytes::from_static(b"x"), ..get(server.url("/echo")) };
        fetcher.clone().fetch(request).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_hundred_at_once_are_no_trouble() {
    let router = Router::new().route(
        "/",
        on_get(async |headers: HeaderMap| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            headers["n"].as_bytes().to_vec()
        }),
    );
    let (server, fetcher) = (serve(router).await, open());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100_u32 {
        let request = Request { headers: vec![pair("n", n.to_string().as_bytes())], ..get(server.url("/")) };
        let fetcher = fetcher.clone();
        tasks.spawn(async move { (n, fetcher.fetch(request).await.unwrap().body) });
    }
    for (n, body) in tasks.join_all().await {
        assert_eq!(body, n.to_string());
    }
}
