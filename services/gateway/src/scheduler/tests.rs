//! The scheduler's rules, one by one. `model` checks them all together against a plain scheduler, `simulation` checks
//! what they promise.

mod accounts;
mod aside;
mod chunks;
mod deadlines;
mod model;
mod places;

use super::{
    Grant, Job, JobId, Lane, Limits, MethodId, Scheduler, Spent, Standing, Submitted, TenantId, WorkerId,
};

const RESIZE: MethodId = MethodId(1);
const CLASSIFY: MethodId = MethodId(2);
const WORKER: WorkerId = WorkerId(1);
const OTHER: WorkerId = WorkerId(2);

fn scheduler(waiting: usize) -> Scheduler {
    Scheduler::new(Limits { waiting, batch_share: 0.0 })
}

/// A call in nobody's name.
fn call(method: MethodId) -> Job {
    Job::call(method)
}

/// The second attempt of a call that is there.
fn not_at(worker: WorkerId, method: MethodId) -> Job {
    Job { not_at: Some(worker), ..call(method) }
}

fn by(tenant: u32, method: MethodId) -> Job {
    Job { tenant: TenantId(tenant), ..call(method) }
}

fn batch(method: MethodId) -> Job {
    Job { lane: Lane::Batch, ..call(method) }
}

fn took(us: u64) -> Option<Spent> {
    Some(Spent { run_us: us, cpu_us: us, items: 1, done: true })
}

fn waiting(submitted: Submitted) -> JobId {
    match submitted {
        Submitted::Waiting(job) => job,
        other => panic!("expected it to wait: {other:?}"),
    }
}

fn granted(submitted: Submitted) -> Grant {
    match submitted {
        Submitted::Granted(grant) => grant,
        other => panic!("expected a grant: {other:?}"),
    }
}

fn jobs(grants: &[Grant]) -> Vec<JobId> {
    grants.iter().map(|grant| grant.job).collect()
}

/// So many jobs have run, one after the other, and each took so long.
fn teach(scheduler: &mut Scheduler, method: MethodId, times: usize, us: u64) {
    for _ in 0..times {
        let job = granted(scheduler.submit(call(method))).job;
        scheduler.finish(job, took(us), None);
    }
}
