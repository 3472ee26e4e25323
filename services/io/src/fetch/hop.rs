//! One request of a chain: made by `fetcher` from what the caller asks for, then from each redirect. reqwest
//! follows redirects too, but as often as the *client* says; here the number comes with the request, and a
//! client for each would share no connections. Which redirect changes the method and drops which headers is
//! as in reqwest, save that no `referer` is sent. Pure: sends nothing, and leaves it to `target` whether the
//! hop may be taken.

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use super::target::is_http;
use super::{Error, Request};

#[cfg(test)]
mod tests;

/// One request, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// More than any server takes; a `HeaderMap` itself panics at 32,768.
const MOST_HEADERS: usize = 1_000;

/// Headers that say where a message ends or how its connection goes on. They are the client's own: one that
/// does not fit the body would shift the answers of others who use the connection later.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Describe a body, and go with it.
const OF_THE_BODY: &[&str] = &["content-encoding", "content-type"];

/// Meant for one origin, and told to no other.
const OF_THE_ORIGIN: &[&str] =
    &["authorization", "cookie", "cookie2", "host", "proxy-authorization", "www-authenticate"];

impl Hop {
    /// The first request of a chain.
    pub(super) fn first(request: Request) -> Result<Self, Error> {
        Ok(Self {
            method: method(&request.method)?,
            url: url(&request.url)?,
            headers: headers(request.headers)?,
            body: request.body,
        })
    }

    /// The request that a response asks for instead; none if it is no redirect or does not say whither.
    pub(super) fn redirected(&self, status: StatusCode, location: Option<&HeaderValue>) -> Option<Self> {
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = str::from_utf8(location?.as_bytes()).ok()?;
        let mut next = Self { url: self.url.join(location).ok()?, ..self.clone() };
        if drops_body(status, &self.method) {
            next.drop_body();
        }
        if next.url.origin() != self.url.origin() {
            OF_THE_ORIGIN.iter().for_each(|name| _ = next.headers.remove(*name));
        }
        Some(next)
    }

    fn drop_body(&mut self) {
        if self.method != Method::HEAD {
            self.method = Method::GET;
        }
        self.body = Bytes::new();
        OF_THE_BODY.iter().for_each(|name| _ = self.headers.remove(*name));
    }

    /// The target as errors name it: host and port, or the scheme of a URL that has none.
    pub(super) fn target(&self) -> String {
        match (self.url.host_str(), self.url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => format!("{}:", self.url.scheme()),
        }
    }
}

fn drops_body(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        301 | 302 => method == Method::POST,
        status => status == 303,
    }
}

fn method(text: &str) -> Result<Method, Error> {
    match Method::from_bytes(text.as_bytes()) {
        // It asks a proxy for a tunnel.
        Ok(Method::CONNECT) => Err(invalid("method", "CONNECT cannot be fetched".to_owned())),
        Ok(method) => Ok(method),
        Err(_) => Err(invalid("method", format!("{} is not an HTTP method", quoted(text)))),
    }
}

fn url(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|error| invalid("url", error.to_string()))?;
    if is_http(&url) {
        Ok(url)
    } else {
        Err(invalid("url", format!("scheme {}, not http or https", url.scheme())))
    }
}

fn headers(pairs: Vec<(String, Bytes)>) -> Result<HeaderMap, Error> {
    if pairs.len() > MOST_HEADERS {
        return Err(invalid("header", format!("{} headers, at most {MOST_HEADERS}", pairs.len())));
    }
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let (name, value) = header(&name, value)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn header(name: &str, value: Bytes) -> Result<(HeaderName, HeaderValue), Error> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| invalid("header", format!("{} is not a header name", quoted(name))))?;
    if FRAMING.contains(&parsed.as_str()) {
        return Err(invalid("header", format!("{parsed} is set by the node")));
    }
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| {
        invalid("header", format!("the value of {parsed} has bytes that HTTP does not allow"))
    })?;
    Ok((parsed, value))
}

fn invalid(part: &'static str, detail: String) -> Error {
    Error::Invalid { part, detail }
}

/// Enough of it to be recognised.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}
