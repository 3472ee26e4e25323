//! Which gateway gets the next call: the one with the least on it, and where several have as little, each in its turn. So
//! calls that follow one another spread, and those that go side by side go where they are answered sooner.
//!
//! A gateway that refuses is done with a call at once and would look idle, the more the fewer calls it takes: it would be
//! given all of them. So what it has refused weighs on it as if it were still there, for about a second. While others take
//! calls, a gateway that refuses all has hardly more than it takes to notice that it does so no longer. Where all refuse,
//! all weigh more, which is as if none did. Knows neither clock nor network.

use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Code;

/// Of several links the one with the least on it; of those that have as little, the first from `turn` on.
pub(crate) fn lightest<L>(links: &[L], turn: usize, load: impl Fn(&L) -> usize) -> Option<&L> {
    let (later, from) = links.split_at(turn.checked_rem(links.len())?);
    from.iter().chain(later).min_by_key(|link| load(link))
}

/// Calls that a gateway has refused a short time ago.
#[derive(Default)]
pub(crate) struct Refusals(AtomicUsize);

impl Refusals {
    /// A call was answered this error.
    pub(crate) fn note(&self, code: Code) {
        if is_refusal(code) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn weight(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Once a second: three quarters are forgotten, and a single one.
    pub(crate) fn forget_most(&self) {
        let known = self.weight();
        self.0.fetch_sub(known - known / 4, Ordering::Relaxed);
    }
}

/// What a gateway says that has no room, no node, or does not know the method, as others may. Where it is the method's own
/// word, all gateways have their share of it.
fn is_refusal(code: Code) -> bool {
    matches!(code, Code::ResourceExhausted | Code::Unavailable | Code::Unimplemented)
}

#[cfg(test)]
mod tests {
    use super::{Refusals, lightest};
    use tonic::Code;

    #[test]
    fn the_lightest_is_taken_and_of_several_each_in_its_turn() {
        let taken = |loads: [usize; 3], turn: usize| {
            let links = [("a", loads[0]), ("b", loads[1]), ("c", loads[2])];
            lightest(&links, turn, |link| link.1).unwrap().0
        };
        assert_eq!([0, 1, 2, 3, usize::MAX].map(|turn| taken([7, 7, 7], turn)), ["a", "b", "c", "a", "a"]);
        assert_eq!([0, 1, 2].map(|turn| taken([2, 1, 3], turn)), ["b", "b", "b"]);
        assert_eq!([0, 1, 2].map(|turn| taken([1, 2, 1], turn)), ["a", "c", "c"]);
        assert_eq!(lightest(&[], 7, |load: &usize| *load), None);
    }

    #[test]
    fn only_refusals_weigh_and_they_are_forgotten() {
        let refusals = Refusals::default();
        for code in [Code::Ok, Code::NotFound, Code::DeadlineExceeded, Code::Internal] {
            refusals.note(code);
        }
        assert_eq!(refusals.weight(), 0);
        for _ in 0..100 {
            for code in [Code::ResourceExhausted, Code::Unavailable, Code::Unimplemented] {
                refusals.note(code);
            }
        }
        let mut weights = Vec::new();
        while refusals.weight() > 0 {
            weights.push(refusals.weight());
            refusals.forget_most();
        }
        assert_eq!(weights, [300, 75, 18, 4, 1]);
    }

    /// A gateway in steps of a millisecond.
    #[derive(Default)]
    struct Gateway {
        refusals: Refusals,
        /// When each call that it has is answered.
        ends: std::collections::VecDeque<u64>,
        taken: u64,
    }

    /// Ten calls a millisecond, each of which takes 20: how many each of three gateways had in each second.
    fn live(seconds: u64, refuses: impl Fn(usize, u64) -> bool) -> Vec<[u64; 3]> {
        let mut gateways: [Gateway; 3] = Default::default();
        let (mut turn, mut had) = (0, Vec::new());
        for now in 0..seconds * 1000 {
            for gateway in &mut gateways {
                while gateway.ends.front().is_some_and(|end| *end <= now) {
                    gateway.ends.pop_front();
                }
            }
            for _ in 0..10 {
                let order = [0, 1, 2];
                let load = |at: &usize| gateways[*at].ends.len() + gateways[*at].refusals.weight();
                let at = *lightest(&order, turn, load).unwrap();
                turn += 1;
                gateways[at].taken += 1;
                if refuses(at, now) {
                    gateways[at].refusals.note(Code::ResourceExhausted);
                } else {
                    gateways[at].ends.push_back(now + 20);
                }
            }
            if now % 1000 == 999 {
                gateways.iter().for_each(|gateway| gateway.refusals.forget_most());
                had.push(gateways.each_mut().map(|gateway| std::mem::take(&mut gateway.taken)));
            }
        }
        had
    }

    #[test]
    fn a_gateway_that_refuses_fast_does_not_attract_calls_and_is_not_forgotten() {
        let had = live(9, |at, now| at == 1 && now < 5000);
        assert!(had[..5].iter().all(|had| had[1] > 0 && had[1] < 200), "{had:?}");
        assert!(had[8].iter().all(|had| *had > 3000), "{had:?}");
    }

    #[test]
    fn where_all_refuse_all_are_asked() {
        for had in live(3, |_, _| true) {
            assert!(had.iter().all(|had| *had > 3000), "{had:?}");
        }
    }
}
