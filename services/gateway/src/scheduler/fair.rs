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
    /// The tenants that wait for methods without a limit, each with its first job.
    turns: BTreeSet<Turn>,
    /// Those that wait for a method with a limit stand in a line for it, so that it can step aside as one.
    lines: HashMap<MethodId, Line>,
    /// The first of every line whose method is below its limit.
    heads: BTreeSet<Turn>,
    /// Tenants with nothing in hand that are ahead of the clock: forgotten once it has caught up with them.
    resting: BTreeSet<(i64, TenantId)>,
    /// Tenants that are not resting.
    active: usize,
}

/// Above this, resting tenants are forgotten, those least ahead first: names cost a client nothing.
const MOST_RESTING: usize = 4096;

/// When a tenant goes, and with which job. In the order in which they go.
type Turn = (i64, TenantId, JobId);

/// A tenant.
#[derive(Debug, Default)]
struct Account {
    time_us: i64,
    running: usize,
    /// Its first job for each method without a limit.
    firsts: BTreeSet<JobId>,
    /// Its first job in each line.
    in_lines: BTreeMap<MethodId, JobId>,
}

impl Account {
    fn waits(&self) -> bool {
        !(self.firsts.is_empty() && self.in_lines.is_empty())
    }

    fn is_active(&self) -> bool {
        self.running > 0 || self.waits()
    }

    /// Whether it starts at the clock when it begins to wait for another method. Who waits only for methods with limits
    /// has no claim on the slots that these leave, and must not save up for them.
    fn is_idle_for(&self, limited: bool) -> bool {
        self.firsts.is_empty() && (!limited || self.in_lines.is_empty())
    }
}

/// The tenants that wait for a method with a limit.
#[derive(Debug)]
struct Line {
    /// It is below its limit.
    open: bool,
    turns: BTreeSet<Turn>,
    shown: Option<Turn>,
}

impl Line {
    fn new(open: bool) -> Self {
        Self { open, turns: BTreeSet::new(), shown: None }
    }

    /// Keeps its first tenant among the heads.
    fn show(&mut self, heads: &mut BTreeSet<Turn>) {
        let first = self.turns.first().copied().filter(|_| self.open);
        if first != self.shown {
            if let Some(before) = self.shown {
                heads.remove(&before);
            }
            heads.extend(first);
            self.shown = first;
        }
    }
}

impl Fair {
    /// The job that goes next.
    pub(super) fn next(&self) -> Option<JobId> {
        let firsts = [self.turns.first(), self.heads.first()];
        firsts.into_iter().flatten().min().map(|(_, _, job)| *job)
    }

    /// A method that has a limit comes up.
    pub(super) fn add_line(&mut self, method: MethodId, open: bool) {
        self.lines.insert(method, Line::new(open));
    }

    /// A method reaches its limit, or falls below it.
    pub(super) fn set_open(&mut self, method: MethodId, open: bool) {
        if let Some(line) = self.lines.get_mut(&method) {
            line.open = open;
            line.show(&mut self.heads);
        }
    }

    /// A method gets a limit: those who wait for it, each with its first job, form a line.
    pub(super) fn form_line(
        &mut self,
        method: MethodId,
        open: bool,
        waiting: impl Iterator<Item = (TenantId, JobId)>,
    ) {
        self.add_line(method, open);
        for (tenant, job) in waiting {
            let mut account = self.take(tenant);
            self.leave_turns(&mut account, tenant, job);
            self.enter_line(&mut account, tenant, method, job);
            self.put(tenant, account);
        }
    }

    /// A method loses its limit.
    pub(super) fn break_line(&mut self, method: MethodId) {
        let line = self.lines.get(&method).map(|line| line.turns.clone()).unwrap_or_default();
        for (_, tenant, job) in line {
            let mut account = self.take(tenant);
            self.leave_line(&mut account, tenant, method, job);
            self.enter_turns(&mut account, tenant, job);
            self.put(tenant, account);
        }
        self.lines.remove(&method);
    }

    /// The first job of `tenant` for a method was `before` and is `now`.
    pub(super) fn set_first(
        &mut self,
        method: MethodId,
        tenant: TenantId,
        before: Option<JobId>,
        now: Option<JobId>,
    ) {
        let limited = self.lines.contains_key(&method);
        let mut account = self.take(tenant);
        if before.is_none() && account.is_idle_for(limited) {
            let time_us = account.time_us.max(self.clock_us);
            self.move_to(&mut account, tenant, time_us);
        }
        if limited {
            before.into_iter().for_each(|job| self.leave_line(&mut account, tenant, method, job));
            now.into_iter().for_each(|job| self.enter_line(&mut account, tenant, method, job));
        } else {
            before.into_iter().for_each(|job| self.leave_turns(&mut account, tenant, job));
            now.into_iter().for_each(|job| self.enter_turns(&mut account, tenant, job));
        }
        self.put(tenant, account);
    }

    /// A job of `tenant` goes to a worker.
    pub(super) fn start(&mut self, tenant: TenantId, charge_us: i64) {
        let mut account = self.take(tenant);
        if !account.waits() {
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
            return Account { time_us: self.clock_us, ..Account::default() };
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

    fn enter_turns(&mut self, account: &mut Account, tenant: TenantId, job: JobId) {
        self.show_turn(account, tenant, |firsts| firsts.insert(job));
    }

    fn leave_turns(&mut self, account: &mut Account, tenant: TenantId, job: JobId) {
        self.show_turn(account, tenant, |firsts| firsts.remove(&job));
    }

    /// Changes its first jobs, and its turn if the first of them is another one then.
    fn show_turn(
        &mut self,
        account: &mut Account,
        tenant: TenantId,
        change: impl FnOnce(&mut BTreeSet<JobId>) -> bool,
    ) {
        let before = account.firsts.first().copied();
        change(&mut account.firsts);
        let now = account.firsts.first().copied();
        if before != now {
            if let Some(job) = before {
                self.turns.remove(&(account.time_us, tenant, job));
            }
            self.turns.extend(now.map(|job| (account.time_us, tenant, job)));
        }
    }

    fn enter_line(&mut self, account: &mut Account, tenant: TenantId, method: MethodId, job: JobId) {
        let line = self.lines.get_mut(&method).expect("called for a method with a limit");
        account.in_lines.insert(method, job);
        line.turns.insert((account.time_us, tenant, job));
        line.show(&mut self.heads);
    }

    fn leave_line(&mut self, account: &mut Account, tenant: TenantId, method: MethodId, job: JobId) {
        let line = self.lines.get_mut(&method).expect("called for a method with a limit");
        account.in_lines.remove(&method);
        line.turns.remove(&(account.time_us, tenant, job));
        line.show(&mut self.heads);
    }

    /// Costs a step, and one more for each method with a limit that the tenant waits for.
    fn move_to(&mut self, account: &mut Account, tenant: TenantId, time_us: i64) {
        let before = std::mem::replace(&mut account.time_us, time_us);
        if before == time_us {
            return;
        }
        if let Some(job) = account.firsts.first() {
            self.turns.remove(&(before, tenant, *job));
            self.turns.insert((time_us, tenant, *job));
        }
        for (method, job) in &account.in_lines {
            let line = self.lines.get_mut(method).expect("who waits for a limit, waits in its line");
            line.turns.remove(&(before, tenant, *job));
            line.turns.insert((time_us, tenant, *job));
            line.show(&mut self.heads);
        }
    }
}
