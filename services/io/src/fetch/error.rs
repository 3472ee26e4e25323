//! Every way in which a fetch ends without a response, told apart by what its caller can do. `http.rs` gives
//! each its gRPC code. What the client's own errors say beyond one line is logged, not sent.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use turno_runtime::units::Rounded;

use super::target::Refused;

/// A fetch without a response. Targets are named by host and port, never by the URL with what it may carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request cannot be sent: mend it.
    #[error("invalid {part}: {detail}")]
    Invalid {
        /// "url", "method" or "header".
        part: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The node must not reach this target, asked for or redirected to: ask the operator.
    #[error("{host} must not be reached from this node: {reason}")]
    Refused {
        /// The target.
        host: String,
        /// The rule that speaks against it.
        reason: Refused,
    },
    /// The server sends one redirect after the other: ask for more of them, or for a better URL.
    #[error("{host} redirects again after {limit} redirects")]
    TooManyRedirects {
        /// The last in the chain.
        host: String,
        /// How many were followed.
        limit: u32,
    },
    /// The body is above the limit: allow more, or ask for less.
    #[error("the response of {host} is larger than {limit} bytes")]
    TooLarge {
        /// Who sent it.
        host: String,
        /// The request's limit or the node's, the smaller.
        limit: u64,
    },
    /// The exchange was not over in time; the server may have acted on it.
    #[error("the exchange with {host} was not over after {}", Rounded(*.after))]
    TimedOut {
        /// The URL's host, before redirects.
        host: String,
        /// The request's timeout.
        after: Duration,
    },
    /// The server cannot be reached, and so has not acted on the request: try again later.
    #[error("{host} cannot be reached: {cause}")]
    Unreachable {
        /// Who cannot be reached.
        host: String,
        /// Why, in a few words.
        cause: String,
    },
    /// The server was reached and broke off; it may have acted on the request.
    #[error("{host} broke off: {cause}")]
    BrokenOff {
        /// Who broke off.
        host: String,
        /// How, in a few words.
        cause: String,
    },
}

impl Error {
    /// What the client says, in our words.
    pub(super) fn from_client(error: &reqwest::Error, host: String) -> Self {
        tracing::debug!(host, error = error as &dyn StdError, "fetch failed");
        if let Some(reason) = chain(error).find_map(|link| link.downcast_ref::<Refused>()) {
            return Self::Refused { host, reason: *reason };
        }
        let cause = cause(error);
        match error {
            _ if error.is_builder() => Self::Invalid { part: "url", detail: cause },
            _ if error.is_connect() => Self::Unreachable { host, cause },
            _ => Self::BrokenOff { host, cause },
        }
    }
}

type Link<'a> = &'a (dyn StdError + 'static);

fn chain(error: &reqwest::Error) -> impl Iterator<Item = Link<'_>> {
    std::iter::successors(Some(error as Link<'_>), |link: &Link<'_>| (*link).source())
}

/// The innermost error of the chain: the others only say whose it was.
fn cause(error: &reqwest::Error) -> String {
    let innermost = chain(error).last().map(|link| match link.downcast_ref::<io::Error>() {
        // "connection refused", not "Connection refused (os error 111)".
        Some(io) if io.raw_os_error().is_some() => io.kind().to_string(),
        _ => lower_case(&link.to_string()),
    });
    innermost.unwrap_or_default()
}

/// "Invalid chunk size" as the middle of a sentence; "DNS" stays.
fn lower_case(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain([second]).chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}
