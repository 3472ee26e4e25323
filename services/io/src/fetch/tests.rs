//! Fetches from real servers on loopback: `echo` well-behaved ones, `refusals` what the guard says, `trouble`
//! servers that misbehave.
#![allow(clippy::disallowed_methods, reason = "servers of the tests run as plain tasks")]

mod echo;
mod refusals;
mod servers;
mod trouble;

use std::time::Duration;

use bytes::Bytes;

use super::{Error, FetchConfig, Fetcher, Request, Response};

/// Far more than any of these needs, so that only a hang is a failure.
const GENEROUS: Duration = Duration::from_secs(20);

fn install_crypto() {
    // Another test may have been first.
    _ = rustls::crypto::ring::default_provider().install_default();
}

fn fetcher(config: FetchConfig) -> Fetcher {
    install_crypto();
    Fetcher::new(config).unwrap()
}

/// A node that may reach the servers of these tests.
fn open() -> Fetcher {
    fetcher(FetchConfig { allow_private: true, ..FetchConfig::default() })
}

fn get(url: impl Into<String>) -> Request {
    Request { url: url.into(), timeout: GENEROUS, ..Request::default() }
}

async fn fetch(request: Request) -> Result<Response, Error> {
    open().fetch(request).await
}

fn values(response: &Response, name: &str) -> Vec<Bytes> {
    response.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
}
