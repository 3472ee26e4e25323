//! The queues that wait for a node: nobody serves their method. Claims pass them over, for an attempt that is only given back
//! takes a number, and the store's time. A table: nothing is awaited with it in hand.

use std::collections::HashSet;

use parking_lot::Mutex;
use turno_store::Queue;

/// As many as one claim looks at. What waits in others is claimed and given back, later and later.
const MOST: usize = 256;

/// Those of one gateway.
#[derive(Default)]
pub(crate) struct Unserved(Mutex<HashSet<Queue>>);

impl Unserved {
    /// Nobody serves what waits in `queue`. Answers whether claims pass it over from now on.
    pub(crate) fn add(&self, queue: Queue) -> bool {
        let mut queues = self.0.lock();
        if queues.len() >= MOST {
            return queues.contains(&queue);
        }
        queues.insert(queue);
        true
    }

    /// Those whose method is not served yet; the others are forgotten.
    pub(crate) fn pass_over(&self, is_served: impl Fn(&str) -> bool) -> Vec<Queue> {
        let mut queues = self.0.lock();
        queues.retain(|queue| !is_served(&queue.method));
        queues.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Queue, Unserved};

    fn queue(method: &str) -> Queue {
        Queue { tenant: "me".into(), method: method.into() }
    }

    #[test]
    fn a_queue_is_passed_over_until_its_method_is_served() {
        let unserved = Unserved::default();
        assert!(unserved.add(queue("a")) && unserved.add(queue("b")) && unserved.add(queue("a")));
        assert_eq!(unserved.pass_over(|_| false).len(), 2);
        assert_eq!(unserved.pass_over(|method| method == "a"), [queue("b")]);
        assert_eq!(unserved.pass_over(|_| false), [queue("b")]);
    }

    #[test]
    fn no_more_are_passed_over_than_a_claim_looks_at() {
        let unserved = Unserved::default();
        assert!((0..MOST).all(|number| unserved.add(queue(&number.to_string()))));
        assert!(!unserved.add(queue("one more")) && unserved.add(queue("7")));
        assert_eq!(unserved.pass_over(|_| false).len(), MOST);
    }
}
