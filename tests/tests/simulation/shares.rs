//! Who got how much CPU of a gateway. While two tenants wait, neither gets more than the other by more than a job of
//! each: neither is above its fair share by more than the largest job.

use turno_gateway::scheduler::Lane;

use crate::world::TENANTS;

#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// By lane and tenant, as below.
    waiting: [[usize; TENANTS]; 2],
    cpu: [[u64; TENANTS]; 2],
    /// What two of them had when both began to wait.
    both_wait: [[[Option<[u64; 2]>; TENANTS]; TENANTS]; 2],
}

impl Shares {
    pub(crate) fn waits(&mut self, lane: Lane, tenant: usize) {
        self.waiting[lane as usize][tenant] += 1;
    }

    pub(crate) fn granted(&mut self, lane: Lane, tenant: usize, cost: u64) {
        self.waiting[lane as usize][tenant] -= 1;
        self.cpu[lane as usize][tenant] += cost;
    }

    /// With its last worker, a gateway forgets what tenants had.
    pub(crate) fn forget(&mut self) {
        self.both_wait = Default::default();
    }

    /// Answers for how many pairs of tenants that was at stake.
    pub(crate) fn check(&mut self, largest: u64) -> usize {
        let mut at_stake = 0;
        for ((waiting, cpu), both_wait) in self.waiting.iter().zip(&self.cpu).zip(&mut self.both_wait) {
            for one in 0..TENANTS {
                for other in one + 1..TENANTS {
                    let then = &mut both_wait[one][other];
                    if waiting[one] == 0 || waiting[other] == 0 {
                        *then = None;
                        continue;
                    }
                    let now = [cpu[one], cpu[other]];
                    at_stake += usize::from(then.is_some_and(|then| then != now));
                    let then = *then.get_or_insert(now);
                    let apart = (now[0] - then[0]).abs_diff(now[1] - then[1]);
                    assert!(
                        apart <= 2 * largest,
                        "{one}, {other}: {apart} µs apart, the largest takes {largest}"
                    );
                }
            }
        }
        at_stake
    }
}
