//! Where the time of a call went, from its arrival at the gateway to its end: parts that sum to the whole. Pure.

use std::fmt;
use std::ops::AddAssign;
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
    /// At a node, or on the way there, where no node says what became of it: one that was lost, or a call that was given
    /// up before its outcome came.
    pub(crate) away: u64,
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
    /// Attempts that came to nothing, and were followed by another.
    pub(crate) again: Duration,
    /// From sending the last invocation to its outcome, or to the end of the call if none had come.
    pub(crate) away: Duration,
}

impl Account {
    /// Sorts the whole into its parts; what was away cannot be sorted without the node's word. Clocks of two machines are
    /// never compared; where roundings make a part longer than what it is a part of, the part gives way.
    pub(crate) fn new(whole: Duration, measured: &Measured, cost: Option<&Cost>) -> Self {
        let mut left = Left(micros(whole));
        let away = left.take(micros(measured.away));
        let queue = left.take(micros(measured.queue));
        let again = left.take(micros(measured.again));
        let here = Self { edge: left.0, queue, again, ..Self::default() };
        let Some(cost) = cost else { return Self { away, ..here } };
        let mut left = Left(away);
        let mut run = Left(left.take(cost.run_us));
        let window = left.take(cost.queue_us);
        let cpu = run.take(cost.cpu_us);
        Self { wire: left.0, window, wait: run.0, cpu, ..here }
    }

    /// Of a chunk of a map. Its items may have run side by side, and each has its own time: together they may have had more
    /// than the chunk was away.
    pub(crate) fn of_chunk(whole: Duration, measured: &Measured, cost: Option<&Cost>) -> Self {
        let there = cost.map_or(0, |cost| cost.queue_us.saturating_add(cost.run_us));
        let beside = Duration::from_micros(there.saturating_sub(micros(measured.away)));
        let away = measured.away.saturating_add(beside);
        Self::new(whole.saturating_add(beside), &Measured { away, ..*measured }, cost)
    }

    /// The parts by name, in the order in which a call meets them.
    pub(crate) fn parts(&self) -> [(&'static str, u64); PARTS] {
        let Self { edge, queue, again, away, wire, window, wait, cpu } = *self;
        let values = [edge, queue, again, away, wire, window, wait, cpu];
        std::array::from_fn(|part| (NAMES[part], values[part]))
    }

    /// The whole.
    pub(crate) fn total(&self) -> u64 {
        self.parts().iter().map(|(_, us)| us).sum()
    }
}

/// Of many, one after another or side by side: each part has the time of all.
impl AddAssign for Account {
    fn add_assign(&mut self, one: Self) {
        let Self { edge, queue, again, away, wire, window, wait, cpu } = self;
        let mine = [edge, queue, again, away, wire, window, wait, cpu];
        mine.into_iter().zip(one.parts()).for_each(|(sum, (_, us))| *sum = sum.saturating_add(us));
    }
}

/// How many parts there are.
pub(crate) const PARTS: usize = 8;
/// Their names, in the order of [`Account::parts`].
pub(crate) const NAMES: [&str; PARTS] = ["edge", "queue", "again", "away", "wire", "window", "wait", "cpu"];

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
        let text = "total=1520us edge=20us queue=300us again=0us away=0us wire=150us window=50us wait=10us cpu=990us";
        assert_eq!(account.to_string(), text);
    }

    #[test]
    fn what_no_node_has_sorted_is_not_said_to_be_the_wires() {
        let measured = Measured { queue: us(300), again: us(7), away: us(1200) };
        let account = Account::new(us(1520), &measured, None);
        let expected = Account { edge: 13, queue: 300, again: 7, away: 1200, ..Account::default() };
        assert_eq!((account, account.total()), (expected, 1520));
    }

    #[test]
    fn items_that_ran_side_by_side_have_each_its_own_time() {
        let measured = Measured { queue: us(300), again: us(0), away: us(1200) };
        let cost = Cost { queue_us: 100, run_us: 20_000, cpu_us: 3_000, items: 20 };
        let account = Account::of_chunk(us(1520), &measured, Some(&cost));
        let expected =
            Account { edge: 20, queue: 300, window: 100, wait: 17_000, cpu: 3_000, ..Account::default() };
        assert_eq!(account, expected);
        let one_by_one = Cost { queue_us: 50, run_us: 1000, cpu_us: 990, items: 20 };
        let (chunk, call) = (
            Account::of_chunk(us(1520), &measured, Some(&one_by_one)),
            Account::new(us(1520), &measured, Some(&one_by_one)),
        );
        assert_eq!(chunk, call);
        let mut both = account;
        both += call;
        assert_eq!((both.total(), both.cpu), (account.total() + call.total(), 3_990));
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
