//! Where the time of many went: an [`Account`] of all of them, in counters.

use metrics::Counter;

use crate::account::{Account, NAMES, PARTS};

/// A counter for each part.
pub(crate) struct Spending([Counter; PARTS]);

impl Spending {
    /// Of what belongs to a method, under the name of a metric.
    pub(crate) fn new(metric: &'static str, method: &str) -> Self {
        Self(NAMES.map(|part| metrics::counter!(metric, "method" => method.to_owned(), "part" => part)))
    }

    /// Most have not been everywhere.
    pub(crate) fn add(&self, account: &Account) {
        for (counter, (_, us)) in self.0.iter().zip(account.parts()).filter(|(_, (_, us))| *us > 0) {
            counter.increment(us);
        }
    }
}
