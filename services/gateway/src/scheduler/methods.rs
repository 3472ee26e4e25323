//! What waits for each method, first come, first served within a tenant's lane; and how many of its jobs may be at
//! workers at once.

use std::collections::HashMap;

use super::by_size::BySize;
use super::classes::ClassId;
use super::fifo::Fifo;
use super::pace::Usual;
use super::work::Work;
use super::{JobId, Lane, TenantId};

/// A method that runs as a job.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) limit: Option<u32>,
    /// Jobs at workers, also at those that have left.
    pub(super) granted: u32,
    /// Jobs that wait, in each lane.
    pub(super) waiting: [usize; 2],
    /// The kinds of worker that serve it.
    pub(super) classes: Vec<ClassId>,
    pub(super) costs: BySize,
    /// In each lane: inputs of tickets and maps may be larger than those of calls.
    pub(super) usual: [Usual; 2],
    lanes: [MethodLane; 2],
}

#[derive(Debug)]
struct MethodLane {
    queues: HashMap<TenantId, Queue>,
    /// Kept only while the method has a limit: then its work stands in nobody's way but its own.
    work: Work,
}

/// One tenant's jobs.
#[derive(Debug, Default)]
struct Queue {
    jobs: Fifo,
    service_us: u64,
}

impl Method {
    pub(super) fn new() -> Self {
        let lane = || MethodLane { queues: HashMap::new(), work: Work::new() };
        Self {
            limit: None,
            granted: 0,
            waiting: [0, 0],
            classes: Vec::new(),
            costs: BySize::default(),
            usual: [Usual::default(); 2],
            lanes: [lane(), lane()],
        }
    }

    /// Another of its jobs may go to a worker.
    pub(super) fn is_open(&self) -> bool {
        self.limit.is_none_or(|limit| self.granted < limit)
    }

    /// Whether any of its jobs waits.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting != [0, 0]
    }

    /// Answers whether the job is now the tenant's first.
    pub(super) fn push(&mut self, lane: Lane, tenant: TenantId, job: JobId, service_us: u64) -> bool {
        self.waiting[lane as usize] += 1;
        let limited = self.limit.is_some();
        let lane = &mut self.lanes[lane as usize];
        if limited {
            lane.work.add(tenant, service_us);
        }
        let queue = lane.queues.entry(tenant).or_default();
        queue.service_us = queue.service_us.saturating_add(service_us);
        queue.jobs.push(job);
        queue.jobs.first() == Some(job)
    }

    /// Answers the tenant's first job, if that is another one now, and `None` within if it has none left.
    pub(super) fn remove(
        &mut self,
        lane: Lane,
        tenant: TenantId,
        job: JobId,
        service_us: u64,
    ) -> Option<Option<JobId>> {
        let limited = self.limit.is_some();
        let waiting = &mut self.waiting[lane as usize];
        let lane = &mut self.lanes[lane as usize];
        let queue = lane.queues.get_mut(&tenant)?;
        let was_first = queue.jobs.first() == Some(job);
        if !queue.jobs.remove(job) {
            return None;
        }
        *waiting -= 1;
        if limited {
            lane.work.remove(tenant, service_us);
        }
        queue.service_us = queue.service_us.saturating_sub(service_us);
        let first = queue.jobs.first();
        if first.is_none() {
            lane.queues.remove(&tenant);
        }
        was_first.then_some(first)
    }

    /// Each tenant's first job in a lane, and how much service all of its jobs there need. In no order that counts.
    pub(super) fn firsts(&self, lane: Lane) -> impl Iterator<Item = (TenantId, JobId, u64)> {
        let queues = self.lanes[lane as usize].queues.iter();
        queues.filter_map(|(tenant, queue)| Some((*tenant, queue.jobs.first()?, queue.service_us)))
    }

    /// Work of its own that goes before a job of `tenant`, while it has a limit.
    pub(super) fn work(&self, lane: Lane) -> &Work {
        &self.lanes[lane as usize].work
    }

    /// One of its jobs has run for so long.
    pub(super) fn worked(&mut self, us: u64) {
        if self.limit.is_some() {
            self.lanes.iter_mut().for_each(|lane| lane.work.worked(us));
        }
    }

    /// Answers whether it now has a limit, and had none before, or the other way round.
    pub(super) fn set_limit(&mut self, limit: Option<u32>) -> bool {
        let before = std::mem::replace(&mut self.limit, limit);
        if before.is_some() == limit.is_some() {
            return false;
        }
        for lane in &mut self.lanes {
            lane.work = Work::new();
            for (tenant, queue) in lane.queues.iter().filter(|_| limit.is_some()) {
                lane.work.add(*tenant, queue.service_us);
            }
        }
        true
    }
}
