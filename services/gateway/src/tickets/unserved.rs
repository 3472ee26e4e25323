//! The methods that nobody serves and something waits for. Claims pass it over, for an attempt that is only given back takes
//! a number, and the store's time. A table: nothing is awaited with it in hand.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Claims carry them. What waits for others is claimed and given back, later and later.
const MOST: usize = 256;

/// Those of one gateway; what was named last is the last one.
#[derive(Default)]
pub(crate) struct Unserved(Mutex<VecDeque<String>>);

impl Unserved {
    /// Something waits for `method`. Answers whether it waits for a node: then claims pass it over until one comes.
    pub(crate) fn wait(&self, method: &str, is_served: impl Fn(&str) -> bool) -> bool {
        if is_served(method) {
            return false;
        }
        self.add(method);
        // The claim for a node that has come meanwhile may have been before.
        !is_served(method)
    }

    /// Nobody serves `method`: claims pass it over from now on. It may be that nothing waits any more for one that was not
    /// named for long: that one makes room.
    pub(crate) fn add(&self, method: &str) {
        let mut methods = self.0.lock();
        let known = methods.iter().rposition(|one| one == method).and_then(|at| methods.remove(at));
        if known.is_none() && methods.len() >= MOST {
            methods.pop_front();
        }
        methods.push_back(known.unwrap_or_else(|| method.to_owned()));
    }

    /// Those that are not served yet; the others are forgotten.
    pub(crate) fn pass_over(&self, is_served: impl Fn(&str) -> bool) -> Vec<String> {
        let mut methods = self.0.lock();
        methods.retain(|method| !is_served(method));
        methods.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Unserved};

    #[test]
    fn a_method_is_passed_over_until_it_is_served() {
        let unserved = Unserved::default();
        for method in ["a", "b", "a"] {
            unserved.add(method);
        }
        assert_eq!(unserved.pass_over(|_| false).len(), 2);
        assert_eq!(unserved.pass_over(|method| method == "a"), ["b"]);
        assert_eq!(unserved.pass_over(|_| false), ["b"]);
    }

    #[test]
    fn a_node_that_comes_just_then_is_not_waited_for() {
        let unserved = Unserved::default();
        assert!(!unserved.wait("a", |_| true));
        assert_eq!(unserved.pass_over(|_| false).len(), 0);
        assert!(unserved.wait("a", |_| false));
        // One that comes when it is an entry already.
        let unserved = Unserved::default();
        assert!(!unserved.wait("a", |_| !unserved.pass_over(|_| false).is_empty()));
    }

    #[test]
    fn the_one_that_was_not_named_for_longest_makes_room() {
        let unserved = Unserved::default();
        for number in (0..MOST).chain([0, MOST]) {
            unserved.add(&number.to_string());
        }
        let passed_over = unserved.pass_over(|_| false);
        assert_eq!(passed_over.len(), MOST);
        let has = |number: usize| passed_over.contains(&number.to_string());
        assert!(has(MOST) && has(0) && !has(1) && has(2));
    }
}
