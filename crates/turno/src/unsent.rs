//! Calls that failed before they left, as a plain gRPC channel tells of them.

use std::error::Error;
use std::sync::Arc;

use tonic::Status;

/// Whether a call on a plain tonic channel failed without having been seen by a server, so that making it again can never
/// run it twice, whatever its `idempotency_level` says.
///
/// tonic does not repeat such calls by itself: the first ones after a server has asked its connection to end (GOAWAY)
/// fail with `CANCELLED` if others are still on their way, and while nobody listens they fail with `UNAVAILABLE`. The
/// channel dials again for the next one. [`crate::Client`] needs none of this.
///
/// ```no_run
/// # async fn example<F: Future<Output = turno::Result<()>>>(call: impl Fn() -> F) -> turno::Result<()> {
/// loop {
///     match call().await {
///         Err(status) if turno::never_sent(&status) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
///         answer => return answer,
///     }
/// }
/// # }
/// ```
///
/// What a server itself answers is never taken for this, nor is a connection that breaks with the call on it; but a map that
/// broke off while its requests were on their way to be a ticket ([`crate::ticket::SubmitMap`]) is: nothing is left of it.
/// So is a stream or a map for which [`crate::Client`] had no place.
pub fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        // Nobody listened, or what came of it is given up.
        let unreachable = error.is::<tonic::ConnectError>() || error.is::<NothingLeft>();
        // The connection ended while the call waited to be written.
        let waiting = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        if unreachable || waiting || error.downcast_ref::<h2::Error>().is_some_and(was_not_processed) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What was asked for has not happened, and will not.
#[derive(Debug, thiserror::Error)]
#[error("nothing of it is left at the gateway")]
struct NothingLeft;

/// Says so of an error of what may be asked for again as it is.
pub(crate) fn nothing_left(mut status: Status) -> Status {
    status.set_source(Arc::new(NothingLeft));
    status
}

/// What the server says of a stream that it has not looked at (RFC 9113, 8.7): it came after the last that counts, or was
/// refused.
fn was_not_processed(error: &h2::Error) -> bool {
    let ended = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (ended || refused)
}

#[cfg(test)]
mod tests {
    use super::{never_sent, nothing_left};
    use tonic::Status;

    #[test]
    fn what_a_server_answers_was_sent() {
        assert!(!never_sent(&Status::unavailable("the node was lost")));
        assert!(!never_sent(&Status::cancelled("operation was canceled")));
        assert!(never_sent(&nothing_left(Status::unavailable("the gateway is ending"))));
        assert!(never_sent(&Status::from_error(Box::new(tonic::ConnectError("refused".into())))));
        assert!(!never_sent(&Status::from_error(Box::new(h2::Error::from(h2::Reason::NO_ERROR)))));
    }
}
