//! What the writer has not made, counted by why: where every change has its answer, so that nobody has to count beside it. Every
//! try counts: what is held until the store takes it is tried again and again.

use metrics::Counter;

use crate::change::{Answer, Answered};
use crate::error::Error;

const REFUSED: &str = "turno_store_refused_total";

/// Changes, by what keeps the store from making them. That one cannot be made as it was asked for is not the store's doing.
pub(crate) struct Refused {
    full: Counter,
    late: Counter,
    failed: Counter,
    unusable: Counter,
    /// Nobody knows of some of these.
    away: Counter,
}

impl Refused {
    /// Whoever watches sees from the beginning that there are none.
    pub(crate) fn new() -> Self {
        let by = |reason: &'static str| metrics::counter!(REFUSED, "reason" => reason);
        Self {
            full: by("full"),
            late: by("late"),
            failed: by("failed"),
            unusable: by("unusable"),
            away: by("away"),
        }
    }

    pub(crate) fn count(&self, answered: &Answered) {
        let counter = match answered {
            Ok(Answer::NoSpace) | Err(Error::Full) => &self.full,
            Err(Error::Contended | Error::Late(_)) => &self.late,
            Err(Error::Failed(_)) => &self.failed,
            Err(Error::Unusable(_)) => &self.unusable,
            Err(Error::Away(_) | Error::Unavailable(_)) => &self.away,
            Ok(_)
            | Err(
                Error::NotFound(_)
                | Error::Exists(_)
                | Error::KeyTaken { .. }
                | Error::WrongState { .. }
                | Error::Superseded(_)
                | Error::Incomplete(_)
                | Error::Unfit(_)
                | Error::Damaged(_),
            ) => return,
        };
        counter.increment(1);
    }
}
