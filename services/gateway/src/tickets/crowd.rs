//! How long a ticket waits that nobody serves just now. Each costs the store a claim and a giving back every time; a
//! million of them that came again every second would leave no time for the others. So the pause doubles while more than
//! `MOST` a second are given back, and halves when they are fewer. Knows no clock.

use std::time::Duration;

/// Given back a second: a tenth of what an embedded store takes.
const MOST: u32 = 1000;
const LEAST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(300);

/// The tickets that were given back of late.
#[derive(Debug)]
pub(crate) struct Crowd {
    second: u64,
    given_back: u32,
    pause: Duration,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { second: 0, given_back: 0, pause: LEAST }
    }
}

impl Crowd {
    /// One more is given back, in that second: how long it waits at least, and at most twice as long.
    pub(crate) fn give_back(&mut self, second: u64) -> Duration {
        if second != self.second {
            let grows = self.given_back > MOST;
            let pause = if grows { self.pause.saturating_mul(2) } else { self.pause / 2 };
            self.pause = pause.clamp(LEAST, LONGEST);
            (self.second, self.given_back) = (second, 0);
        }
        self.given_back = self.given_back.saturating_add(1);
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{Crowd, LEAST, MOST};

    /// So many tickets, each given back whenever it comes: how many that are in each second.
    fn given_back(tickets: u32, seconds: u64) -> Vec<u32> {
        let (mut crowd, mut due) = (Crowd::default(), BTreeMap::from([(0_u64, tickets)]));
        let mut rates = Vec::new();
        for second in 0..seconds {
            let now = due.remove(&second).unwrap_or_default();
            for number in 0..now {
                // From one to two pauses, evenly, as chance would have it.
                let pause = crowd.give_back(second).mul_f64(1.0 + f64::from(number) / f64::from(now));
                let again = second + pause.as_secs().max(1);
                *due.entry(again).or_default() += 1;
            }
            rates.push(now);
        }
        rates
    }

    #[test]
    fn many_that_nobody_serves_leave_the_store_its_time() {
        let rates = given_back(100_000, 1200);
        let late: u32 = rates[600..].iter().sum();
        assert!(late / 600 <= 2 * MOST, "{} a second", late / 600);
    }

    #[test]
    fn a_few_come_again_soon() {
        let mut crowd = Crowd::default();
        assert!((0..100).map(|second| crowd.give_back(second)).all(|pause| pause == LEAST));
        for number in 0..=5 * MOST {
            crowd.give_back(u64::from(number / (2 * MOST)) + 100);
        }
        assert!(crowd.pause > LEAST);
        let later = (103..140).map(|second| crowd.give_back(second)).last();
        assert_eq!(later, Some(Duration::from_millis(100)));
    }
}
