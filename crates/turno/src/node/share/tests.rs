//! The bounds of the windows, by example and by random walks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{LinkId, Share};

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const C: LinkId = LinkId(3);

#[test]
fn the_only_gateway_has_all_slots() {
    let mut share = Share::new(8);
    assert_eq!(share.join(A), []);
    assert_eq!(share.backlog(A, 5), []);
    assert_eq!(share.backlog(A, 0), []);
}

#[test]
fn idle_gateways_share_equally_and_the_first_gets_the_remainder() {
    let mut share = Share::new(8);
    share.join(A);
    assert_eq!(share.join(B), [(A, 4), (B, 4)]);
    assert_eq!(share.join(C), [(A, 3), (B, 3), (C, 2)]);
    assert_eq!(share.leave(A), [(B, 4), (C, 4)]);
    assert_eq!(share.leave(B), [(C, 8)]);
}

#[test]
fn slots_move_to_where_jobs_wait() {
    let mut share = Share::new(8);
    for link in [A, B, C] {
        share.join(link);
    }
    assert_eq!(share.backlog(B, 100), [(A, 1), (B, 8), (C, 1)]);
    assert_eq!(share.backlog(B, 90), []);
    assert_eq!(share.backlog(C, 1), [(B, 4), (C, 4)]);
    assert_eq!(share.backlog(B, 0), [(B, 1), (C, 8)]);
    assert_eq!(share.leave(C), [(A, 4), (B, 4)]);
}

#[test]
fn a_worker_without_slots_gives_none() {
    let mut share = Share::new(0);
    assert_eq!(share.join(A), []);
    assert_eq!(share.join(B), []);
    assert_eq!(share.backlog(A, 3), []);
}

#[test]
fn nobody_is_told_of_a_link_that_is_not_there() {
    let mut share = Share::new(2);
    share.join(A);
    assert_eq!(share.backlog(B, 3), []);
    assert_eq!(share.leave(B), []);
}

#[derive(Clone, Debug)]
enum Step {
    Join(u64),
    Leave(u64),
    Backlog(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..6_u64).prop_map(Step::Join),
        1 => (0..6_u64).prop_map(Step::Leave),
        4 => (0..6_u64, 0..3_u64).prop_map(|(link, waiting)| Step::Backlog(link, waiting)),
    ]
}

/// What the gateways have been told: window and backlog, in the order of joining.
fn check(slots: u32, told: &BTreeMap<u64, (LinkId, u32, u64)>) {
    let windows = |waits: bool| -> Vec<u32> {
        told.values().filter(|(.., waiting)| (*waiting > 0) == waits).map(|(_, window, _)| *window).collect()
    };
    let (waiting, idle) = (windows(true), windows(false));
    let total = |windows: &[u32]| windows.iter().sum::<u32>();
    let count = |windows: &[u32]| u32::try_from(windows.len()).unwrap();
    for windows in [&waiting, &idle] {
        assert!(windows.is_sorted_by(|one, next| one >= next), "the first get more: {windows:?}");
        assert!(windows.iter().all(|window| windows[0] - window <= 1), "not equal: {windows:?}");
    }
    if told.is_empty() {
        return;
    }
    if waiting.is_empty() {
        assert_eq!(total(&idle), slots.max(count(&idle)));
    } else {
        assert_eq!(total(&waiting), slots.max(count(&waiting)));
        assert!(idle.iter().all(|window| *window == 1), "{idle:?}");
    }
    assert!(total(&waiting) + total(&idle) < slots + count(&waiting) + count(&idle));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_windows_keep_their_bounds(slots in 1..20_u32, steps in prop::collection::vec(step(), 1..100)) {
        let (mut share, mut told, mut order) = (Share::new(slots), BTreeMap::<u64, (LinkId, u32, u64)>::new(), 0_u64);
        for step in steps {
            let changed = match step {
                Step::Join(link) => {
                    if !told.values().any(|(other, ..)| *other == LinkId(link)) {
                        told.insert(order, (LinkId(link), slots, 0));
                        order += 1;
                    }
                    share.join(LinkId(link))
                }
                Step::Leave(link) => {
                    told.retain(|_, (other, ..)| *other != LinkId(link));
                    share.leave(LinkId(link))
                }
                Step::Backlog(link, waiting) => {
                    for (other, _, known) in told.values_mut() {
                        if *other == LinkId(link) {
                            *known = waiting;
                        }
                    }
                    share.backlog(LinkId(link), waiting)
                }
            };
            for (link, window) in changed {
                let known = told.values_mut().find(|(other, ..)| *other == link);
                let known = known.expect("only links that stand are told");
                prop_assert_ne!(known.1, window, "that is no news");
                known.1 = window;
            }
            check(slots, &told);
        }
    }
}
