//! Servers that are too large, too slow, broken, absent or not who they say they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::servers::{nobody, serve_bytes, serve_raw};
use super::{Error, FetchConfig, GENEROUS, Request, fetch, fetcher, get, install_crypto, open};

const SOON: Duration = Duration::from_millis(200);

fn unreachable(error: Error) -> String {
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    error.to_string()
}

fn broken_off(error: Error) -> String {
    assert!(matches!(error, Error::BrokenOff { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_length_above_the_limit_is_refused_at_once() {
    let server = serve_raw(async |mut stream| {
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n").await;
        // The body never comes: whoever waits for it, waits for good.
        std::future::pending::<()>().await;
    })
    .await;
    let error = fetch(Request { max_bytes: 1_000, ..get(server.url("/")) }).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { host: server.address.to_string(), limit: 1_000 });
    assert_eq!(error.to_string(), format!("the response of {} is larger than 1000 bytes", server.address));
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let server = serve_raw(async |mut stream| {
        let mut bytes: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        while stream.write_all(bytes).await.is_ok() {
            bytes = b"4\r\nmore\r\n";
        }
    })
    .await;
    let error = fetch(Request { max_bytes: 100_000, ..get(server.url("/")) }).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { host: server.address.to_string(), limit: 100_000 });
}

#[tokio::test]
async fn a_body_at_the_limit_is_taken() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nmoremore"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nmore\r\n4\r\nmore\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nmoremore",
    ] {
        let server = serve_bytes(answer).await;
        let request = |max_bytes| Request { max_bytes, ..get(server.url("/")) };
        assert_eq!(fetch(request(8)).await.unwrap().body, "moremore");
        assert!(matches!(fetch(request(7)).await, Err(Error::TooLarge { limit: 7, .. })));
    }
}

#[tokio::test]
async fn the_nodes_own_limit_counts_too() {
    let server = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nmoremore").await;
    let node = fetcher(FetchConfig { allow_private: true, max_body: 5, ..FetchConfig::default() });
    let error = node.fetch(Request { max_bytes: u64::MAX, ..get(server.url("/")) }).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { host: server.address.to_string(), limit: 5 });
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let server = serve_raw(async |stream| {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let begun = Instant::now();
    let error = fetch(Request { timeout: SOON, ..get(server.url("/")) }).await.unwrap_err();
    assert!(begun.elapsed() >= SOON && begun.elapsed() < GENEROUS);
    assert_eq!(error, Error::TimedOut { host: server.address.to_string(), after: SOON });
    assert_eq!(error.to_string(), format!("the exchange with {} was not over after 200 ms", server.address));
}

#[tokio::test]
async fn a_server_that_dribbles_is_given_up() {
    let server = serve_raw(async |mut stream| {
        let mut bytes: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
        while stream.write_all(bytes).await.is_ok() {
            bytes = b".";
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let error = fetch(Request { timeout: SOON, ..get(server.url("/")) }).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn redirects_do_not_stretch_the_timeout() {
    let server = serve_raw(async |mut stream| {
        tokio::time::sleep(Duration::from_millis(70)).await;
        _ = stream
            .write_all(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    })
    .await;
    let error =
        fetch(Request { timeout: SOON, max_redirects: 20, ..get(server.url("/")) }).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_listens() {
    let address = nobody().await;
    let message = unreachable(fetch(get(format!("http://{address}/"))).await.unwrap_err());
    assert_eq!(message, format!("{address} cannot be reached: connection refused"));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unreachable() {
    let message = unreachable(fetch(get("http://no-such-name.invalid/")).await.unwrap_err());
    assert!(
        message.starts_with("no-such-name.invalid cannot be reached: failed to lookup address"),
        "{message}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_is_told() {
    for (answer, expected) in [
        (&b""[..], "connection closed before message completed"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "connection closed before message completed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart", "end of file before message length reached"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nmore\r\n",
            "unexpected EOF during chunk size line",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "invalid chunk size line"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "invalid HTTP version parsed"),
    ] {
        let server = serve_bytes(answer).await;
        let message = broken_off(fetch(get(server.url("/"))).await.unwrap_err());
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn a_node_lives_on_after_trouble() {
    let good = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let bad = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart").await;
    let fetcher = open();
    for _ in 0..3 {
        broken_off(fetcher.fetch(get(bad.url("/"))).await.unwrap_err());
        assert_eq!(fetcher.fetch(get(good.url("/"))).await.unwrap().body, "ok");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_refused() {
    install_crypto();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![signed.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            _ = acceptor.accept(stream).await;
        }
    });
    let message = unreachable(fetch(get(format!("https://{address}/"))).await.unwrap_err());
    assert!(message.contains(&format!("{address} cannot be reached: invalid peer certificate")), "{message}");
}

#[tokio::test]
async fn a_server_without_tls_is_no_https_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let message = unreachable(fetch(get(format!("https://{address}/"))).await.unwrap_err());
    assert!(message.contains("cannot be reached: "), "{message}");
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_unreachable() {
    // It waits for the end of an HTTP head, and never says a word of TLS.
    let server = serve_bytes(b"").await;
    let node = fetcher(FetchConfig { allow_private: true, connect_timeout: SOON, ..FetchConfig::default() });
    let error = node.fetch(get(format!("https://{}/", server.address))).await.unwrap_err();
    assert_eq!(unreachable(error), format!("{} cannot be reached: operation timed out", server.address));
}
