//! What happens, when, and by which chance.

use std::collections::BTreeMap;

use turno::node::share::LinkId;
use turno_gateway::scheduler::{JobId, Lane};
use turno_gateway::window::Window;
use turno_proto::habits::ANSWERS_HELD;

use crate::dice::Dice;
use crate::gateway::Gateway;
use crate::promises::Asked;
use crate::worker::{Run, Worker};

/// µs since the world began.
pub(crate) type Time = u64;

/// How often a gateway tells its workers whether work waits (`gateway.rs` there).
pub(crate) const TOLD_EVERY: Time = 50_000;
/// How long the answer to a brief job waits at its worker, at most.
pub(crate) const HELD: Time = ANSWERS_HELD.as_micros() as Time;
pub(crate) const METHODS: usize = 3;
pub(crate) const TENANTS: usize = 3;
const MOST_WORKERS: usize = 4;
/// Steps in which everything must have ended.
const PATIENCE: usize = 50_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Calm,
    Wild,
}

/// Down a link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Down {
    Welcome,
    Invoke(JobId),
    Backlog(u64),
    Released,
}

/// Up a link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Up {
    Hello,
    Outcome { job: JobId, queue_us: u64, run_us: u64 },
    Window(u32),
    Leaving,
    End,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A gateway's clients come, as long as it is this mood that they are in.
    Arrive(usize, u64),
    Mood(usize),
    Tell(usize),
    Down(LinkId, Down),
    Up(LinkId, Up),
    /// A slot of this worker has done a job.
    Done(u64, Run),
    /// A gateway notices that a link is broken.
    Missed(LinkId),
    /// The worker does.
    Dropped(LinkId),
    Fate,
}

/// What a client wants, however often it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) method: usize,
    pub(crate) lane: Lane,
    pub(crate) tenant: usize,
    /// How often it has begun to run.
    pub(crate) runs: u32,
    /// How often it was lost with a link.
    pub(crate) lost: u32,
    pub(crate) done: bool,
}

/// A link: what either end knows of it, and the way between.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) gateway: usize,
    pub(crate) worker: u64,
    /// All of the worker's.
    pub(crate) slots: u32,
    /// One way.
    pub(crate) way_us: u64,
    /// Nothing goes through any more; either end notices in its own time.
    pub(crate) broken: bool,
    /// When the last of what was said up arrives.
    said_until: Time,
    /// Slots that the gateway may fill, as it knows it; and since when.
    pub(crate) window: u32,
    pub(crate) since: Time,
    pub(crate) learned: Window,
    pub(crate) prefetch: u32,
    /// Jobs that the gateway has sent and not heard of.
    pub(crate) outstanding: u32,
    /// The worker counts it among its gateways.
    pub(crate) welcomed: bool,
    /// The window that the worker has told.
    pub(crate) told: u32,
    pub(crate) released: bool,
    /// Jobs that the worker has.
    pub(crate) here: u32,
}

pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) dice: Dice,
    pub(crate) now: Time,
    pub(crate) steps: usize,
    /// In the order of time; what happens at once, in the order in which it came about.
    events: BTreeMap<(Time, u64), Event>,
    next_event: u64,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) workers: BTreeMap<u64, Worker>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    next_worker: u64,
    next_link: u64,
    pub(crate) requests: Vec<Request>,
    /// Requests that have not ended.
    open: usize,
    /// What a job of each method takes; in wild worlds up to half as much more or less.
    pub(crate) costs: [u64; METHODS],
    /// Nothing comes any more.
    pub(crate) drains: bool,
    pub(crate) asked: Asked,
}

impl World {
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let batch_share = [0.0, 0.1, 0.5][dice.below(3) as usize];
        let most_waiting = 10 + dice.below(30) as usize;
        let is_mixed = dice.below(3) == 0;
        let mut scale = 10u64.pow(1 + dice.below(5) as u32);
        let costs = std::array::from_fn(|_| {
            if is_mixed {
                scale = 10u64.pow(1 + dice.below(5) as u32);
            }
            scale * (1 + dice.below(9))
        });
        let gateways = 2 + dice.below(2) as usize;
        let gateways = (0..gateways).map(|_| Gateway::new(most_waiting, batch_share, &costs)).collect();
        let mut world = Self::of(kind, dice, gateways, costs);
        for gateway in 0..world.gateways.len() {
            let first = world.dice.below(TOLD_EVERY);
            world.at(first, Event::Tell(gateway));
            world.at(0, Event::Mood(gateway));
        }
        world.start();
        world.fate_again();
        world
    }

    fn of(kind: Kind, dice: Dice, gateways: Vec<Gateway>, costs: [u64; METHODS]) -> Self {
        Self {
            kind,
            dice,
            now: 0,
            steps: 0,
            events: BTreeMap::new(),
            next_event: 0,
            gateways,
            workers: BTreeMap::new(),
            links: BTreeMap::new(),
            next_worker: 0,
            next_link: 0,
            requests: Vec::new(),
            open: 0,
            costs,
            drains: false,
            asked: Asked::default(),
        }
    }

    /// One gateway and one worker; every job takes as long.
    pub(crate) fn steady(slots: u32, service_us: u64, way_us: u64) -> Self {
        let costs = [service_us; METHODS];
        let gateway = Gateway::new(usize::MAX, 0.0, &costs);
        let mut world = Self::of(Kind::Calm, Dice::new(0), vec![gateway], costs);
        let worker = world.come(slots);
        world.dial(worker, 0, way_us);
        world
    }

    /// What part of their time slots are idle while jobs wait, and how many wait at the worker at most, once a quarter
    /// of `jobs` has gone there.
    pub(crate) fn idle_share_and_most_beyond(&mut self, jobs: usize) -> (f64, usize) {
        (0..jobs).for_each(|_| self.arrive(0));
        let (mut idle, mut all, mut beyond) = (0, 0, 0);
        while self.gateways[0].scheduler.waiting() > 0 {
            let (idle_slots, since) = (self.workers[&1].idle.len() as u64, self.now);
            self.step();
            if self.gateways[0].scheduler.waiting() < jobs - jobs / 4 {
                idle += idle_slots * (self.now - since);
                all += u64::from(self.workers[&1].slots) * (self.now - since);
                beyond = beyond.max(self.workers[&1].queue.len());
            }
        }
        (idle as f64 / all as f64, beyond)
    }

    fn at(&mut self, in_us: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now + in_us, self.next_event), event);
    }

    pub(crate) fn step(&mut self) {
        let next = self.events.pop_first();
        let ((now, _), event) = next.expect("somebody waits, and nothing happens any more");
        self.now = now;
        self.steps += 1;
        match event {
            Event::Arrive(gateway, mood) => self.arrivals(gateway, mood),
            Event::Mood(gateway) => self.mood(gateway),
            Event::Tell(gateway) => {
                self.tell_backlogs(gateway);
                if !self.drains {
                    self.at(TOLD_EVERY, Event::Tell(gateway));
                }
            }
            // What is on its way is lost with the link.
            Event::Down(id, _) | Event::Up(id, _) if self.links[&id].broken => {}
            Event::Down(id, down) => self.hear_down(id, down),
            Event::Up(id, up) => self.hear_up(id, up),
            Event::Done(worker, run) => self.done(worker, run),
            Event::Missed(id) => self.lose(id),
            Event::Dropped(id) => self.dropped(id),
            Event::Fate => self.fate(),
        }
        self.check_workers();
    }

    /// Nothing comes any more, and a worker is there: everything ends.
    pub(crate) fn drain(&mut self) {
        self.drains = true;
        self.gateways.iter_mut().for_each(|gateway| gateway.mood += 1);
        self.start();
        let until = self.steps + PATIENCE;
        while self.open > 0 {
            self.step();
            assert!(self.steps < until, "{} requests do not end", self.open);
        }
        for gateway in &self.gateways {
            assert_eq!((gateway.scheduler.waiting(), gateway.jobs.len()), (0, 0));
        }
    }

    pub(crate) fn down(&mut self, id: LinkId, down: Down) {
        self.at(self.links[&id].way_us, Event::Down(id, down));
    }

    /// An answer may be held; the end comes behind all that was said.
    pub(crate) fn up(&mut self, id: LinkId, up: Up, held_us: u64) {
        let link = self.links.get_mut(&id).expect("links are kept");
        let mut arrives = self.now + link.way_us + held_us;
        if matches!(up, Up::End) {
            arrives = arrives.max(link.said_until);
        }
        link.said_until = link.said_until.max(arrives);
        self.at(arrives - self.now, Event::Up(id, up));
    }

    pub(crate) fn run(&mut self, worker: u64, run: Run) {
        self.at(run.run_us, Event::Done(worker, run));
    }

    pub(crate) fn end(&mut self, request: usize) {
        let request = &mut self.requests[request];
        assert!(!request.done, "answered twice");
        request.done = true;
        self.open -= 1;
    }

    fn pace(&self) -> u64 {
        self.costs.iter().sum::<u64>() / METHODS as u64
    }

    /// Nobody comes, some come one by one, or a crowd.
    fn mood(&mut self, gateway: usize) {
        if self.drains {
            return;
        }
        let at = &mut self.gateways[gateway];
        at.mood += 1;
        at.comes = [0, 1, 8][self.dice.below(3) as usize];
        let mood = at.mood;
        if at.comes > 0 {
            self.at(0, Event::Arrive(gateway, mood));
        }
        let lasts = self.dice.below(40) * self.pace() + self.dice.below(4) * TOLD_EVERY;
        self.at(lasts, Event::Mood(gateway));
    }

    fn arrivals(&mut self, gateway: usize, mood: u64) {
        if mood != self.gateways[gateway].mood {
            return;
        }
        let come = 1 + self.dice.below(self.gateways[gateway].comes);
        (0..come).for_each(|_| self.arrive(gateway));
        let pace = self.pace();
        let next = 1 + self.dice.below(2 * pace);
        self.at(next, Event::Arrive(gateway, mood));
    }

    fn arrive(&mut self, gateway: usize) {
        let lane = if self.dice.below(2) == 0 { Lane::Calls } else { Lane::Batch };
        let method = self.dice.below(METHODS as u64) as usize;
        let tenant = self.dice.below(TENANTS as u64) as usize;
        self.requests.push(Request { method, lane, tenant, runs: 0, lost: 0, done: false });
        self.open += 1;
        self.submit(gateway, self.requests.len() - 1);
        self.check_gateway(gateway);
    }

    fn fate(&mut self) {
        if self.drains {
            return;
        }
        let roll = self.dice.below(4);
        let staying = self.workers.iter().filter(|(_, worker)| !worker.leaving);
        let staying: Vec<u64> = staying.map(|(id, _)| *id).collect();
        let which = self.dice.below(staying.len().max(1) as u64) as usize;
        match (staying.get(which).copied(), roll) {
            (None, _) => self.start(),
            (_, 0) if staying.len() < MOST_WORKERS => self.start(),
            (Some(worker), 1) => self.leave(worker),
            (Some(worker), 2) if self.kind == Kind::Wild => self.die(worker),
            (Some(worker), 3) if self.kind == Kind::Wild => self.break_link(worker),
            _ => {}
        }
        self.fate_again();
    }

    fn fate_again(&mut self) {
        let next = self.dice.below(60) * self.pace() + self.dice.below(2 * TOLD_EVERY);
        self.at(next, Event::Fate);
    }

    /// A worker comes and dials every gateway.
    fn start(&mut self) {
        let slots = 1 + self.dice.below(4) as u32;
        let worker = self.come(slots);
        for gateway in 0..self.gateways.len() {
            let way_us = self.way();
            self.dial(worker, gateway, way_us);
        }
    }

    fn come(&mut self, slots: u32) -> u64 {
        self.next_worker += 1;
        self.workers.insert(self.next_worker, Worker::new(slots, self.now));
        self.next_worker
    }

    /// Ten microseconds to nine milliseconds.
    pub(crate) fn way(&mut self) -> u64 {
        10u64.pow(1 + self.dice.below(3) as u32) * (1 + self.dice.below(9))
    }

    pub(crate) fn dial(&mut self, id: u64, gateway: usize, way_us: u64) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let worker = self.workers.get_mut(&id).expect("who dials is there");
        worker.links.insert(link);
        worker.since = self.now;
        let slots = worker.slots;
        let new = Link {
            gateway,
            worker: id,
            slots,
            way_us,
            broken: false,
            said_until: 0,
            window: slots,
            since: self.now,
            learned: Window::default(),
            prefetch: 0,
            outstanding: 0,
            welcomed: false,
            told: slots,
            released: false,
            here: 0,
        };
        self.links.insert(link, new);
        self.up(link, Up::Hello, 0);
    }

    /// With all that it has; each gateway misses it in its own time.
    fn die(&mut self, id: u64) {
        let worker = self.workers.remove(&id).expect("who dies was there");
        for link in worker.links {
            self.cut(link);
        }
    }

    /// One of its links, which both ends know to stand; it dials again.
    fn break_link(&mut self, id: u64) {
        let links = &self.workers[&id].links;
        let which = self.dice.below(links.len().max(1) as u64) as usize;
        let link = links.iter().nth(which).copied();
        if let Some(link) = link.filter(|link| self.links[link].welcomed && !self.links[link].broken) {
            self.cut(link);
            let noticed = self.dice.below(TOLD_EVERY);
            self.at(noticed, Event::Dropped(link));
        }
    }

    fn cut(&mut self, id: LinkId) {
        self.links.get_mut(&id).expect("links are kept").broken = true;
        let noticed = self.dice.below(TOLD_EVERY);
        self.at(noticed, Event::Missed(id));
    }
}
