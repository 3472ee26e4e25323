//! Whole meshes by chance, in a time of their own. Several gateways have the scheduler that gateways have and the rule
//! of how much a worker may hold; several workers have the rule by which workers share their slots among gateways. What
//! they say to each other is on its way for a time; jobs take microseconds or tenths of a second, links break, workers
//! come, leave and die. After every step the promises of `promises.rs` are checked, and at the end everything drains.
//! What the scheduler alone promises is checked in its own simulation, with kinds of worker, limits, deadlines, chunks.
//!
//! In calm worlds a job's cost is its method's and nothing is lost: there tenants' shares are checked to the job.

#[path = "../../../services/gateway/src/scheduler/simulation/dice.rs"]
mod dice;
mod gateway;
mod promises;
mod shares;
mod worker;
mod world;

use promises::Asked;
use world::{Kind, World};

/// Of each world; then it drains.
const STEPS: usize = 2_000;
/// So often each promise that is counted has to have been at stake, in all worlds of a test.
const LEAST_ASKED: usize = 500;
/// So many jobs have to be lost with their links, in all wild worlds of a test: a link takes a few with it.
const LEAST_LOST: usize = 50;

fn live(kind: Kind, seeds: std::ops::Range<u64>) {
    let mut asked = Asked::default();
    for seed in seeds {
        let lived = std::panic::catch_unwind(|| {
            let mut world = World::new(kind, seed);
            while world.steps < STEPS {
                world.step();
            }
            world.drain();
            world.asked
        });
        let Ok(at_stake) = lived else { panic!("in the world of seed {seed}") };
        asked.add(at_stake);
    }
    assert!(asked.least(kind) >= LEAST_ASKED, "nothing was at stake: {asked:?}");
    assert!(kind == Kind::Calm || asked.lost >= LEAST_LOST, "nothing was lost: {asked:?}");
}

#[test]
fn calm_worlds() {
    live(Kind::Calm, 0..130);
}

#[test]
fn more_calm_worlds() {
    live(Kind::Calm, 130..260);
}

#[test]
fn wild_worlds() {
    live(Kind::Wild, 0..130);
}

#[test]
fn more_wild_worlds() {
    live(Kind::Wild, 130..260);
}

/// A worker with a long queue behind it, a way of 100 µs off: its slots do not idle between jobs of up to fifty round
/// trips, and of longer ones none is there before its slot. Of brief ones there are no more than its slots do in a round
/// trip and the 2 ms for which answers are held, and in as long once more, by which a round trip is taken to be longer.
#[test]
fn brief_jobs_keep_a_worker_full_and_long_ones_are_not_hoarded() {
    let services_us = [100, 500, 1_000, 2_100, 9_000, 11_000, 100_000];
    for (slots, most_beyond) in
        [(1, [42, 9, 5, 1, 1, 0, 0]), (2, [84, 17, 9, 1, 1, 0, 0]), (4, [168, 34, 17, 1, 1, 0, 0])]
    {
        for (service_us, most_beyond) in services_us.into_iter().zip(most_beyond) {
            let mut world = World::steady(slots, service_us, 100);
            let (share, beyond) = world.idle_share_and_most_beyond(600);
            let idles_at_most = if most_beyond == 0 { 0.02 } else { 0.001 };
            assert!(share <= idles_at_most, "{slots} slots idle for {share} of {service_us} µs jobs' time");
            assert!(beyond <= most_beyond, "{beyond} jobs of {service_us} µs wait at {slots} slots");
        }
    }
}
