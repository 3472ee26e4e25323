//! Where the time of a call went, from its arrival at the gateway to its outcome: parts that sum to the whole. Pure.

use std::fmt;
use std::time::Duration;

use turno_proto::mesh::v1::Cost;
use turno_runtime::units::micros;

/// The time of one call, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// At the gateway: reading the request, letting it in, finding its node.
    pub(crate) edge: u64,
    /// At the gateway: waiting for a place at a worker, or for a node to come.
    pub(crate) queue: u64,
    /// In attempts that came to nothing.
    pub(crate) again: u64,
    /// Between gateway and node.
    pub(crate) wire: u64,
    /// At the node, before it began: for a slot, or for a thread of the async runtime.
    pub(crate) window: u64,
    /// Begun, and off the core: what an `async fn` awaits, what a job is kept from.
    pub(crate) wait: u64,
    /// On a core.
    pub(crate) cpu: u64,
}

/// What the gateway has measured of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Routing, in all attempts.
    pub(crate) queue: Duration,
    /// Attempts that came to nothing.
    pub(crate) again: Duration,
    /// From sending the invocation that was answered to its outcome.
    pub(crate) away: Duration,
}

impl Account {
    /// Sorts the whole into its parts. Clocks of two machines are never compared; where roundings make a part longer
    /// than what it is a part of, the part gives way.
    pub(crate) fn new(whole: Duration, measured: &Measured, cost: Option<&Cost>) -> Self {
        let mut left = Left(micros(whole));
        let away = left.take(micros(measured.away));
        let queue = left.take(micros(measured.queue));
        let again = left.take(micros(measured.again));
        let edge = left.0;
        let cost = cost.copied().unwrap_or_default();
        let mut left = Left(away);
        let mut run = Left(left.take(cost.run_us));
        let window = left.take(cost.queue_us);
        let cpu = run.take(cost.cpu_us);
        Self { edge, queue, again, wire: left.0, window, wait: run.0, cpu }
    }

    /// The parts by name, in the order in which a call meets them.
    pub(crate) fn parts(&self) -> [(&'static str, u64); PARTS] {
        let Self { edge, queue, again, wire, window, wait, cpu } = *self;
        let values = [edge, queue, again, wire, window, wait, cpu];
        std::array::from_fn(|part| (NAMES[part], values[part]))
    }

    /// The whole.
    pub(crate) fn total(&self) -> u64 {
        self.parts().iter().map(|(_, us)| us).sum()
    }
}

/// How many parts there are.
pub(crate) const PARTS: usize = 7;
/// Their names, in the order of [`Account::parts`].
pub(crate) const NAMES: [&str; PARTS] = ["edge", "queue", "again", "wire", "window", "wait", "cpu"];

/// `total=1520us edge=12us queue=300us …`: the trailer `turno-explain`, and the log.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "total={}us", self.total())?;
        self.parts().iter().try_for_each(|(name, us)| write!(f, " {name}={us}us"))
    }
}

/// What is not accounted for yet.
struct Left(u64);

impl Left {
    fn take(&mut self, part: u64) -> u64 {
        let taken = part.min(self.0);
        self.0 -= taken;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Measured};
    use proptest::prelude::*;
    use std::time::Duration;
    use turno_proto::mesh::v1::Cost;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn every_part_has_its_time() {
        let measured = Measured { queue: us(300), again: us(0), away: us(1200) };
        let cost = Cost { queue_us: 50, run_us: 1000, cpu_us: 990, items: 0 };
        let account = Account::new(us(1520), &measured, Some(&cost));
        let text = "total=1520us edge=20us queue=300us again=0us wire=150us window=50us wait=10us cpu=990us";
        assert_eq!(account.to_string(), text);
    }

    proptest! {
        #[test]
        fn the_parts_sum_to_the_whole(
            whole: u32, queue: u32, again: u32, away: u32, waited: u64, run: u64, cpu: u64, known: bool,
        ) {
            let measured = Measured {
                queue: us(queue.into()), again: us(again.into()), away: us(away.into()),
            };
            let cost = Cost { queue_us: waited, run_us: run, cpu_us: cpu, items: 0 };
            let account = Account::new(us(whole.into()), &measured, known.then_some(&cost));
            prop_assert_eq!(account.total(), u64::from(whole));
        }
    }
}
