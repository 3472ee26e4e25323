//! How much work waits, by tenant, in the service time that was expected of each job when it came; and how much of it
//! goes before a tenant's next job when tenants share. Tenants are counted in buckets by powers of two, so that the
//! answer costs the same for ten of them as for a million. And for how long each tenant's queue has stood: the clock is the
//! slots' own work, which goes on for as long as anything waits for them.

use std::collections::HashMap;

use super::TenantId;

const BUCKETS: usize = 65;

/// Work that waits.
#[derive(Clone, Debug)]
pub(super) struct Work {
    total_us: u64,
    tenants: HashMap<TenantId, Queued>,
    buckets: [Bucket; BUCKETS],
    /// What the slots have worked since the beginning.
    worked_us: u64,
}

/// What waits of one tenant.
#[derive(Clone, Copy, Debug)]
struct Queued {
    us: u64,
    /// What the slots had worked when it began to wait.
    since_us: u64,
}

/// The tenants whose work has the same number of binary digits.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    tenants: u64,
    total_us: u64,
}

impl Work {
    pub(super) fn new() -> Self {
        Self { total_us: 0, tenants: HashMap::new(), buckets: [Bucket::default(); BUCKETS], worked_us: 0 }
    }

    pub(super) fn total_us(&self) -> u64 {
        self.total_us
    }

    pub(super) fn add(&mut self, tenant: TenantId, us: u64) {
        self.change(tenant, |known| known.saturating_add(us));
    }

    pub(super) fn remove(&mut self, tenant: TenantId, us: u64) {
        self.change(tenant, |known| known.saturating_sub(us));
    }

    fn change(&mut self, tenant: TenantId, change: impl FnOnce(u64) -> u64) {
        let queued = self.tenants.get(&tenant).copied();
        let before = queued.map_or(0, |queued| queued.us);
        let after = change(before);
        if before == after {
            return;
        }
        self.unfile(before);
        self.file(after);
        if after == 0 {
            self.tenants.remove(&tenant);
        } else {
            let since_us = queued.map_or(self.worked_us, |queued| queued.since_us);
            self.tenants.insert(tenant, Queued { us: after, since_us });
        }
    }

    fn unfile(&mut self, us: u64) {
        if us > 0 {
            let bucket = &mut self.buckets[digits(us)];
            bucket.tenants -= 1;
            bucket.total_us = bucket.total_us.saturating_sub(us);
            self.total_us = self.total_us.saturating_sub(us);
        }
    }

    fn file(&mut self, us: u64) {
        if us > 0 {
            let bucket = &mut self.buckets[digits(us)];
            bucket.tenants += 1;
            bucket.total_us = bucket.total_us.saturating_add(us);
            self.total_us = self.total_us.saturating_add(us);
        }
    }

    /// A slot has worked for so long.
    pub(super) fn worked(&mut self, us: u64) {
        self.worked_us = self.worked_us.saturating_add(us);
    }

    /// What the slots have worked since this tenant's queue was empty; zero while it is.
    pub(super) fn stood_us(&self, tenant: TenantId) -> u64 {
        self.tenants.get(&tenant).map_or(0, |queued| self.worked_us - queued.since_us)
    }

    /// What goes before a job of `tenant` that comes now: all of its own, and of every other tenant no more than that.
    /// Never too much; too little by less than half.
    pub(super) fn before(&self, tenant: TenantId) -> u64 {
        let own = self.tenants.get(&tenant).map_or(0, |queued| queued.us);
        if own == 0 {
            return 0;
        }
        let middle = digits(own);
        let less: u64 =
            self.buckets[..middle].iter().fold(0, |sum, bucket| sum.saturating_add(bucket.total_us));
        let more: u64 = self.buckets[middle + 1..].iter().map(|bucket| bucket.tenants).sum();
        // Those with about as much count with the least that they can have; the tenant itself is one of them.
        let alike = (self.buckets[middle].tenants - 1).saturating_mul(1 << (middle - 1));
        own.saturating_add(less).saturating_add(alike).saturating_add(more.saturating_mul(own))
    }
}

fn digits(us: u64) -> usize {
    (u64::BITS - us.leading_zeros()) as usize
}
