//! What a caller asks for and gets, before anything of it is checked. Filled by `http.rs`.

use std::time::Duration;

use bytes::Bytes;

/// One request, and how far to go with it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `http://` or `https://`.
    pub url: String,
    /// As it goes on the wire; methods are case-sensitive.
    pub method: String,
    /// Names and values, in order; names may repeat.
    pub headers: Vec<(String, Bytes)>,
    /// Sent again with a redirect that keeps the method.
    pub body: Bytes,
    /// How many redirects to follow, at most [`Request::MOST_REDIRECTS`]; with 0 the redirect itself is the
    /// response.
    pub max_redirects: u32,
    /// For the whole exchange: names, connections, redirects, the body's last byte.
    pub timeout: Duration,
    /// The largest response body to take; the fetcher's own limit applies too.
    pub max_bytes: u64,
}

impl Request {
    /// What `max_redirects` is cut to.
    pub const MOST_REDIRECTS: u32 = 20;
}

impl Default for Request {
    fn default() -> Self {
        Self {
            url: String::new(),
            method: "GET".to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            max_redirects: 10,
            timeout: Duration::from_secs(30),
            max_bytes: 32 << 20,
        }
    }
}

/// The last response of the chain, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// Names in lower case, in the order in which they first came; a repeated one once for each value.
    pub headers: Vec<(String, Bytes)>,
    /// As it was sent: a `content-encoding` is not undone.
    pub body: Bytes,
    /// Where it came from, after redirects, without user and password.
    pub url: String,
}
