//! What gateways and workers promise together. Each bound says for how long it may be otherwise: what one end decides,
//! the other hears a way later.
//!
//! - At a gateway, at every moment: no worker has a place while work waits, and none is sent more than its window and
//!   what the rule of `window.rs` comes to for the briefest job and the longest round trip: nothing more, where every
//!   job takes more than fifty round trips.
//! - At a worker, at every moment: the windows that it has told sum to its slots at least, and to less than these and
//!   one for each gateway.
//! - No slot is idle for longer than one round trip of a grant, that is two ways and the time that answers are held,
//!   while work has waited for so long at gateways that may fill all slots.
//! - Windows follow the backlogs within one report (50 ms) and one round trip: then gateways where work waits share the
//!   slots, and every other keeps one.
//! - A job runs once, and once more for each time that it was lost with its link; it has one answer (`worker.rs`,
//!   `world.rs`).
//! - Tenants: `shares.rs`.

use crate::worker::Worker;
use crate::world::{HELD, Kind, Link, METHODS, TOLD_EVERY, Time, World};

/// As `window.rs` has them.
const LONG: u64 = 50;
const MOST: u64 = 256;

/// How often the promises were at stake that a world may keep without a rule, as nothing happens that would break them. The
/// others are at stake at every step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// A job was granted where none may be held beyond the window.
    pub(crate) beyond: usize,
    /// A slot was idle while gateways that may fill all had work.
    idle: usize,
    /// Work waited at some of a worker's gateways, and at some not.
    moved: usize,
    /// Two tenants had waited at a gateway since before, and one was granted something: in calm worlds.
    shared: usize,
    /// A job was lost with its link: in wild worlds.
    pub(crate) lost: usize,
}

impl Asked {
    pub(crate) fn add(&mut self, other: Self) {
        self.beyond += other.beyond;
        self.idle += other.idle;
        self.moved += other.moved;
        self.shared += other.shared;
        self.lost += other.lost;
    }

    /// Of those that a world of this kind has at stake, but for what is lost.
    pub(crate) fn least(&self, kind: Kind) -> usize {
        let least = self.beyond.min(self.idle).min(self.moved);
        if kind == Kind::Calm { least.min(self.shared) } else { least }
    }
}

/// Jobs that may be at a worker beyond the window of its gateway, whatever that has learned.
pub(crate) fn most_beyond(kind: Kind, costs: &[u64; METHODS], link: &Link) -> u32 {
    let least = costs.iter().copied().min().unwrap_or(0);
    let briefest = if kind == Kind::Wild { least / 2 } else { least };
    let held = if briefest <= HELD { HELD } else { 0 };
    let round_trip = 2 * link.way_us + held;
    if briefest > LONG * round_trip {
        return 0;
    }
    // Learned with a larger window, it stands until the next outcome.
    let finished = (u64::from(link.slots) * (round_trip + held)).div_ceil(briefest.max(1));
    finished.min(MOST) as u32
}

impl World {
    /// After something has happened there.
    pub(crate) fn check_gateway(&mut self, gateway: usize) {
        let largest = self.costs.iter().copied().max().unwrap_or(0);
        let at = &mut self.gateways[gateway];
        let waits = at.scheduler.waiting() > 0;
        if waits != at.waits {
            (at.waits, at.since) = (waits, self.now);
        }
        for id in at.links.iter().filter(|_| waits) {
            let link = &self.links[id];
            assert!(
                link.outstanding >= link.window + link.prefetch,
                "a place is free while work waits: {link:?}"
            );
        }
        if at.links.is_empty() {
            at.shares.forget();
        }
        if self.kind == Kind::Calm {
            self.asked.shared += at.shares.check(largest);
        }
    }

    /// After it has told windows.
    pub(crate) fn check_told(&self, worker: u64) {
        let worker = &self.workers[&worker];
        let windows = self.links_of(worker).filter(|link| link.welcomed).map(|link| link.told);
        let (told, gateways) =
            windows.fold((0_u32, 0_u32), |(told, gateways), window| (told + window, gateways + 1));
        let may_be = worker.slots..worker.slots + gateways;
        assert!(gateways == 0 || may_be.contains(&told), "{told} slots of {} told", worker.slots);
    }

    /// After every step.
    pub(crate) fn check_workers(&mut self) {
        let (mut idle, mut moved) = (0, 0);
        for worker in self.workers.values().filter(|worker| !worker.leaving) {
            let way_us = self.links_of(worker).map(|link| link.way_us).max().unwrap_or(0);
            idle += usize::from(self.check_slots(worker, 2 * way_us + HELD));
            // When everything drains, nothing is told any more.
            moved += usize::from(!self.drains && self.check_windows(worker, TOLD_EVERY + 2 * way_us));
        }
        self.asked.idle += idle;
        self.asked.moved += moved;
    }

    /// No slot idles for longer than a grant takes to come. Answers whether that was at stake.
    fn check_slots(&self, worker: &Worker, within: Time) -> bool {
        let (Some(idle), Some(then)) = (worker.idle.front(), self.now.checked_sub(within)) else {
            return false;
        };
        let fills = |link: &&Link| {
            let gateway = &self.gateways[link.gateway];
            stands(link) && link.since <= then && gateway.waits && gateway.since <= then
        };
        let may_be_filled: u32 = self.links_of(worker).filter(fills).map(|link| link.window).sum();
        if may_be_filled < worker.slots {
            return false;
        }
        assert!(*idle >= then, "a slot is idle since {idle}, at {} work waits since {then}", self.now);
        true
    }

    /// The windows are where work waits, once it has for so long. Answers whether that was at stake.
    fn check_windows(&self, worker: &Worker, within: Time) -> bool {
        let backlogs = self.links_of(worker).map(|link| self.gateways[link.gateway].since);
        let since = backlogs.max().unwrap_or(0).max(worker.since);
        if self.now - since <= within || !self.links_of(worker).all(stands) {
            return false;
        }
        let windows = |waits: bool| -> Vec<u32> {
            let links = self.links_of(worker).filter(|link| self.gateways[link.gateway].waits == waits);
            links.map(|link| link.window).collect()
        };
        let (busy, rest) = (windows(true), windows(false));
        let sharers = if busy.is_empty() { &rest } else { &busy };
        let (least, most) = (sharers.iter().min(), sharers.iter().max());
        let (Some(least), Some(most)) = (least, most) else { return false };
        assert!(most - least <= 1, "{busy:?} where work waits, {rest:?} elsewhere");
        assert_eq!(sharers.iter().sum::<u32>(), worker.slots.max(sharers.len() as u32), "{busy:?}, {rest:?}");
        assert!(busy.is_empty() || rest.iter().all(|window| *window == 1), "{rest:?} where nothing waits");
        !busy.is_empty() && !rest.is_empty()
    }

    fn links_of(&self, worker: &Worker) -> impl Iterator<Item = &Link> {
        worker.links.iter().map(move |id| &self.links[id])
    }
}

/// Whether both of its ends know it, and nothing has happened to it that one of them does not know.
fn stands(link: &Link) -> bool {
    link.welcomed && !link.broken
}
