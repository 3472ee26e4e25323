//! How long a job would wait, and whether it comes too late. Guesses low where it must guess: who is refused wrongly
//! has lost more than who is told late.

use super::classes::{Class, ClassId};
use super::methods::Method;
use super::{Job, Lane, MethodId, Scheduler, Submitted, TenantId};

/// So many are refused in a row before one is let through, though it seems late too, when no job of its method is
/// there: else a method that was slow once would be refused for ever, with nobody to show that it is fast again.
const REFUSED_IN_A_ROW: u32 = 16;

impl Scheduler {
    /// How long a job that came now would wait for its slot. Zero when one is free; `None` when nobody serves it.
    pub fn expected_wait_us(&self, method: MethodId, lane: Lane, tenant: TenantId) -> Option<u64> {
        let method = self.methods.get(&method)?;
        let classes = || method.classes.iter().filter_map(|class| self.class(*class));
        let slots: u64 = classes().map(|class| class.load.slots).sum();
        if slots == 0 {
            return None;
        }
        if method.is_open() && classes().any(|class| class.best().is_some_and(|(rank, _)| rank < 0)) {
            return Some(0);
        }
        let for_a_slot = classes().map(|class| wait_in(class, lane, tenant, slots)).min().unwrap_or(0);
        Some(for_a_slot.max(wait_for_limit(method, lane, tenant, slots)))
    }

    /// Why a job is refused for its deadline, if it is.
    pub(super) fn too_late(&mut self, job: &Job) -> Option<Submitted> {
        let (wait_us, service_us) = self.seems_late(job)?;
        (!self.is_let_through(job)).then_some(Submitted::TooLate { wait_us, service_us })
    }

    /// How long it would wait and run, if that is longer than it has.
    pub(super) fn seems_late(&self, job: &Job) -> Option<(u64, u64)> {
        let left_us = job.left_us?;
        let known = self.methods.get(&job.method).and_then(|method| method.estimate.sure_service_us());
        let wait_us = match known {
            None if left_us > 0 => return None,
            _ => self.expected_wait_us(job.method, job.lane, job.tenant).unwrap_or(0),
        };
        let service_us = known.or(self.service_us(job.method)).unwrap_or(0);
        let seems_late = left_us == 0 || wait_us.saturating_add(service_us) > left_us;
        seems_late.then_some((wait_us, service_us))
    }

    /// Counts those that are refused.
    fn is_let_through(&mut self, job: &Job) -> bool {
        let Some(method) = self.methods.get_mut(&job.method).filter(|_| job.left_us != Some(0)) else {
            return false;
        };
        if method.granted > 0 || method.waiting > 0 {
            return false;
        }
        method.refused += 1;
        if method.refused <= REFUSED_IN_A_ROW {
            return false;
        }
        method.refused = 0;
        true
    }

    fn class(&self, class: ClassId) -> Option<&Class> {
        self.classes.get(class)
    }
}

/// Work that goes before it in one class, by all slots that could take it.
fn wait_in(class: &Class, lane: Lane, tenant: TenantId, slots: u64) -> u64 {
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
    (before / slots as f64 + beyond / load.slots.max(1) as f64) as u64
}

/// Its own method's work ahead, by as many as may run at once.
fn wait_for_limit(method: &Method, lane: Lane, tenant: TenantId, slots: u64) -> u64 {
    let Some(limit) = method.limit else { return 0 };
    method.work(lane).before(tenant) / u64::from(limit).clamp(1, slots)
}
