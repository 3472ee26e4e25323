//! Who got how much CPU on each kind of worker. While two tenants wait there, neither gets more than the other by more
//! than a job of each, that is, neither is above its fair share by more than the largest job. While both lanes wait,
//! batch has its share, to the job.

use std::collections::BTreeMap;

use super::books::{Books, Class, Known, METHODS, State, TENANTS};
use crate::scheduler::{Lane, MethodId};

const LANES: [Lane; 2] = [Lane::Calls, Lane::Batch];

#[derive(Debug)]
pub(super) struct Shares {
    batch: f64,
    costs: [u64; METHODS],
    classes: BTreeMap<Class, Spending>,
}

#[derive(Clone, Debug, Default)]
struct Spending {
    /// By lane and tenant.
    cpu: [[u64; TENANTS]; 2],
    /// What two tenants of a lane had when both began to wait.
    both_wait: [[[Option<[u64; 2]>; TENANTS]; TENANTS]; 2],
    /// What the lanes had when both began to wait.
    lanes_wait: Option<[u64; 2]>,
}

impl Shares {
    pub(super) fn new(batch: f64, costs: [u64; METHODS]) -> Self {
        Self { batch, costs, classes: BTreeMap::new() }
    }

    pub(super) fn granted(&mut self, job: &Known) {
        let State::Granted { class, .. } = &job.state else { panic!("it has just been granted") };
        let spending = self.classes.entry(class.clone()).or_default();
        spending.cpu[job.lane as usize][job.tenant.0 as usize] += self.costs[job.method.0 as usize];
    }

    /// The last worker of a kind has gone; the next one of it begins anew.
    pub(super) fn forget(&mut self, class: &Class) {
        self.classes.remove(class);
    }

    pub(super) fn check(&mut self, books: &Books) {
        for (class, spending) in &mut self.classes {
            let largest = class.iter().map(|method| self.costs[method.0 as usize]).max().unwrap_or(0);
            let waits = LANES.map(|lane| std::array::from_fn(|tenant| waits(books, class, lane, tenant)));
            for (lane, waits) in LANES.into_iter().zip(&waits) {
                spending.tenants(lane, waits, largest);
            }
            spending.lanes(waits.map(|waits| waits.contains(&true)), self.batch, largest);
        }
    }
}

fn waits(books: &Books, class: &[MethodId], lane: Lane, tenant: usize) -> bool {
    class.iter().any(|method| books.waiting_in[lane as usize][tenant][method.0 as usize] > 0)
}

impl Spending {
    fn tenants(&mut self, lane: Lane, waits: &[bool; TENANTS], largest: u64) {
        for one in 0..TENANTS {
            for other in one + 1..TENANTS {
                let both_wait = &mut self.both_wait[lane as usize][one][other];
                if !(waits[one] && waits[other]) {
                    *both_wait = None;
                    continue;
                }
                let now = [self.cpu[lane as usize][one], self.cpu[lane as usize][other]];
                let then = *both_wait.get_or_insert(now);
                let apart = (now[0] - then[0]).abs_diff(now[1] - then[1]);
                assert!(
                    apart <= 2 * largest,
                    "{one}, {other}: {apart} µs apart, the largest takes {largest}"
                );
            }
        }
    }

    fn lanes(&mut self, wait: [bool; 2], share: f64, largest: u64) {
        if wait != [true, true] {
            self.lanes_wait = None;
            return;
        }
        let now = self.cpu.map(|lane| lane.iter().sum::<u64>());
        let then = *self.lanes_wait.get_or_insert(now);
        let [calls, batch] = [now[0] - then[0], now[1] - then[1]].map(|cpu| cpu as f64);
        let due = share * (calls + batch);
        assert!((batch - due).abs() <= largest as f64 + 1.0, "batch has {batch} µs, {due} are its share");
    }
}
