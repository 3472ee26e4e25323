//! What a store's error is to a client.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use turno_store::Error;

/// Before a client comes again to a store that is full.
const SOON: Duration = Duration::from_secs(5);

/// The one mapping.
pub(crate) fn status(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::NotFound(_) => Status::not_found(text),
        Error::KeyTaken { .. } => Status::already_exists(text),
        Error::WrongState { .. } => Status::failed_precondition(text),
        Error::Superseded(_) | Error::Incomplete(_) => Status::aborted(text),
        Error::Contended | Error::Late(_) => Status::unavailable(text),
        Error::Unfit(_) => Status::invalid_argument(text),
        Error::Full => exhausted(text, SOON),
        Error::Damaged(_) => Status::data_loss(text),
        Error::Unavailable(_) => {
            tracing::warn!(error = text, "the store of tickets does not answer");
            Status::unavailable("the store of tickets does not answer")
        }
        _ => {
            tracing::error!(error = text, "the store of tickets cannot go on");
            Status::internal("the store of tickets cannot go on; the gateway's log says more")
        }
    }
}

/// A full house, and when to come again.
pub(crate) fn exhausted(what: impl Into<String>, come_again: Duration) -> Status {
    let soon = ErrorDetails::with_retry_info(Some(come_again));
    Status::with_error_details(Code::ResourceExhausted, what, soon)
}
