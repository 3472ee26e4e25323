//! How much work waits, by tenant, in the service time that was expected of each job when it came; and how much of it
//! goes before a tenant's next job when tenants share. Tenants are counted in buckets by powers of two, so that the
//! answer costs the same for ten of them as for a million.

use std::collections::HashMap;

use super::TenantId;

const BUCKETS: usize = 65;

/// Work that waits.
#[derive(Clone, Debug)]
pub(super) struct Work {
    total_us: u64,
    tenants: HashMap<TenantId, u64>,
    buckets: [Bucket; BUCKETS],
}

/// The tenants whose work has the same number of binary digits.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    tenants: u64,
    total_us: u64,
}

impl Work {
    pub(super) fn new() -> Self {
        Self { total_us: 0, tenants: HashMap::new(), buckets: [Bucket::default(); BUCKETS] }
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
        let before = self.tenants.get(&tenant).copied().unwrap_or(0);
        let after = change(before);
        if before == after {
            return;
        }
        self.unfile(before);
        self.file(after);
        if after == 0 {
            self.tenants.remove(&tenant);
        } else {
            self.tenants.insert(tenant, after);
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

    /// What goes before a job of `tenant` that comes now: all of its own, and of every other tenant no more than that.
    /// Never too much; too little by less than half.
    pub(super) fn before(&self, tenant: TenantId) -> u64 {
        let own = self.tenants.get(&tenant).copied().unwrap_or(0);
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
