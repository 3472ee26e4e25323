//! `turno.io.v1.Http`: HTTP requests in the name of a method. Registered by the I/O node; only puts `fetch`
//! on the wire, and maps its errors to gRPC's codes, here and nowhere else.

use std::time::Duration;

use tonic_types::StatusExt as _;
use turno::io::v1::{FetchRequest, FetchResponse, Header, http};
use turno_proto::status::{ANSWER_TOO_LARGE, because};

use crate::fetch::{self, FetchConfig, Fetcher};

#[cfg(test)]
mod tests;

/// The service.
pub struct Http {
    fetcher: Fetcher,
}

impl Http {
    /// A service with connections of its own. Fails only if TLS cannot be set up.
    pub fn new(config: FetchConfig) -> Result<Self, reqwest::Error> {
        Ok(Self { fetcher: Fetcher::new(config)? })
    }
}

#[turno::service(http)]
impl Http {
    /// Waits for a server of the world outside.
    async fn fetch(&self, req: FetchRequest) -> turno::Result<FetchResponse> {
        self.fetcher.fetch(request(req)).await.map(response).map_err(|error| status(&error))
    }
}

/// What is absent, empty or zero on the wire has its default.
fn request(req: FetchRequest) -> fetch::Request {
    let default = fetch::Request::default();
    fetch::Request {
        url: req.url,
        method: if req.method.is_empty() { default.method } else { req.method },
        headers: req.headers.into_iter().map(|header| (header.name, header.value)).collect(),
        body: req.body,
        max_redirects: req.max_redirects.unwrap_or(default.max_redirects),
        timeout: match req.timeout_ms {
            0 => default.timeout,
            timeout => Duration::from_millis(timeout.into()),
        },
        max_bytes: if req.max_bytes == 0 { default.max_bytes } else { req.max_bytes },
    }
}

fn response(answer: fetch::Response) -> FetchResponse {
    FetchResponse {
        status: answer.status.into(),
        headers: answer.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
        body: answer.body,
        url: answer.url,
    }
}

fn status(error: &fetch::Error) -> turno::Status {
    let (code, text) = (code(error), error.to_string());
    if !matches!(error, fetch::Error::TooLarge { .. }) {
        return turno::Status::new(code, text);
    }
    // By that a ticket knows that it need not try again.
    turno::Status::with_error_details(code, text, because(ANSWER_TOO_LARGE))
}

fn code(error: &fetch::Error) -> turno::Code {
    match error {
        fetch::Error::Invalid { .. } => turno::Code::InvalidArgument,
        fetch::Error::Refused { .. } => turno::Code::PermissionDenied,
        fetch::Error::TooManyRedirects { .. } => turno::Code::FailedPrecondition,
        fetch::Error::TooLarge { .. } => turno::Code::ResourceExhausted,
        fetch::Error::TimedOut { .. } => turno::Code::DeadlineExceeded,
        fetch::Error::Unreachable { .. } | fetch::Error::BrokenOff { .. } => turno::Code::Unavailable,
    }
}
