//! What share of the turns before its threads a node keeps for the batch: the largest that its linked gateways say. A share is
//! promised to the batch, and calls are promised what is left, so no gateway's batch has less than it was promised.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::lanes::BatchShare;
use crate::node::share::LinkId;

/// By link, and what follows.
pub(crate) struct BatchShares {
    told: Mutex<Vec<(LinkId, BatchShare)>>,
    /// In millionths. Read before the threads, without the lock.
    largest: AtomicU32,
}

impl Default for BatchShares {
    fn default() -> Self {
        Self { told: Mutex::default(), largest: AtomicU32::new(BatchShare::default().millionths()) }
    }
}

impl BatchShares {
    /// The share as it is now; the default while no link stands.
    pub(crate) fn now(&self) -> BatchShare {
        BatchShare::of_millionths(self.largest.load(Ordering::Relaxed))
    }

    /// A link stands whose gateway says this; older ones say nothing.
    pub(crate) fn join(&self, link: LinkId, share: Option<f64>) {
        let share = share.map(BatchShare::new).unwrap_or_default();
        self.change(|told| told.push((link, share)));
    }

    /// A link is gone.
    pub(crate) fn leave(&self, link: LinkId) {
        self.change(|told| told.retain(|(known, _)| *known != link));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(LinkId, BatchShare)>)) {
        let mut told = self.told.lock();
        change(&mut told);
        let largest = told.iter().map(|(_, share)| *share).max().unwrap_or_default();
        self.largest.store(largest.millionths(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchShare, BatchShares, LinkId};

    #[test]
    fn the_largest_share_of_those_that_are_linked_counts() {
        let shares = BatchShares::default();
        let now = || shares.now().millionths();
        assert_eq!(now(), BatchShare::default().millionths());
        shares.join(LinkId(1), Some(0.0));
        assert_eq!(now(), 0);
        shares.join(LinkId(2), Some(0.5));
        shares.join(LinkId(3), Some(0.2));
        assert_eq!(now(), 500_000);
        shares.leave(LinkId(2));
        assert_eq!(now(), 200_000);
        shares.leave(LinkId(3));
        assert_eq!(now(), 0);
    }

    #[test]
    fn a_gateway_that_says_none_is_one_of_the_default() {
        let shares = BatchShares::default();
        shares.join(LinkId(1), Some(0.0));
        shares.join(LinkId(2), None);
        assert_eq!(shares.now(), BatchShare::default());
    }
}
