//! What a method wants of the mesh, as a gateway keeps to it: `turno.v1.MethodPolicy`, told by the nodes that serve it.

use std::num::NonZeroU32;
use std::time::Duration;

use turno_proto::mesh::v1::{Kind, Method};

/// What a node says of one of its methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The longest that a call may take, whatever its own deadline says.
    pub(crate) timeout: Option<Duration>,
    /// Calls that run at once, as far as this gateway sends them.
    pub(crate) concurrency: Option<NonZeroU32>,
    /// A second attempt begins after so long without an answer. Only for what may be begun twice.
    pub(crate) hedge_after: Option<Duration>,
    /// Attempts of a ticket after the first.
    pub(crate) retries: Option<u32>,
}

impl Policy {
    /// turno-build refuses to hedge what may not be repeated, but a node may be built of anything.
    pub(crate) fn of(method: &Method) -> Self {
        let said = method.policy.unwrap_or_default();
        let may_hedge = method.repeatable && method.kind() != Kind::Stream && !method.takes_stream;
        Self {
            timeout: time(said.timeout_us),
            concurrency: NonZeroU32::new(said.concurrency),
            hedge_after: time(said.hedge_after_us).filter(|_| may_hedge),
            retries: said.retries,
        }
    }
}

/// Zero stands for "not said".
fn time(micros: u64) -> Option<Duration> {
    (micros > 0).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use turno_proto::mesh::v1::{Kind, Method, Policy as Said};

    use super::{Duration, Policy};

    const SAID: Said = Said { timeout_us: 300_000, concurrency: 2, hedge_after_us: 50_000, retries: Some(0) };

    #[test]
    fn zero_is_nothing_said() {
        assert_eq!(Policy::of(&Method::default()), Policy::default());
        let method = Method { policy: Some(Said::default()), repeatable: true, ..Method::default() };
        assert_eq!(Policy::of(&method), Policy::default());
    }

    #[test]
    fn only_what_may_be_begun_twice_is_hedged() {
        let method = Method { policy: Some(SAID), kind: Kind::Job.into(), ..Method::default() };
        let policy = Policy::of(&method);
        assert_eq!(policy.timeout, Some(Duration::from_millis(300)));
        assert_eq!(policy.concurrency.map(u32::from), Some(2));
        assert_eq!(policy.hedge_after, None);
        assert_eq!(policy.retries, Some(0));
        let repeatable = Method { repeatable: true, ..method };
        assert_eq!(Policy::of(&repeatable).hedge_after, Some(Duration::from_millis(50)));
        let stream = Method { kind: Kind::Stream.into(), ..repeatable };
        assert_eq!(Policy::of(&stream).hedge_after, None);
    }
}
