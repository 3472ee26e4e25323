//! What a method wants of the mesh, as its `.proto` says it.

use std::time::Duration;

use turno_proto::mesh::v1 as mesh;
use turno_runtime::units;

/// What `option (turno.v1.method)` says beside an rpc. Gateways keep to it; the method itself need not.
///
/// ```
/// use std::time::Duration;
/// use turno::rpc::Policy;
///
/// // What turno-build makes of { timeout: "2s" concurrency: 16 }.
/// const POLICY: Policy = Policy::NONE.with_timeout(Duration::from_secs(2)).with_concurrency(16);
/// assert_eq!(POLICY.timeout, Some(Duration::from_secs(2)));
/// assert_eq!(POLICY.hedge_after, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The longest that a call may take, whatever its own deadline says.
    pub timeout: Option<Duration>,
    /// Calls of it that run at once.
    pub concurrency: Option<u32>,
    /// How long one attempt may stay without an answer until a second one begins elsewhere.
    pub hedge_after: Option<Duration>,
    /// Attempts of a ticket after the first; 2 when not said.
    pub retries: Option<u32>,
}

impl Policy {
    /// Nothing: what an rpc without the option has.
    pub const NONE: Self = Self { timeout: None, concurrency: None, hedge_after: None, retries: None };

    /// With [`timeout`](Self::timeout).
    pub const fn with_timeout(self, longest: Duration) -> Self {
        Self { timeout: Some(longest), ..self }
    }

    /// With [`concurrency`](Self::concurrency).
    pub const fn with_concurrency(self, most: u32) -> Self {
        Self { concurrency: Some(most), ..self }
    }

    /// With [`hedge_after`](Self::hedge_after).
    pub const fn with_hedge_after(self, patience: Duration) -> Self {
        Self { hedge_after: Some(patience), ..self }
    }

    /// With [`retries`](Self::retries).
    pub const fn with_retries(self, most: u32) -> Self {
        Self { retries: Some(most), ..self }
    }

    /// As a node tells it to gateways.
    pub(crate) fn announced(self) -> Option<mesh::Policy> {
        (self != Self::NONE).then(|| mesh::Policy {
            timeout_us: self.timeout.map_or(0, micros),
            concurrency: self.concurrency.unwrap_or_default(),
            hedge_after_us: self.hedge_after.map_or(0, micros),
            retries: self.retries,
        })
    }
}

/// At least one: zero would say that nothing was said.
fn micros(time: Duration) -> u64 {
    units::micros(time).max(1)
}

#[cfg(test)]
mod tests {
    use super::{Duration, Policy, mesh};

    #[test]
    fn what_is_not_said_is_not_announced() {
        assert_eq!(Policy::NONE.announced(), None);
        let announced = Policy::NONE.with_timeout(Duration::from_millis(300)).announced();
        assert_eq!(announced, Some(mesh::Policy { timeout_us: 300_000, ..mesh::Policy::default() }));
    }

    #[test]
    fn no_retries_are_said_too() {
        let announced = Policy::NONE.with_retries(0).announced();
        assert_eq!(announced.and_then(|policy| policy.retries), Some(0));
    }

    #[test]
    fn a_time_too_short_for_the_wire_is_still_a_time() {
        let announced = Policy::NONE.with_hedge_after(Duration::from_nanos(1)).announced();
        assert_eq!(announced.map(|policy| policy.hedge_after_us), Some(1));
    }
}
