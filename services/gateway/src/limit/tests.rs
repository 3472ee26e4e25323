//! The limit against a simulated node: threads that take turns from one queue, calls that need them before and after
//! they wait for something else.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{FLOOR, Limit, Queue};

const SECOND: u64 = 1_000_000;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// What a call needs: threads for `cpu_us` in the mean, so much of it before it waits and the rest after.
#[derive(Clone, Copy)]
struct Load {
    threads: usize,
    cpu_us: f64,
    wait_us: u64,
    before: f64,
}

impl Load {
    fn capacity(&self) -> f64 {
        self.threads as f64 * 1e6 / self.cpu_us
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Polled,
    Woken,
}

struct Call {
    sent_us: u64,
    waits: bool,
}

/// What came of the calls of one phase.
#[derive(Default)]
struct Tally {
    refused: u64,
    sojourns: Vec<u64>,
}

impl Tally {
    fn p99_ms(&mut self) -> f64 {
        self.sojourns.sort_unstable();
        self.sojourns[self.sojourns.len() * 99 / 100] as f64 / 1e3
    }

    fn refused_at_most(&self, percent: u64) -> bool {
        self.refused * 100 <= self.sojourns.len() as u64 * percent
    }
}

struct Node {
    load: Load,
    random: Random,
    limit: Limit,
    now: u64,
    next: f64,
    calls: Vec<Call>,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    queue: VecDeque<usize>,
    idle: usize,
    /// What a poll takes in the mean, as the node learns it.
    poll_us: f64,
    in_flight: u32,
    most: u32,
}

impl Node {
    fn new(load: Load, seed: u64) -> Self {
        Self {
            load,
            random: Random(seed),
            limit: Limit::default(),
            now: 0,
            next: 0.0,
            calls: Vec::new(),
            events: BinaryHeap::new(),
            queue: VecDeque::new(),
            idle: load.threads,
            poll_us: 0.0,
            in_flight: 0,
            most: 0,
        }
    }

    /// Open-loop Poisson arrivals, `a_second` of them in the mean, until `until`.
    fn run(&mut self, a_second: f64, until: u64, tally: &mut Tally) {
        let gap = 1e6 / a_second;
        self.next = self.now as f64 + self.random.exponential(gap);
        loop {
            let arrival = self.next as u64;
            let event = self.events.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
            if arrival.min(event) >= until {
                break;
            }
            if arrival <= event {
                self.now = arrival;
                self.arrive(tally);
                self.next += self.random.exponential(gap);
            } else {
                self.step(tally);
            }
        }
        self.now = until;
    }

    fn arrive(&mut self, tally: &mut Tally) {
        if !self.limit.allows(self.now, self.in_flight) {
            tally.refused += 1;
            return;
        }
        self.limit.sent();
        self.in_flight += 1;
        self.most = self.most.max(self.in_flight);
        self.calls.push(Call { sent_us: self.now, waits: self.load.wait_us > 0 });
        self.enqueue(self.calls.len() - 1);
    }

    fn enqueue(&mut self, call: usize) {
        self.queue.push_back(call);
        self.poll();
    }

    fn poll(&mut self) {
        while self.idle > 0 {
            let Some(at) = self.queue.pop_front() else { return };
            self.idle -= 1;
            let share = match (self.load.wait_us, self.calls[at].waits) {
                (0, _) => 1.0,
                (_, true) => self.load.before,
                (_, false) => 1.0 - self.load.before,
            };
            let cpu = self.random.exponential(self.load.cpu_us * share);
            self.poll_us += if self.poll_us > 0.0 { (cpu - self.poll_us) / 128.0 } else { cpu };
            let cpu = cpu as u64;
            self.events.push(Reverse((self.now + cpu, at, Event::Polled)));
        }
    }

    fn step(&mut self, tally: &mut Tally) {
        let Some(Reverse((at, call, event))) = self.events.pop() else { return };
        self.now = at;
        if event == Event::Woken {
            return self.enqueue(call);
        }
        self.idle += 1;
        if std::mem::take(&mut self.calls[call].waits) {
            self.events.push(Reverse((at + self.load.wait_us, call, Event::Woken)));
        } else {
            self.answer(call, tally);
        }
        self.poll();
    }

    fn answer(&mut self, call: usize, tally: &mut Tally) {
        self.in_flight -= 1;
        tally.sojourns.push(self.now - self.calls[call].sent_us);
        let queue_us = self.queue.len() as f64 * self.poll_us / self.load.threads as f64;
        let call_ns = self.load.cpu_us / self.load.threads as f64 * 1e3;
        let (wait_us, call_ns, in_flight) = (queue_us as u64, call_ns as u64, self.in_flight);
        self.limit.heard(self.now, Queue { wait_us, call_ns, in_flight });
    }
}

const CRUNCHES: Load = Load { threads: 2, cpu_us: 1000.0, wait_us: 0, before: 0.0 };
const LONG: Load = Load { threads: 4, cpu_us: 10_000.0, ..CRUNCHES };
const HALVES: Load = Load { wait_us: 5000, before: 0.5, ..CRUNCHES };
/// It knows what it has taken on only when it is late for it.
const WAITS: Load = Load { threads: 1, wait_us: 5000, before: 0.005, ..CRUNCHES };
const FAR_HALVES: Load = Load { wait_us: 100_000, ..HALVES };
const FAR: Load = Load { wait_us: 100_000, ..WAITS };

/// With each load the seconds that do not count for the tail, since what comes in before the first of it is back at the
/// threads is let in and has to be worked off; and how many in a hundred are refused at the knee at most: what is far
/// out of the ordinary at 90 % of what a node can do looks like overload, for a moment, and what is told late for longer.
#[test]
fn ten_times_the_knee_does_not_hurt() {
    let loads = [
        ("crunches", CRUNCHES, 0, 1),
        ("long", LONG, 0, 1),
        ("halves", HALVES, 0, 1),
        ("waits", WAITS, 0, 1),
        ("far, halves", FAR_HALVES, 0, 1),
        ("far", FAR, 3, 3),
    ];
    for (name, load, first, percent) in loads {
        for seed in 0..3 {
            ten_times_the_knee(&format!("{name}, seed {seed}"), load, first, percent, seed);
        }
    }
}

fn ten_times_the_knee(name: &str, load: Load, first: u64, percent: u64, seed: u64) {
    let mut node = Node::new(load, seed);
    let knee = load.capacity() * 0.9;
    let mut run = |a_second: f64, seconds: u64| {
        let mut tally = Tally::default();
        let until = node.now + seconds * SECOND;
        node.run(a_second, until, &mut tally);
        tally
    };
    let mut normal = run(knee, 20);
    let unsettled = run(knee * 10.0, first);
    let mut overload = run(knee * 10.0, 30 - first);
    let _settling = run(knee, 2);
    let mut after = run(knee, 20);

    let a_second = |count: usize, seconds: usize| count as f64 / seconds as f64;
    let goodput = a_second(unsettled.sojourns.len() + overload.sojourns.len(), 30);
    assert!(goodput >= 0.9 * a_second(normal.sojourns.len(), 20), "{name}: {goodput}/s");
    let (known, most) = (normal.p99_ms(), overload.p99_ms().max(after.p99_ms()));
    assert!(most <= 3.0 * known, "{name}: p99 of {most} ms, at the knee {known} ms");
    for tally in [normal, after] {
        assert!(tally.refused_at_most(percent), "{name}: {} refused", tally.refused);
    }
}

/// What comes by chance is no reason to keep a limit.
#[test]
fn an_overload_that_is_over_is_forgotten() {
    for (name, load) in [("crunches", CRUNCHES), ("halves", HALVES), ("waits", WAITS)] {
        for seed in 0..3 {
            let mut node = Node::new(load, seed);
            node.run(load.capacity() * 10.0, 5 * SECOND, &mut Tally::default());
            assert!(node.limit.holds());
            let mut tally = Tally::default();
            node.run(load.capacity() * 0.8, 9 * SECOND, &mut tally);
            assert!(!node.limit.holds(), "{name}, seed {seed}");
        }
    }
}

/// Ten thousand calls in flight that wait 100 ms each and need little of the threads: let in, however they come.
#[test]
fn calls_that_wait_are_never_limited() {
    let load = Load { cpu_us: 6.0, ..FAR_HALVES };
    for seed in 0..2 {
        let (mut node, mut tally) = (Node::new(load, seed), Tally::default());
        for _ in 0..10_000 {
            node.arrive(&mut tally);
        }
        node.run(100_000.0, SECOND / 2, &mut tally);
        assert_eq!((tally.refused, node.limit.holds()), (0, false));
        assert!(node.most > 9_000, "{} in flight", node.most);
    }
}

#[test]
fn bursts_on_an_idle_node_are_let_in() {
    for seed in 0..4 {
        let (mut node, mut tally) = (Node::new(CRUNCHES, seed), Tally::default());
        node.run(CRUNCHES.capacity() / 3.0, SECOND, &mut tally);
        for burst in 1..=10 {
            for _ in 0..1000 {
                node.arrive(&mut tally);
            }
            // A third of what it can do goes on beside.
            node.run(CRUNCHES.capacity() / 3.0, (1 + burst * 2) * SECOND, &mut tally);
        }
        assert!(tally.refused_at_most(1), "seed {seed}: {} refused", tally.refused);
    }
}

/// As many clients as there are, each with its next call when the last is back, and more than the threads can do: a
/// queue that stands but does not grow.
#[test]
fn a_queue_that_stands_is_taken_off() {
    let (mut node, mut tally) = (Node::new(CRUNCHES, 1), Tally::default());
    for _ in 0..600 {
        node.arrive(&mut tally);
    }
    while node.now < 5 * SECOND {
        let answered = tally.sojourns.len();
        node.step(&mut tally);
        for _ in answered..tally.sojourns.len() {
            node.arrive(&mut tally);
        }
    }
    assert!(tally.refused > 500 && node.in_flight < 60, "{} in flight", node.in_flight);
}

fn queue(wait_us: u64) -> Queue {
    Queue { wait_us, call_ns: 1_000_000, in_flight: 1000 }
}

/// Such that there is a limit at the end.
fn alarmed() -> (Limit, u64) {
    let mut limit = Limit::default();
    for step in 0..10 {
        limit.heard(step * 5000, queue(50_000 + 20_000 * step));
    }
    assert!(limit.holds());
    (limit, 45_000)
}

#[test]
fn a_limit_that_refuses_nobody_is_lifted_also_on_an_idle_node() {
    let (mut limit, now) = alarmed();
    assert!(limit.allows(now, FLOOR - 1), "one less would leave a thread idle");
    for _ in 0..FLOOR {
        limit.sent();
    }
    assert!(!limit.allows(now, FLOOR));
    assert!(limit.allows(now + 499_000, FLOOR), "it has drained by now");
    assert!(limit.holds());
    assert!(limit.allows(now + 501_000, FLOOR));
    assert!(!limit.holds());
}

#[test]
fn a_moment_without_a_queue_is_enough() {
    let mut limit = Limit::default();
    for step in 0..1000 {
        let queue_us = if step % 7 == 0 { 9_000 } else { 500_000 + step * 1000 };
        limit.heard(step * 1000, queue(queue_us));
    }
    assert!(!limit.holds());
}
