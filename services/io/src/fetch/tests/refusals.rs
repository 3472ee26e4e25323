//! What the node must not reach, by whatever way it is asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, LOCATION};
use axum::routing::get as on_get;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::super::target::Refused;
use super::servers::{Server, serve};
use super::{Error, FetchConfig, Fetcher, fetch, fetcher, get, install_crypto, open};

async fn redirecting_to(location: String) -> Server {
    serve(Router::new().route("/", on_get(async move || (StatusCode::FOUND, [(LOCATION, location)])))).await
}

fn reason(error: Error) -> Refused {
    match error {
        Error::Refused { reason, .. } => reason,
        other => panic!("not refused but {other:?}"),
    }
}

#[tokio::test]
async fn loopback_needs_permission() {
    let server = serve(Router::new().route("/", on_get(async || "inside"))).await;
    let port = server.address.port();
    let closed = fetcher(FetchConfig::default());
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
    ] {
        let error = closed.fetch(get(format!("http://{host}:{port}/"))).await.unwrap_err();
        assert_eq!(reason(error), Refused::Loopback, "{host}");
    }
    assert_eq!(server.connections(), 0);
    for host in ["127.0.0.1", "localhost", "127.1", "2130706433"] {
        assert_eq!(
            open().fetch(get(format!("http://{host}:{port}/"))).await.unwrap().body,
            "inside",
            "{host}"
        );
    }
}

#[tokio::test]
async fn some_targets_are_refused_always() {
    for (url, expected) in [
        ("http://169.254.169.254/latest/meta-data/", Refused::Metadata),
        ("http://[fe80::1]/", Refused::LinkLocal),
        ("http://0.0.0.0/", Refused::Unspecified),
        ("https://224.0.0.1/", Refused::Multicast),
        ("http://255.255.255.255/", Refused::Broadcast),
        ("http://[2002:a9fe:a9fe::]/", Refused::Metadata),
    ] {
        assert_eq!(reason(fetch(get(url)).await.unwrap_err()), expected, "{url}");
    }
}

#[tokio::test]
async fn a_refusal_names_host_and_reason_only() {
    let closed = fetcher(FetchConfig::default());
    let error = closed.fetch(get("http://user:word@localhost:81/path?key=1")).await.unwrap_err();
    assert_eq!(error.to_string(), "localhost:81 must not be reached from this node: a loopback address");
}

#[tokio::test]
async fn a_redirect_does_not_lead_round_the_guard() {
    for (location, expected) in [
        ("http://169.254.169.254/latest/meta-data/", Refused::Metadata),
        ("//169.254.169.254/", Refused::Metadata),
        ("http://[::ffff:a9fe:a9fe]/", Refused::Metadata),
        ("http://0/", Refused::Unspecified),
        ("file:///etc/passwd", Refused::Scheme),
        ("ftp://example.com/", Refused::Scheme),
        ("data:,x", Refused::Scheme),
    ] {
        let server = redirecting_to(location.to_owned()).await;
        assert_eq!(reason(fetch(get(server.url("/"))).await.unwrap_err()), expected, "{location}");
    }
}

#[tokio::test]
async fn a_later_redirect_does_not_either() {
    let second = redirecting_to("http://169.254.169.254/".to_owned()).await;
    let first = redirecting_to(second.url("/")).await;
    assert_eq!(reason(fetch(get(first.url("/"))).await.unwrap_err()), Refused::Metadata);
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

/// A name server of an attacker's: loopback at first, the metadata service from the second question on.
struct Rebinding(Arc<AtomicUsize>);

impl Resolve for Rebinding {
    fn resolve(&self, _: Name) -> Resolving {
        let ip =
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 { [127, 0, 0, 1] } else { [169, 254, 169, 254] };
        Box::pin(async move { Ok(Box::new(std::iter::once(SocketAddr::from((ip, 0)))) as Addrs) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_judged_anew() {
    install_crypto();
    let questions = Arc::new(AtomicUsize::new(0));
    let config = FetchConfig { allow_private: true, ..FetchConfig::default() };
    let fetcher = Fetcher::with_resolver(config, Rebinding(Arc::clone(&questions))).unwrap();
    let server = serve(Router::new().route("/", on_get(async || ([(CONNECTION, "close")], "once")))).await;
    let url = format!("http://rebinding.test:{}/", server.address.port());
    assert_eq!(fetcher.fetch(get(url.as_str())).await.unwrap().body, "once");
    assert_eq!(reason(fetcher.fetch(get(url)).await.unwrap_err()), Refused::Metadata);
    assert_eq!((questions.load(Ordering::SeqCst), server.connections()), (2, 1));
}
