//! A worker's half: the rule shares its slots among gateways, and what came first runs first.

use std::collections::{BTreeSet, VecDeque};

use turno::node::share::{LinkId, Share};
use turno_gateway::scheduler::JobId;

use crate::world::{Down, HELD, Kind, Time, Up, World};

pub(crate) struct Worker {
    pub(crate) slots: u32,
    share: Share,
    /// Those that it has dialled and not given up.
    pub(crate) links: BTreeSet<LinkId>,
    /// When they last changed.
    pub(crate) since: Time,
    pub(crate) queue: VecDeque<Run>,
    /// Since when each idle slot is; the one that has been for longest runs next.
    pub(crate) idle: VecDeque<Time>,
    pub(crate) leaving: bool,
}

/// A job at a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    link: LinkId,
    job: JobId,
    request: usize,
    came: Time,
    began: Time,
    pub(crate) run_us: u64,
}

impl Worker {
    pub(crate) fn new(slots: u32, now: Time) -> Self {
        Self {
            slots,
            share: Share::new(slots),
            links: BTreeSet::new(),
            since: now,
            queue: VecDeque::new(),
            idle: (0..slots).map(|_| now).collect(),
            leaving: false,
        }
    }
}

impl World {
    pub(crate) fn hear_down(&mut self, id: LinkId, down: Down) {
        let link = self.links.get_mut(&id).expect("links are kept");
        let of = link.worker;
        // Its links are broken if it has died, and have ended if it has left: then nothing is said that matters.
        let Some(worker) = self.workers.get_mut(&of) else { return };
        match down {
            Down::Welcome => {
                link.welcomed = true;
                worker.since = self.now;
                let changed = worker.share.join(id);
                self.tell_windows(of, &changed);
            }
            Down::Invoke(job) => {
                link.here += 1;
                let request = self.gateways[link.gateway].request(job);
                let cost = self.costs[self.requests[request].method];
                let run_us = if self.kind == Kind::Wild { cost / 2 + self.dice.below(cost) } else { cost };
                let now = self.now;
                worker.queue.push_back(Run { link: id, job, request, came: now, began: now, run_us });
                self.begin(of);
            }
            Down::Backlog(jobs) => {
                let changed = worker.share.backlog(id, jobs);
                self.tell_windows(of, &changed);
            }
            Down::Released => {
                link.released = true;
                self.end_links(of);
            }
        }
    }

    fn tell_windows(&mut self, worker: u64, changed: &[(LinkId, u32)]) {
        for (id, window) in changed {
            self.links.get_mut(id).expect("links are kept").told = *window;
            self.up(*id, Up::Window(*window), 0);
        }
        self.check_told(worker);
    }

    /// Idle slots take what has come.
    fn begin(&mut self, id: u64) {
        loop {
            let worker = self.workers.get_mut(&id).expect("a worker that has slots");
            if worker.idle.is_empty() {
                break;
            }
            let Some(mut run) = worker.queue.pop_front() else { break };
            worker.idle.pop_front();
            run.began = self.now;
            let request = &mut self.requests[run.request];
            request.runs += 1;
            assert!(request.runs <= 1 + request.lost, "run twice, though it was never lost: {request:?}");
            self.run(id, run);
        }
    }

    pub(crate) fn done(&mut self, id: u64, run: Run) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.idle.push_back(self.now);
        if worker.links.contains(&run.link) {
            let may_be_held = run.run_us <= HELD && !worker.queue.is_empty();
            let held = if may_be_held { self.dice.below(HELD) } else { 0 };
            let (queue_us, run_us) = (run.began - run.came, run.run_us);
            self.up(run.link, Up::Outcome { job: run.job, queue_us, run_us }, held);
            self.links.get_mut(&run.link).expect("links are kept").here -= 1;
        }
        self.begin(id);
        self.end_links(id);
    }

    /// In order.
    pub(crate) fn leave(&mut self, id: u64) {
        let worker = self.workers.get_mut(&id).expect("who leaves is there");
        worker.leaving = true;
        for link in worker.links.clone() {
            self.up(link, Up::Leaving, 0);
        }
    }

    /// Those that were released, and have nothing here any more.
    fn end_links(&mut self, id: u64) {
        let links = self.workers[&id].links.iter().copied();
        let over = |link: &LinkId| self.links[link].released && self.links[link].here == 0;
        for link in links.filter(over).collect::<Vec<_>>() {
            self.up(link, Up::End, 0);
            self.unlink(id, link);
        }
        let worker = &self.workers[&id];
        if worker.leaving && worker.links.is_empty() {
            self.workers.remove(&id);
        }
    }

    fn unlink(&mut self, id: u64, link: LinkId) {
        let worker = self.workers.get_mut(&id).expect("a worker that has links");
        worker.links.remove(&link);
        worker.since = self.now;
        let changed = worker.share.leave(link);
        self.tell_windows(id, &changed);
    }

    /// A link is seen to be broken: what it brought and has not begun does not, and it is dialled again.
    pub(crate) fn dropped(&mut self, link: LinkId) {
        let (id, gateway) = (self.links[&link].worker, self.links[&link].gateway);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.queue.retain(|run| run.link != link);
        let leaving = worker.leaving;
        self.unlink(id, link);
        if leaving {
            self.end_links(id);
        } else {
            let way_us = self.way();
            self.dial(id, gateway, way_us);
        }
    }
}
