//! Which waiting job goes next in one lane of one kind of worker: start-time fair queueing (Goyal, Vin, Cheng 1996) by
//! CPU time. A tenant's account runs ahead by what its jobs cost; the tenant that is furthest behind goes next, with
//! the job that came first. Who begins to wait starts at the lane's clock: nobody saves up for later by being idle.
//!
//! Every kind of worker has accounts of its own: whoever has the pictures' workers to itself owes nothing to those who
//! wait for the mathematicians' ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{JobId, MethodId, TenantId};

/// The accounts of one lane, and who waits.
#[derive(Debug, Default)]
pub(super) struct Fair {
    /// Where the account of the last tenant that went stood; never goes back.
    clock_us: i64,
    accounts: HashMap<TenantId, Account>,
    lines: HashMap<MethodId, Line>,
    /// The first of every open line.
    heads: BTreeSet<Head>,
    /// Tenants with nothing in hand that are ahead of the clock: forgotten once it has caught up with them.
    resting: BTreeSet<(i64, TenantId)>,
    /// Tenants that are not resting.
    active: usize,
}

/// Above this, resting tenants are forgotten, those least ahead first: names cost a client nothing.
const MOST_RESTING: usize = 4096;

/// A tenant.
#[derive(Debug)]
struct Account {
    time_us: i64,
    running: usize,
    /// Its first job in each line where it waits.
    firsts: BTreeMap<MethodId, JobId>,
    /// How many of these lines have no limit.
    unlimited: usize,
}

impl Account {
    fn is_active(&self) -> bool {
        self.running > 0 || !self.firsts.is_empty()
    }
}

/// The tenants that wait for one method.
#[derive(Debug)]
struct Line {
    /// Its method is below its limit.
    open: bool,
    /// Its method has a limit.
    limited: bool,
    turns: BTreeSet<(i64, TenantId, JobId)>,
    shown: Option<Head>,
}

/// In the order in which they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    time_us: i64,
    tenant: TenantId,
    job: JobId,
    method: MethodId,
}

impl Fair {
    /// The job that goes next.
    pub(super) fn next(&self) -> Option<JobId> {
        self.heads.first().map(|head| head.job)
    }

    pub(super) fn add_line(&mut self, method: MethodId, open: bool, limited: bool) {
        self.lines.insert(method, Line { open, limited, turns: BTreeSet::new(), shown: None });
    }

    /// A method reaches its limit, or falls below it.
    pub(super) fn set_open(&mut self, method: MethodId, open: bool) {
        if let Some(line) = self.lines.get_mut(&method) {
            line.open = open;
            show(line, &mut self.heads, method);
        }
    }

    /// A method gets a limit, or loses it. Costs a step for every tenant that waits for it.
    pub(super) fn set_limited(&mut self, method: MethodId, limited: bool) {
        let Some(line) = self.lines.get_mut(&method).filter(|line| line.limited != limited) else { return };
        line.limited = limited;
        for (_, tenant, _) in &line.turns {
            let account = self.accounts.get_mut(tenant).expect("who waits has an account");
            if limited {
                account.unlimited -= 1;
            } else {
                account.unlimited += 1;
            }
        }
    }

    /// The first job of `tenant` in a line is another one now, or there is none any more.
    pub(super) fn set_first(&mut self, method: MethodId, tenant: TenantId, job: Option<JobId>) {
        let Some(limited) = self.lines.get(&method).map(|line| line.limited) else { return };
        let mut account = self.take(tenant);
        let before = account.firsts.get(&method).copied();
        if before.is_none() && job.is_some() && account.is_idle(limited) {
            let time_us = account.time_us.max(self.clock_us);
            self.move_to(&mut account, tenant, time_us);
        }
        let line = self.lines.get_mut(&method).expect("looked up above");
        if let Some(before) = before {
            line.turns.remove(&(account.time_us, tenant, before));
            account.firsts.remove(&method);
            account.unlimited -= usize::from(!limited);
        }
        if let Some(job) = job {
            line.turns.insert((account.time_us, tenant, job));
            account.firsts.insert(method, job);
            account.unlimited += usize::from(!limited);
        }
        show(line, &mut self.heads, method);
        self.put(tenant, account);
    }

    /// A job of `tenant` goes to a worker.
    pub(super) fn start(&mut self, tenant: TenantId, charge_us: i64) {
        let mut account = self.take(tenant);
        if account.firsts.is_empty() {
            account.time_us = account.time_us.max(self.clock_us);
        }
        self.advance(account.time_us);
        account.running += 1;
        let time_us = account.time_us.saturating_add(charge_us);
        self.move_to(&mut account, tenant, time_us);
        self.put(tenant, account);
    }

    /// It has finished, and cost so much more than it was charged.
    pub(super) fn finish(&mut self, tenant: TenantId, more_us: i64) {
        let mut account = self.take(tenant);
        account.running = account.running.saturating_sub(1);
        let time_us = account.time_us.saturating_add(more_us);
        self.move_to(&mut account, tenant, time_us);
        self.put(tenant, account);
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.accounts.len()
    }

    /// An account to work on, out of the table.
    fn take(&mut self, tenant: TenantId) -> Account {
        let Some(account) = self.accounts.remove(&tenant) else {
            let firsts = BTreeMap::new();
            return Account { time_us: self.clock_us, running: 0, firsts, unlimited: 0 };
        };
        if account.is_active() {
            self.active -= 1;
        } else {
            self.resting.remove(&(account.time_us, tenant));
        }
        account
    }

    /// Back into the table, if there is anything to remember of it.
    fn put(&mut self, tenant: TenantId, account: Account) {
        if account.is_active() {
            self.active += 1;
            self.accounts.insert(tenant, account);
        } else if account.time_us > self.clock_us && self.active > 0 {
            self.resting.insert((account.time_us, tenant));
            self.accounts.insert(tenant, account);
        }
        // With nobody there, nobody is owed anything.
        while self.active == 0 || self.resting.len() > MOST_RESTING {
            if !self.forget_first() {
                break;
            }
        }
    }

    fn advance(&mut self, time_us: i64) {
        self.clock_us = self.clock_us.max(time_us);
        while self.resting.first().is_some_and(|(time_us, _)| *time_us <= self.clock_us) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) -> bool {
        let first = self.resting.pop_first();
        first.is_some_and(|(_, tenant)| self.accounts.remove(&tenant).is_some())
    }

    /// Costs a step for each method that the tenant waits for.
    fn move_to(&mut self, account: &mut Account, tenant: TenantId, time_us: i64) {
        let before = std::mem::replace(&mut account.time_us, time_us);
        if before == time_us {
            return;
        }
        for (method, job) in &account.firsts {
            let line = self.lines.get_mut(method).expect("who waits, waits in a line");
            line.turns.remove(&(before, tenant, *job));
            line.turns.insert((time_us, tenant, *job));
            show(line, &mut self.heads, *method);
        }
    }
}

impl Account {
    /// Whether it starts at the clock when it begins to wait in another line. Who waits only for methods with limits
    /// has no claim on the slots that these leave, and must not save up for them.
    fn is_idle(&self, limited: bool) -> bool {
        self.firsts.is_empty() || (!limited && self.unlimited == 0)
    }
}

/// Keeps the line's first tenant among the heads.
fn show(line: &mut Line, heads: &mut BTreeSet<Head>, method: MethodId) {
    let first = line.turns.first().filter(|_| line.open);
    let first =
        first.map(|(time_us, tenant, job)| Head { time_us: *time_us, tenant: *tenant, job: *job, method });
    if first != line.shown {
        if let Some(before) = line.shown {
            heads.remove(&before);
        }
        heads.extend(first);
        line.shown = first;
    }
}
