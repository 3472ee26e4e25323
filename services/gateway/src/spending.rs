//! Where the time of many went: an [`Account`] of all of them, in counters.

use metrics::Counter;
use turno_runtime::metrics::CounterFamily;

use crate::account::{Account, NAMES, PARTS};

/// A counter for each part.
pub(crate) struct Spending([Counter; PARTS]);

impl Spending {
    /// Of what belongs to a method.
    pub(crate) fn new(metric: CounterFamily, method: &str) -> Self {
        Self(NAMES.map(|part| metric.with([("method", method.to_owned().into()), ("part", part.into())])))
    }

    /// Most have not been everywhere.
    pub(crate) fn add(&self, account: &Account) {
        for (counter, (_, us)) in self.0.iter().zip(account.parts()).filter(|(_, (_, us))| *us > 0) {
            counter.increment(us);
        }
    }
}
