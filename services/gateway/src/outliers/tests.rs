//! Slow nodes, by example and by simulation.

use proptest::prelude::*;

use super::{Outliers, SECOND_US};

const MS: u64 = 1000;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// By Box and Muller.
    fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }
}

fn feed(outliers: &mut Outliers<u32>, key: u32, away_us: u64, times: u32, now_us: u64) {
    for _ in 0..times {
        outliers.observe(key, away_us, now_us);
    }
}

#[test]
fn with_two_nodes_one_may_be_aside_and_with_one_none() {
    let mut outliers = Outliers::default();
    feed(&mut outliers, 1, 500 * MS, 100, 0);
    assert!(!outliers.is_aside(1, 0));
    feed(&mut outliers, 2, 10 * MS, 16, 0);
    feed(&mut outliers, 1, 500 * MS, 4, 0);
    assert!(outliers.is_aside(1, 0));
    assert!(!outliers.is_aside(2, 0));
}

fn give_up(outliers: &mut Outliers<u32>, key: u32, got_us: u64, times: u32) {
    for _ in 0..times {
        outliers.gave_up(key, got_us, 0);
    }
}

/// Two nodes that take so long.
fn two_nodes(away_us: u64) -> Outliers<u32> {
    let mut outliers = Outliers::default();
    feed(&mut outliers, 1, away_us, 16, 0);
    feed(&mut outliers, 2, away_us, 16, 0);
    outliers
}

#[test]
fn a_node_that_answers_nothing_in_time_is_slow() {
    let mut outliers = two_nodes(10 * MS);
    give_up(&mut outliers, 3, 1_000 * MS, 15);
    assert!(!outliers.is_aside(3, 0));
    // Some callers wait for less.
    give_up(&mut outliers, 3, 200 * MS, 1);
    assert!(outliers.is_aside(3, 0));
}

#[test]
fn what_has_become_slow_is_too_if_nothing_is_waited_for() {
    let mut outliers = two_nodes(10 * MS);
    feed(&mut outliers, 3, 10 * MS, 100, 0);
    give_up(&mut outliers, 3, 1_000 * MS, 8);
    assert!(outliers.is_aside(3, 0));
}

#[test]
fn what_is_given_up_early_says_nothing() {
    let mut outliers = two_nodes(100 * MS);
    for got_us in [0, MS, 30 * MS, 99 * MS] {
        give_up(&mut outliers, 3, got_us, 100);
    }
    // It is no example to the others, and not known for fast itself.
    feed(&mut outliers, 1, 100 * MS, 16, 0);
    assert!(![1, 2, 3].iter().any(|key| outliers.is_aside(*key, 0)));
    feed(&mut outliers, 3, 900 * MS, 15, 0);
    give_up(&mut outliers, 3, 101 * MS, 1);
    assert!(outliers.is_aside(3, 0));
}

#[test]
fn where_no_other_is_known_giving_up_says_nothing() {
    let mut outliers = Outliers::default();
    give_up(&mut outliers, 1, 1_000 * MS, 100);
    give_up(&mut outliers, 2, 10 * MS, 100);
    feed(&mut outliers, 2, 10 * MS, 16, 0);
    assert!(!outliers.is_aside(1, 0) && !outliers.is_aside(2, 0));
}

#[test]
fn a_fast_method_has_no_slow_nodes() {
    let mut outliers = Outliers::default();
    feed(&mut outliers, 1, 100, 100, 0);
    // A hundred times the other, and still nothing that a caller would notice.
    feed(&mut outliers, 2, 10 * MS, 100, 0);
    assert!(!outliers.is_aside(2, 0));
}

#[test]
fn it_stays_away_longer_each_time_and_is_forgiven_once_well() {
    let mut outliers = Outliers::default();
    let mut now = 0;
    for seconds in [5, 10, 20, 40, 60, 60] {
        feed(&mut outliers, 1, 10 * MS, 16, now);
        feed(&mut outliers, 2, 300 * MS, 16, now);
        assert!(outliers.is_aside(2, now + seconds * SECOND_US - 1));
        now += seconds * SECOND_US;
        assert!(!outliers.is_aside(2, now));
    }
    feed(&mut outliers, 2, 10 * MS, 100, now);
    now += 60 * SECOND_US;
    feed(&mut outliers, 2, 300 * MS, 32, now);
    assert!(outliers.is_aside(2, now) && !outliers.is_aside(2, now + 5 * SECOND_US));
}

#[test]
fn who_leaves_may_bring_another_back() {
    let mut outliers = Outliers::default();
    for (key, away_us) in [(1, 10 * MS), (2, 10 * MS), (3, 10 * MS), (4, 900 * MS), (5, 900 * MS)] {
        feed(&mut outliers, key, away_us, 16, u64::from(key));
    }
    assert!(outliers.is_aside(4, 5) && outliers.is_aside(5, 5));
    outliers.leave(1);
    assert!(outliers.is_aside(4, 5) && outliers.is_aside(5, 5));
    outliers.leave(2);
    // One of three: the one whose time would have been over first is back.
    assert!(!outliers.is_aside(4, 5) && outliers.is_aside(5, 5));
}

/// Four nodes whose calls take 20 ms in the median, one of them twenty times that between 10 and 70 s. Answers how many
/// of its calls it took until it was aside, and how long after it was well it was back for good.
fn one_slow_node(seed: u64, sigma: f64) -> (u32, u64) {
    let (mut outliers, mut random) = (Outliers::default(), Random(seed));
    let (mut slow_calls, mut aside_last) = (None::<u32>, 0);
    let mut calls = 0;
    for now in (0..200 * SECOND_US).step_by(5 * MS as usize) {
        let key = (random.bits() % 4) as u32;
        if outliers.is_aside(key, now) {
            aside_last = now;
            continue;
        }
        let ill = key == 3 && (10 * SECOND_US..70 * SECOND_US).contains(&now);
        let away = random.lognormal(20_000.0, sigma) * if ill { 20.0 } else { 1.0 };
        outliers.observe(key, away as u64, now);
        calls += u32::from(ill);
        if slow_calls.is_none() && outliers.is_aside(3, now) {
            slow_calls = Some(calls);
        }
    }
    (slow_calls.unwrap(), aside_last.saturating_sub(70 * SECOND_US))
}

#[test]
fn a_slow_node_is_soon_aside_and_back_when_it_is_well() {
    for seed in 0..20 {
        for sigma in [0.0, 0.5, 1.5] {
            let (calls, back) = one_slow_node(seed, sigma);
            assert!(calls <= 50, "seed {seed}, sigma {sigma}: set aside after {calls} calls");
            assert!(back <= 60 * SECOND_US, "seed {seed}, sigma {sigma}: back after {back} µs");
        }
    }
}

#[test]
fn equal_nodes_with_heavy_tails_are_hardly_ever_set_aside() {
    let (mut aside, mut calls) = (0, 0);
    for seed in 0..10 {
        let (mut outliers, mut random) = (Outliers::default(), Random(seed));
        for now in (0..100 * SECOND_US).step_by(5 * MS as usize) {
            let key = (random.bits() % 4) as u32;
            let before = outliers.is_aside(key, now);
            outliers.observe(key, random.lognormal(50_000.0, 1.5) as u64, now);
            aside += u32::from(!before && outliers.is_aside(key, now));
            calls += 1;
        }
    }
    // 200,000 calls.
    assert!(aside <= 2, "{aside} times in {calls} calls");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever the times, at least half of the nodes that are known stay.
    #[test]
    fn half_of_the_nodes_stay(steps in prop::collection::vec((0..7_u32, 0..9_u32, 0..20_u64), 1..400)) {
        let (mut outliers, mut now, mut known) = (Outliers::default(), 0, std::collections::BTreeSet::new());
        for (key, what, seconds) in steps {
            match what {
                0 => {
                    outliers.leave(key);
                    known.remove(&key);
                }
                1 => now += seconds * SECOND_US,
                2 if known.contains(&key) => (0..20).for_each(|_| outliers.gave_up(key, SECOND_US, now)),
                size => {
                    feed(&mut outliers, key, MS << (2 * size), 20, now);
                    known.insert(key);
                }
            }
            let aside = known.iter().filter(|key| outliers.is_aside(**key, now)).count();
            prop_assert!(aside <= known.len() / 2, "{aside} of {}", known.len());
        }
    }
}
