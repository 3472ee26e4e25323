//! Sends requests and follows redirects, over connections that are kept. Owned by the `Http` service, shared
//! by all its calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::Resolve;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, ClientBuilder, redirect};

use super::body::collect;
use super::hop::Hop;
use super::resolver::{GuardedResolver, SystemResolver};
use super::{Error, Request, Response, target};

/// What one node allows its callers.
#[derive(Clone, Debug)]
pub struct FetchConfig {
    /// Whether loopback and private networks may be reached. Off by default: on a node that strangers call,
    /// it would open the operator's own network to them.
    pub allow_private: bool,
    /// The largest response body, whatever a request allows: 64 MiB by default.
    pub max_body: u64,
    /// For one connection, name and TLS included: 10 s by default.
    pub connect_timeout: Duration,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { allow_private: false, max_body: 64 << 20, connect_timeout: Duration::from_secs(10) }
    }
}

/// One HTTP client for all callers of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    config: FetchConfig,
}

/// How far to go with one request.
struct Limits {
    redirects: u32,
    bytes: u64,
}

impl Fetcher {
    /// A client with no connections yet. The process must have installed a crypto provider of rustls before.
    /// Without root certificates on the machine the client works, and `https` targets fail one by one.
    pub fn new(config: FetchConfig) -> Result<Self, reqwest::Error> {
        Self::with_resolver(config, SystemResolver)
    }

    pub(super) fn with_resolver<R>(config: FetchConfig, inner: R) -> Result<Self, reqwest::Error>
    where
        R: Resolve + 'static,
    {
        let resolver = Arc::new(GuardedResolver { inner, allow_private: config.allow_private });
        Ok(Self { client: client(&config, &resolver)?, config })
    }

    /// Sends `request`, follows its redirects and answers the last response, whatever its status.
    pub async fn fetch(&self, request: Request) -> Result<Response, Error> {
        let limits = Limits {
            redirects: request.max_redirects.min(Request::MOST_REDIRECTS),
            bytes: request.max_bytes.min(self.config.max_body),
        };
        let after = request.timeout;
        let first = Hop::first(request)?;
        let host = first.target();
        let exchange = self.exchange(first, limits);
        tokio::time::timeout(after, exchange).await.unwrap_or(Err(Error::TimedOut { host, after }))
    }

    async fn exchange(&self, mut hop: Hop, limits: Limits) -> Result<Response, Error> {
        let mut followed = 0;
        loop {
            let answer = self.send(&hop).await?;
            match hop.redirected(answer.status(), answer.headers().get(LOCATION)) {
                Some(next) if followed < limits.redirects => hop = next,
                Some(_) if limits.redirects > 0 => {
                    return Err(Error::TooManyRedirects { host: hop.target(), limit: limits.redirects });
                }
                _ => return take(answer, limits.bytes, &hop.target()).await,
            }
            followed += 1;
        }
    }

    /// The only place where a request leaves: whatever led to the hop, it is checked here.
    async fn send(&self, hop: &Hop) -> Result<reqwest::Response, Error> {
        target::check(&hop.url, self.config.allow_private)
            .map_err(|reason| Error::Refused { host: hop.target(), reason })?;
        let request = self.client.request(hop.method.clone(), hop.url.clone());
        let sent = request.headers(hop.headers.clone()).body(hop.body.clone()).send().await;
        sent.map_err(|error| Error::from_client(&error, hop.target()))
    }
}

async fn take(answer: reqwest::Response, limit: u64, host: &str) -> Result<Response, Error> {
    Ok(Response {
        status: answer.status().as_u16(),
        headers: pairs(answer.headers()),
        url: answer.url().to_string(),
        body: collect(answer, limit, host).await?,
    })
}

fn pairs(headers: &HeaderMap) -> Vec<(String, Bytes)> {
    let value = |value: &HeaderValue| Bytes::copy_from_slice(value.as_bytes());
    headers.iter().map(|(name, bytes)| (name.as_str().to_owned(), value(bytes))).collect()
}

/// A client that verifies against the platform's roots. If there are none, one that trusts nobody: a node in
/// a bare container still serves `http`.
fn client<R>(config: &FetchConfig, resolver: &Arc<R>) -> Result<Client, reqwest::Error>
where
    R: Resolve + 'static,
{
    builder(config, Arc::clone(resolver)).build().or_else(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "no root certificates: https targets will fail"
        );
        builder(config, Arc::clone(resolver)).tls_certs_only([]).build()
    })
}

/// Everything that would go round the guard or change a response is off, even if another crate turns its
/// feature on.
fn builder<R>(config: &FetchConfig, resolver: Arc<R>) -> ClientBuilder
where
    R: Resolve + 'static,
{
    Client::builder()
        .user_agent(concat!("turno/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.connect_timeout)
        .dns_resolver(resolver)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
}
