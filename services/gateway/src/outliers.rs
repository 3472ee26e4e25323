//! Slow nodes are set aside and come back: outlier ejection, as in Envoy (`outlier_detection`), but by the time that
//! calls take, and for each method. Knows no clock.
//!
//! How long a method takes depends on its input, often by orders of magnitude, so a mean of times is that of its few
//! longest calls. The mean of their *logarithms* is not: for lognormal times it is that of the median, and one call of
//! a minute among calls of a millisecond weighs like sixteen doublings, not like sixty thousand calls. A node is slow if
//! this, its typical time, is five times the median of the others', and 20 ms above it: with a weight of 1/16 for what
//! is new, and times that vary as widely as sigma = 1.5, a mean of logarithms strays by 0.27, and ln 5 is 1.6.
//!
//! Of a call that was given up it is known that it would have taken longer than it got. That counts where it is more
//! than the others take, and never makes a node look faster; what was given up earlier says nothing.
//!
//! A wrong verdict is cheap, since at least half of the nodes stay, and a missing one is too: the router's two choices
//! give a slow node less in any case.

use std::collections::BTreeMap;

const SECOND_US: u64 = 1_000_000;
/// A verdict needs so many calls.
const SAMPLES: u32 = 16;
const TIMES: f64 = 5.0;
const ABOVE_US: f64 = 20_000.0;
/// Weight of what is new.
const WEIGHT: f64 = 1.0 / 16.0;
/// Set aside for so long; then twice as long, each time that it comes back as slow as before.
const FIRST_US: u64 = 5 * SECOND_US;
const LONGEST_US: u64 = 60 * SECOND_US;
/// A node that has been well for so long since it came back has no past.
const FORGIVEN_US: u64 = 60 * SECOND_US;
/// The median of all is asked for once in so many calls of a node.
const EVERY: u32 = 4;

/// The nodes of one method.
#[derive(Debug)]
pub(crate) struct Outliers<K> {
    nodes: BTreeMap<K, Node>,
    /// No node is aside from then on.
    until_us: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Since it came, or came back.
    samples: u32,
    log_us: f64,
    /// Aside until then; in the past: it is back.
    until_us: u64,
    for_us: u64,
}

impl Node {
    fn is_aside(&self, now_us: u64) -> bool {
        now_us < self.until_us
    }

    fn is_known(&self, now_us: u64) -> bool {
        self.samples >= SAMPLES && !self.is_aside(now_us)
    }

    /// The plain mean of the first calls, then smoothed.
    fn take(&mut self, log_us: f64) {
        self.samples = self.samples.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.samples));
        self.log_us += weight * (log_us - self.log_us);
    }

    fn set_aside(&mut self, now_us: u64) {
        let well = self.for_us == 0 || now_us >= self.until_us + FORGIVEN_US;
        self.for_us = if well { FIRST_US } else { (self.for_us * 2).min(LONGEST_US) };
        self.until_us = now_us + self.for_us;
        // It comes back with nothing known of it.
        (self.samples, self.log_us) = (0, 0.0);
    }
}

impl<K> Default for Outliers<K> {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), until_us: 0 }
    }
}

impl<K: Copy + Ord> Outliers<K> {
    /// A call was away at the node of `key` for so long.
    pub(crate) fn observe(&mut self, key: K, away_us: u64, now_us: u64) {
        self.take(key, log(away_us), now_us);
    }

    /// A call was given up when it had been away there for so long.
    pub(crate) fn gave_up(&mut self, key: K, got_us: u64, now_us: u64) {
        if (got_us as f64) < ABOVE_US {
            return;
        }
        let got = log(got_us);
        if self.typical_but(key, now_us).is_some_and(|typical| got > typical) {
            let mine = self.nodes.get(&key).map_or(got, |node| node.log_us);
            self.take(key, got.max(mine), now_us);
        }
    }

    fn take(&mut self, key: K, log_us: f64, now_us: u64) {
        let node = self.nodes.entry(key).or_default();
        // What comes back late tells of the time before.
        if node.is_aside(now_us) {
            return;
        }
        node.take(log_us);
        let mine = node.log_us;
        if node.samples < SAMPLES || !node.samples.is_multiple_of(EVERY) || mine.exp() < ABOVE_US {
            return;
        }
        if self.is_slow(key, mine, now_us) && self.has_room(now_us) {
            self.set_aside(key, now_us);
        }
    }

    /// Whether the node is to get no calls now.
    pub(crate) fn is_aside(&self, key: K, now_us: u64) -> bool {
        // Nearly always none is.
        now_us < self.until_us && self.nodes.get(&key).is_some_and(|node| node.is_aside(now_us))
    }

    /// The node is gone. Who is left may be fewer than twice those aside: then the first that would be comes back.
    pub(crate) fn leave(&mut self, key: K) {
        self.nodes.remove(&key);
        // Those whose time is over are among them, and come first.
        let mut aside: Vec<_> = self.nodes.iter().map(|(key, node)| (node.until_us, *key)).collect();
        aside.retain(|(until_us, _)| *until_us > 0);
        aside.sort_unstable();
        let too_many = aside.len().saturating_sub(self.nodes.len() / 2);
        for (_, key) in aside.into_iter().take(too_many) {
            if let Some(node) = self.nodes.get_mut(&key) {
                node.until_us = 0;
            }
        }
    }

    fn is_slow(&self, key: K, mine: f64, now_us: u64) -> bool {
        let Some(typical) = self.typical_but(key, now_us) else { return false };
        mine > typical + TIMES.ln() && mine.exp() > typical.exp() + ABOVE_US
    }

    /// The median of the others.
    fn typical_but(&self, key: K, now_us: u64) -> Option<f64> {
        let known = self.nodes.iter().filter(|(other, node)| **other != key && node.is_known(now_us));
        let mut others: Vec<f64> = known.map(|(_, node)| node.log_us).collect();
        median(&mut others)
    }

    fn has_room(&self, now_us: u64) -> bool {
        let aside = self.nodes.values().filter(|node| node.is_aside(now_us)).count();
        aside < self.nodes.len() / 2
    }

    fn set_aside(&mut self, key: K, now_us: u64) {
        if let Some(node) = self.nodes.get_mut(&key) {
            node.set_aside(now_us);
            self.until_us = self.until_us.max(node.until_us);
        }
    }
}

fn log(us: u64) -> f64 {
    (us.max(1) as f64).ln()
}

/// Of an even number, the mean of the two in the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests;
