//! When a worker is slow. With others, and jobs by chance: the scheduler's tests (`tests/aside.rs`).

use super::{Pace, Ran};

/// A second.
const LOG_US: f64 = 13.8;

fn take(pace: &mut Pace, jobs: usize, beside: f64) {
    for _ in 0..jobs {
        pace.take(Ran { log_us: LOG_US, beside });
    }
}

#[test]
fn who_was_slow_with_its_first_jobs_only_is_not() {
    let mut pace = Pace::default();
    take(&mut pace, 8, 4.6);
    take(&mut pace, 8, 0.0);
    assert_eq!(pace.times_slower(0.0), None);
    take(&mut pace, 8, 4.6);
    assert!(pace.times_slower(0.0).is_some());
}

#[test]
fn one_long_job_says_little_of_how_slow_it_is() {
    let mut pace = Pace::default();
    take(&mut pace, 16, 3.0);
    take(&mut pace, 1, 7.0);
    assert_eq!(pace.times_slower(0.0), Some(25));
}

#[test]
fn who_strays_by_its_inputs_has_to_stray_further() {
    let mut pace = Pace::default();
    for _ in 0..32 {
        take(&mut pace, 1, 0.0);
        take(&mut pace, 1, 6.2);
    }
    assert_eq!(pace.times_slower(0.8), None);
    let mut steady = Pace::default();
    take(&mut steady, 64, 3.1);
    assert_eq!(steady.times_slower(0.8), Some(9));
}

#[test]
fn it_is_judged_however_many_jobs_it_has_had() {
    let mut pace = Pace { jobs: u64::from(u32::MAX) - 20, beside: 3.0, log_us: LOG_US, ..Pace::default() };
    let mut due = 0;
    for _ in 0..40 {
        take(&mut pace, 1, 3.0);
        due += usize::from(pace.is_due());
    }
    assert_eq!(due, 10);
}
