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
        // The store has told the log.
        Error::Full => exhausted(text, SOON),
        Error::Damaged(_) => Status::data_loss(text),
        Error::Unavailable(why) => away(&why, "the store of tickets does not answer"),
        Error::Failed(why) => {
            away(&why, "the store of tickets has failed at it, and nothing was stored by this try")
        }
        Error::Away(why) => {
            away(&why, "the store of tickets does not answer, and nothing was stored by this try")
        }
        _ => {
            tracing::error!(error = text, "the store of tickets cannot go on");
            Status::internal("the store of tickets cannot go on; the gateway's log says more")
        }
    }
}

fn away(why: &str, told: &'static str) -> Status {
    tracing::warn!(error = why, "{told}");
    Status::unavailable(told)
}

/// Of a submit: where nobody knows, who submits must know that. Whoever sends it again by himself tells by the details that
/// nothing was stored.
pub(crate) fn of_submit(error: Error) -> Status {
    match error {
        Error::Contended | Error::Late(_) | Error::Failed(_) | Error::Away(_) => {
            let sure = status(error);
            come_again(sure.code(), sure.message(), SOON)
        }
        Error::Unavailable(why) => away(
            &why,
            "the store of tickets does not answer: the ticket may be stored. With its idempotency key, if it has one, it is \
             the same when it is submitted again",
        ),
        error => status(error),
    }
}

/// Of what is read for a submit before it comes to storing: nothing was, whoever is away.
pub(crate) fn before_submit(error: Error) -> Status {
    of_submit(match error {
        Error::Unavailable(why) => Error::Away(why),
        error => error,
    })
}

/// Of a page that is looked for. What was too much for the time that a reader has is so the next time too: who asks for the same
/// again must not be told to.
pub(crate) fn of_listing(error: Error) -> Status {
    let Error::Late(why) = error else { return status(error) };
    tracing::warn!(error = why, "a listing takes longer than a reader may");
    Status::failed_precondition(
        "the store could not find these tickets in the time that a reader has: narrow the filter, or ask for a smaller page. \
         Tickets are found at once by any state but done; by method, tenant, labels and submitted_at they are looked \
         through one after another, the newest first",
    )
}

/// A full house, and when to come again.
pub(crate) fn exhausted(what: impl Into<String>, soon: Duration) -> Status {
    come_again(Code::ResourceExhausted, what, soon)
}

fn come_again(code: Code, what: impl Into<String>, soon: Duration) -> Status {
    Status::with_error_details(code, what, ErrorDetails::with_retry_info(Some(soon)))
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;
    use turno_store::Error;

    use super::{SOON, before_submit, of_listing, of_submit, status};

    #[test]
    fn a_store_that_is_full_is_told_from_one_that_is_away() {
        let full = status(Error::Full);
        assert_eq!(full.code(), Code::ResourceExhausted);
        assert!(full.message().contains("nothing was stored"), "{full}");
        assert_eq!(full.get_details_retry_info().and_then(|info| info.retry_delay), Some(SOON));
        // Where the database is, and how it is, is for the gateway's log alone.
        let away = status(Error::Unavailable("PostgreSQL ends for want of space at /srv".into()));
        assert_eq!(away.code(), Code::Unavailable);
        assert!(!away.message().contains("/srv"), "{away}");
        let failed = status(Error::Failed("could not read /srv".into()));
        assert_eq!(failed.code(), Code::Unavailable);
        assert!(!failed.message().contains("/srv"), "{failed}");
    }

    #[test]
    fn who_submits_is_told_whether_the_ticket_may_be_stored() {
        for (error, told) in [
            (Error::Away("it is gone".into()), "nothing was stored"),
            (Error::Failed("out of memory".into()), "nothing was stored"),
            (Error::Unavailable("it is gone".into()), "may be stored"),
            (Error::Full, "nothing was stored"),
        ] {
            let refused = of_submit(error);
            assert!(refused.message().contains(told), "{refused}");
        }
        let away = of_submit(Error::Away("it is gone".into()));
        assert_eq!(away.code(), Code::Unavailable);
        // An earlier one may have stored it.
        assert!(away.message().ends_with("by this try"), "{away}");
        assert_eq!(away.get_details_retry_info().and_then(|info| info.retry_delay), Some(SOON));
        let doubtful = of_submit(Error::Unavailable("it is gone".into()));
        assert_eq!((doubtful.code(), doubtful.details()), (Code::Unavailable, &b""[..]));
    }

    #[test]
    fn what_is_read_before_a_submit_leaves_no_doubt() {
        for error in [Error::Unavailable("it is gone".into()), Error::Late("it is slow".into())] {
            let sure = before_submit(error);
            assert_eq!(sure.code(), Code::Unavailable);
            assert!(!sure.message().contains("may be stored"), "{sure}");
            assert_eq!(sure.get_details_retry_info().and_then(|info| info.retry_delay), Some(SOON));
        }
    }

    #[test]
    fn a_listing_that_takes_too_long_is_not_asked_for_again() {
        let late = || Error::Late("canceling statement due to statement timeout".into());
        let told = of_listing(late());
        assert_eq!(told.code(), Code::FailedPrecondition);
        assert!(told.message().contains("narrow the filter"), "{told}");
        assert_eq!(status(late()).code(), Code::Unavailable);
        assert_eq!(of_listing(Error::Unavailable("it is gone".into())).code(), Code::Unavailable);
    }
}
