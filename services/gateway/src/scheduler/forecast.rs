//! How long a job would wait, and whether it comes too late or to a queue that stands. Guesses low where it must guess: who is refused wrongly
//! has lost more than who is told late.

use super::by_size::Size;
use super::classes::{Class, ClassId};
use super::methods::Method;
use super::{Job, Lane, MethodId, Scheduler, Submitted, TenantId};

/// So many are refused in a row before one is let through, though it seems late too, when no job of its method, size and
/// lane is there: else what was slow once would be refused for ever, with nobody to show that it is fast again. Who has shown it
/// is followed by the next at once.
pub(super) const REFUSED_IN_A_ROW: u32 = 16;
/// A queue stands that has not been empty for this part of the time that a job has left: it is no burst that passes.
const STANDS_AFTER_PART: u64 = 4;
/// And then a job may wait for this part of it, but always for one that is ahead.
const PART_WHILE_IT_STANDS: u64 = 10;

impl Scheduler {
    /// How long a job that came now would wait for its slot. Zero when one is free; `None` when nobody serves it.
    pub fn expected_wait_us(&self, method: MethodId, lane: Lane, tenant: TenantId) -> Option<u64> {
        self.ahead(method, lane, tenant).map(|ahead| ahead.wait_us)
    }

    fn ahead(&self, method: MethodId, lane: Lane, tenant: TenantId) -> Option<Ahead> {
        let method = self.methods.get(&method)?;
        let classes = || method.classes.iter().filter_map(|class| self.class(*class));
        let slots: u64 = classes().map(|class| class.load.slots).sum();
        if slots == 0 {
            return None;
        }
        if method.is_open() && classes().any(|class| class.best(None).is_some_and(|(_, above, _)| above < 0))
        {
            return Some(Ahead::default());
        }
        let for_a_slot = classes().map(|class| ahead_in(class, lane, tenant, slots)).min();
        Some(for_a_slot.unwrap_or_default().max(ahead_of_limit(method, lane, tenant, slots)))
    }

    /// Why a job is refused when it comes, if it is.
    pub(super) fn refused(&mut self, job: &Job) -> Option<Submitted> {
        let refusal = self.refusal(job)?;
        (!self.is_let_through(job)).then_some(refusal)
    }

    /// Why a job should be: it would be late, or it would wait for long in a queue that stands. There, if all might wait
    /// to their last moment, all would: each a little too long for some, and nobody more would be served.
    pub(super) fn refusal(&self, job: &Job) -> Option<Submitted> {
        let left_us = job.left_us?;
        let costs =
            self.methods.get(&job.method).map(|method| &method.costs).filter(|costs| costs.says_enough());
        if costs.is_none() && left_us > 0 {
            return None;
        }
        let Ahead { wait_us, stood_us } = self.ahead(job.method, job.lane, job.tenant).unwrap_or_default();
        let size = Size::of(job);
        let service_us = costs.map_or(0, |costs| costs.least_service_us_of(size));
        if left_us == 0 || wait_us.saturating_add(service_us) > left_us {
            return Some(Submitted::TooLate { wait_us, service_us });
        }
        if stood_us <= left_us / STANDS_AFTER_PART {
            return None;
        }
        let one_us = costs.map_or(0, |costs| costs.longest_us(size));
        let may_wait_us = (left_us / PART_WHILE_IT_STANDS).max(one_us);
        (wait_us > may_wait_us).then_some(Submitted::Standing { wait_us, may_wait_us })
    }

    /// Counts those that are refused.
    fn is_let_through(&mut self, job: &Job) -> bool {
        let Some(method) = self.methods.get_mut(&job.method).filter(|_| job.left_us != Some(0)) else {
            return false;
        };
        let tries = method.costs.tries(Size::of(job), job.lane);
        if tries.here > 0 {
            return false;
        }
        tries.refused += 1;
        if tries.refused <= REFUSED_IN_A_ROW {
            return false;
        }
        tries.refused = 0;
        true
    }

    fn class(&self, class: ClassId) -> Option<&Class> {
        self.classes.get(class)
    }
}

/// What a job would find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Ahead {
    wait_us: u64,
    /// How long its queue has not been empty.
    stood_us: u64,
}

/// Work that goes before it in one class, by all slots that could take it.
fn ahead_in(class: &Class, lane: Lane, tenant: TenantId, slots: u64) -> Ahead {
    let [calls, batch] = Lane::ALL.map(|lane| &class.lane(lane).work);
    let share = class.share.batch();
    let before = match lane {
        Lane::Calls => {
            let before = calls.before(tenant) as f64;
            before + (before * share / (1.0 - share)).min(batch.total_us() as f64)
        }
        Lane::Batch => {
            let (before, others) = (batch.before(tenant) as f64, calls.total_us() as f64);
            // Calls take no more than the rest of the CPU while batch has a share.
            before + if share > 0.0 { (before * (1.0 - share) / share).min(others) } else { others }
        }
    };
    let load = class.load;
    let beyond = load.service_us as f64 * load.beyond as f64 / load.outstanding.max(1) as f64;
    let own_slots = load.slots.max(1);
    Ahead {
        wait_us: (before / slots as f64 + beyond / own_slots as f64) as u64,
        stood_us: class.lane(lane).work.stood_us(tenant) / own_slots,
    }
}

/// Its own method's work ahead, by as many as may run at once.
fn ahead_of_limit(method: &Method, lane: Lane, tenant: TenantId, slots: u64) -> Ahead {
    let Some(limit) = method.limit else { return Ahead::default() };
    let (work, at_once) = (method.work(lane), u64::from(limit).clamp(1, slots));
    Ahead { wait_us: work.before(tenant) / at_once, stood_us: work.stood_us(tenant) / at_once }
}
