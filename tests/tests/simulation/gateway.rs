//! A gateway's half, as `queue.rs` and `link.rs` have it: the scheduler decides, each link learns its window.

use std::collections::{BTreeMap, BTreeSet};

use turno::node::share::LinkId;
use turno_gateway::scheduler::{
    Grant, Job, JobId, Lane, Limits, MethodId, Scheduler, Spent, Submitted, TenantId, WorkerId,
};
use turno_gateway::window::Told;

use crate::promises::most_beyond;
use crate::shares::Shares;
use crate::world::{Down, METHODS, Time, Up, World};

pub(crate) struct Gateway {
    pub(crate) scheduler: Scheduler,
    /// Links that it grants to, and those of them whose worker was told that work waits.
    pub(crate) links: BTreeSet<LinkId>,
    told: BTreeSet<LinkId>,
    pub(crate) jobs: BTreeMap<JobId, Known>,
    /// Whether work waits, and since when that is so.
    pub(crate) waits: bool,
    pub(crate) since: Time,
    pub(crate) shares: Shares,
    /// Counts its clients' moods; and how many of them come at once in this one.
    pub(crate) mood: u64,
    pub(crate) comes: u64,
}

/// A job that has not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    request: usize,
    sent: Option<(LinkId, Time)>,
}

/// Before the first link.
const TEACHER: WorkerId = WorkerId(0);

fn methods() -> Vec<MethodId> {
    (0..METHODS as u32).map(MethodId).collect()
}

fn spent(run_us: u64) -> Spent {
    Spent { run_us, cpu_us: run_us, items: 1, done: true }
}

impl Gateway {
    /// One job of each method has run, so that the right price is charged from the start.
    pub(crate) fn new(most_waiting: usize, batch_share: f64, costs: &[u64; METHODS]) -> Self {
        let mut scheduler = Scheduler::new(Limits { waiting: most_waiting, batch_share });
        scheduler.join(TEACHER, 1, methods());
        for (method, cost) in costs.iter().enumerate() {
            let Submitted::Granted(grant) = scheduler.submit(job(method, Lane::Calls, 0)) else {
                panic!("the slot is free")
            };
            scheduler.finish(grant.job, Some(spent(*cost)), None);
        }
        scheduler.leave(TEACHER);
        Self {
            scheduler,
            links: BTreeSet::new(),
            told: BTreeSet::new(),
            jobs: BTreeMap::new(),
            waits: false,
            since: 0,
            shares: Shares::default(),
            mood: 0,
            comes: 0,
        }
    }

    pub(crate) fn request(&self, job: JobId) -> usize {
        self.jobs[&job].request
    }
}

fn job(method: usize, lane: Lane, tenant: usize) -> Job {
    let (method, tenant) = (MethodId(method as u32), TenantId(tenant as u32));
    Job { lane, tenant, ..Job::call(method) }
}

impl World {
    pub(crate) fn submit(&mut self, gateway: usize, request: usize) {
        let wanted = self.requests[request];
        let at = &mut self.gateways[gateway];
        let known = Known { request, sent: None };
        match at.scheduler.submit(job(wanted.method, wanted.lane, wanted.tenant)) {
            Submitted::Granted(grant) => {
                at.jobs.insert(grant.job, known);
                at.shares.waits(wanted.lane, wanted.tenant);
                self.hand_out(gateway, &[grant]);
            }
            Submitted::Waiting(id) => {
                at.jobs.insert(id, known);
                at.shares.waits(wanted.lane, wanted.tenant);
            }
            Submitted::Full { .. } => self.end(request),
            refused => panic!("{refused:?} of a job without a deadline"),
        }
    }

    fn hand_out(&mut self, gateway: usize, grants: &[Grant]) {
        for grant in grants {
            let id = LinkId(grant.worker.0);
            let at = &mut self.gateways[gateway];
            assert!(at.links.contains(&id), "granted to a worker that has left");
            let job = at.jobs.get_mut(&grant.job).expect("a job that nobody knows, or that has ended");
            assert_eq!(job.sent.replace((id, self.now)), None, "granted twice");
            let request = self.requests[job.request];
            at.shares.granted(request.lane, request.tenant, self.costs[request.method]);
            let link = self.links.get_mut(&id).expect("links are kept");
            link.outstanding += 1;
            let beyond = most_beyond(self.kind, &self.costs, link);
            assert!(
                link.outstanding <= link.window + beyond,
                "hoarded: {link:?}, {beyond} beyond its window"
            );
            self.asked.beyond += usize::from(beyond == 0);
            self.down(id, Down::Invoke(grant.job));
        }
    }

    pub(crate) fn hear_up(&mut self, id: LinkId, up: Up) {
        let gateway = self.links[&id].gateway;
        match up {
            Up::Hello => {
                let link = self.links.get_mut(&id).expect("links are kept");
                link.since = self.now;
                let slots = link.slots;
                self.down(id, Down::Welcome);
                let at = &mut self.gateways[gateway];
                at.links.insert(id);
                let grants = at.scheduler.join(WorkerId(id.0), slots, methods());
                self.hand_out(gateway, &grants);
            }
            Up::Window(slots) => {
                let link = self.links.get_mut(&id).expect("links are kept");
                (link.window, link.since) = (slots, self.now);
                let grants = self.gateways[gateway].scheduler.resize(WorkerId(id.0), slots);
                self.hand_out(gateway, &grants);
            }
            Up::Leaving => {
                self.forget(id);
                self.down(id, Down::Released);
            }
            Up::Outcome { job, queue_us, run_us } => self.outcome(id, job, queue_us, run_us),
            Up::End => assert_eq!(self.at_link(id), [], "a worker that left in order has taken jobs with it"),
        }
        self.check_gateway(gateway);
    }

    fn outcome(&mut self, id: LinkId, job: JobId, queue_us: u64, run_us: u64) {
        let link = self.links.get_mut(&id).expect("links are kept");
        let gateway = link.gateway;
        let at = &mut self.gateways[gateway];
        let known = at.jobs.remove(&job).expect("an outcome of a job that has ended");
        let (by, sent) = known.sent.expect("an outcome of a job that waits");
        assert_eq!(by, id, "it is at another worker");
        link.outstanding -= 1;
        let away_us = self.now - sent;
        link.learned.observe(Told { away_us, on_node_us: queue_us + run_us, run_us, bytes: 0 });
        link.prefetch = link.learned.prefetch(link.window);
        let grants = at.scheduler.finish(job, Some(spent(run_us)), Some(link.prefetch));
        self.end(known.request);
        self.hand_out(gateway, &grants);
    }

    /// Nothing is granted there any more.
    fn forget(&mut self, id: LinkId) {
        let at = &mut self.gateways[self.links[&id].gateway];
        at.links.remove(&id);
        at.told.remove(&id);
        at.scheduler.leave(WorkerId(id.0));
    }

    fn at_link(&self, id: LinkId) -> Vec<JobId> {
        let jobs = self.gateways[self.links[&id].gateway].jobs.iter();
        jobs.filter(|(_, job)| job.sent.is_some_and(|(by, _)| by == id)).map(|(job, _)| *job).collect()
    }

    /// A link is seen to be broken. What was there is lost, and most of it is tried again.
    pub(crate) fn lose(&mut self, id: LinkId) {
        self.forget(id);
        let gateway = self.links[&id].gateway;
        for job in self.at_link(id) {
            let at = &mut self.gateways[gateway];
            let known = at.jobs.remove(&job).expect("it has just been there");
            let grants = at.scheduler.finish(job, None, None);
            self.requests[known.request].lost += 1;
            self.asked.lost += 1;
            self.hand_out(gateway, &grants);
            if self.dice.below(4) > 0 {
                self.submit(gateway, known.request);
            } else {
                self.end(known.request);
            }
        }
        self.check_gateway(gateway);
    }

    /// Each worker for which that is news.
    pub(crate) fn tell_backlogs(&mut self, gateway: usize) {
        let at = &mut self.gateways[gateway];
        let mut news = Vec::new();
        for id in &at.links {
            let jobs = at.scheduler.backlog(WorkerId(id.0));
            let is_news = if jobs > 0 { at.told.insert(*id) } else { at.told.remove(id) };
            if is_news {
                news.push((*id, jobs as u64));
            }
        }
        for (id, jobs) in news {
            self.down(id, Down::Backlog(jobs));
        }
    }
}
