//! The promises of the budget, by example, by simulation and by random walks.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Budget, SECOND_US};

const RESERVE: u64 = 100;

/// Withdraws as often as it may.
fn drain(budget: &Budget, now_us: u64) -> u64 {
    (0..).take_while(|_| budget.withdraw(now_us)).count() as u64
}

#[test]
fn a_small_load_lives_on_the_reserve() {
    let budget = Budget::new(0.2);
    assert_eq!(drain(&budget, 0), RESERVE);
    assert_eq!(drain(&budget, 9 * SECOND_US), 0);
    assert_eq!(drain(&budget, 11 * SECOND_US), RESERVE);
}

#[test]
fn to_ask_whether_there_is_room_costs_nothing() {
    let budget = Budget::new(0.2);
    assert!((0..2 * RESERVE).all(|_| budget.has_room(0)));
    assert_eq!(drain(&budget, 0), RESERVE);
    assert!(!budget.has_room(9 * SECOND_US));
    assert!(budget.has_room(11 * SECOND_US));
}

#[test]
fn five_calls_pay_for_a_retry() {
    let budget = Budget::new(0.2);
    for _ in 0..500 {
        budget.deposit();
    }
    assert_eq!(drain(&budget, SECOND_US / 2), RESERVE + 100);
}

#[test]
fn a_quiet_time_does_not_build_up_a_burst() {
    let budget = Budget::new(0.2);
    // An hour of ten calls a second, at which nobody looked.
    for _ in 0..36_000 {
        budget.deposit();
    }
    let burst = drain(&budget, 3600 * SECOND_US);
    assert!((RESERVE + 20..=RESERVE + 22).contains(&burst), "{burst}");

    let (idle, end) = (Budget::new(0.2), 7200 * SECOND_US);
    for second in 0..3600 {
        (0..1000).for_each(|_| idle.deposit());
        idle.tick(second * SECOND_US);
    }
    for second in 3600..7200 {
        idle.tick(second * SECOND_US);
    }
    assert_eq!(drain(&idle, end), RESERVE);
}

#[test]
fn in_a_total_outage_a_fifth_is_tried_again() {
    let budget = Budget::new(0.2);
    let mut retries: VecDeque<u64> = VecDeque::new();
    let (mut total, mut calls) = (0, 0);
    // 1,000 calls a second for a minute. Each fails, and so do its retries, of which it would like two.
    for now_us in (0..60 * SECOND_US).step_by(1000) {
        budget.deposit();
        calls += 1;
        for _ in 0..2 {
            if budget.withdraw(now_us) {
                retries.push_back(now_us);
                total += 1;
            }
        }
        while retries.front().is_some_and(|at| at + 10 * SECOND_US <= now_us) {
            retries.pop_front();
        }
        let last_calls = calls.min(11_000);
        assert!(retries.len() as u64 * 5 <= last_calls + 5 * RESERVE, "at {now_us}: {}", retries.len());
    }
    // The whole of the share is used.
    assert!(total >= calls / 5, "{total} of {calls}");
    assert!(total <= calls / 5 + 6 * RESERVE, "{total} of {calls}");
}

#[test]
fn threads_share_it() {
    let budget = Budget::new(0.2);
    let granted: u64 = std::thread::scope(|scope| {
        let thread = |_| {
            scope.spawn(|| {
                let call = |_| {
                    budget.deposit();
                    u64::from(budget.withdraw(1))
                };
                (0..10_000).map(call).sum::<u64>()
            })
        };
        let threads: Vec<_> = (0..4).map(thread).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 40_000 / 5 + RESERVE);
}

#[derive(Clone, Debug)]
enum Step {
    Calls(u16),
    Withdraw,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..500_u16).prop_map(Step::Calls),
        3 => Just(Step::Withdraw),
        2 => (0..SECOND_US).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    /// However calls and retries come, with a look each second: whenever one is granted, those of the last 10 s are at
    /// most a fifth of the last calls, and the reserve.
    #[test]
    fn no_window_has_more_than_its_share(steps in prop::collection::vec(step(), 1..300)) {
        let budget = Budget::new(0.2);
        let (mut now, mut calls, mut retries): (u64, Vec<(u64, u64)>, Vec<u64>) = (0, Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Calls(count) => {
                    (0..count).for_each(|_| budget.deposit());
                    calls.push((now, u64::from(count)));
                }
                Step::Wait(us) => {
                    now += us;
                    budget.tick(now);
                }
                Step::Withdraw => {
                    // As many as may, so that the bound is met and not only approached.
                    let granted = drain(&budget, now);
                    if granted == 0 {
                        continue;
                    }
                    retries.extend((0..granted).map(|_| now));
                    let recent = |at: u64, seconds: u64| at + seconds * SECOND_US > now;
                    let paid: u64 = calls.iter().filter(|(at, _)| recent(*at, 12)).map(|(_, count)| count).sum();
                    let used = retries.iter().filter(|at| recent(**at, 10)).count() as u64;
                    prop_assert!(used as f64 <= 0.2 * paid as f64 + RESERVE as f64 + 0.01, "{used} for {paid}");
                }
            }
        }
    }
}
