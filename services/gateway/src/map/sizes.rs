//! How many items of a map go as one chunk: as much work that what its way costs is a small part of it, and a millisecond
//! at least. For a call that comes meanwhile it is cut short (`scheduler/chunks.rs`). Tiny items travel many at a time,
//! long ones one by one. Pure.
//!
//! Towards the end chunks become smaller, so that all slots end together: half of what is left by the slots, which is
//! "factoring" (Hummel, Schonberg and Flynn, 1992), itself a careful "guided self-scheduling" (Polychronopoulos and
//! Kuck, 1987).

use std::time::Duration;

/// What is known of a map's items.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// How long one runs.
    service_us: Option<f64>,
    /// How large an answer is.
    answer: f64,
    /// How long a chunk is away without running or waiting at its node.
    way_us: f64,
    /// A chunk may grow to this: it is learned in steps.
    grown: usize,
    /// Items whose answers were seen.
    seen: usize,
}

/// What there is to be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// Items that wait here.
    pub(crate) waiting: usize,
    /// No more of them come.
    pub(crate) ended: bool,
    /// Slots that they are for.
    pub(crate) slots: usize,
    /// Calls wait for these, and a chunk would soon give way; or they may be waiting for one of the few places that the
    /// method has at once, and no chunk gives way for that.
    pub(crate) brief: bool,
}

/// What one chunk has told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Items that ran.
    pub(crate) items: usize,
    /// For how long, in all.
    pub(crate) run_us: u64,
    /// How long the chunk was away beside that.
    pub(crate) way_us: u64,
    /// Bytes of all answers.
    pub(crate) bytes: usize,
}

/// A slot that waits for its next chunk waits for one way: a forty-eighth of the work in a chunk. From fifty on none would
/// be held in advance (`window.rs`).
const WAYS: f64 = 48.0;
/// The work in one chunk.
const LEAST_US: f64 = 1_000.0;
const MOST_US: f64 = 24_000.0;
/// Weight of what is new.
const WEIGHT: f64 = 0.25;
/// Each chunk that has come back lets the next ones be so much larger.
const GROWTH: usize = 4;
/// Below a quarter of a microsecond an item is no more work than its own envelope.
const MOST_ITEMS: usize = 4_096;
/// All answers of a chunk: as much as goes into one frame. And each, before there was one.
const MOST_ANSWERS: f64 = 64.0 * 1024.0;
/// So many of what is awaited may be out at first: any answer may be large.
const FIRST_OUT: usize = 32;
/// And then so many times as many as were seen: of few that were small the next may be large.
const OUT_GROWTH: usize = 32;
/// What takes its time is not waited for: so often as many may be out as before.
const DOUBLES_EVERY: Duration = Duration::from_secs(2);

impl Default for Sizes {
    fn default() -> Self {
        Self { service_us: None, answer: MOST_ANSWERS, way_us: 0.0, grown: 1, seen: 0 }
    }
}

impl Sizes {
    /// Takes in what a chunk that has come back says.
    pub(crate) fn observe(&mut self, told: Told) {
        let Told { items, run_us, way_us, bytes } = told;
        if items == 0 {
            return;
        }
        let (service, answer) = (run_us as f64 / items as f64, bytes as f64 / items as f64);
        // One item tells little: what has told more so far counts more.
        let weight = WEIGHT * (items as f64 / self.grown as f64).min(1.0);
        match &mut self.service_us {
            Some(known) => {
                *known += weight * (service - *known);
                // What is suddenly large is believed at once: all that are out may be.
                let weight = if answer > self.answer { WEIGHT } else { weight };
                self.answer += weight * (answer - self.answer);
                self.way_us += WEIGHT * (way_us as f64 - self.way_us);
            }
            None => (self.service_us, self.answer, self.way_us) = (Some(service), answer, way_us as f64),
        }
        self.grown = self.grown.max(items * GROWTH).min(MOST_ITEMS);
        self.seen = self.seen.saturating_add(items);
    }

    /// An answer of so many bytes was made.
    pub(crate) fn announce(&mut self, bytes: usize) {
        self.answer += WEIGHT * (bytes as f64 - self.answer).max(0.0);
    }

    /// How long an item is expected to run, once one has.
    pub(crate) fn service_us(&self) -> Option<f64> {
        self.service_us
    }

    /// How many bytes an answer is expected to have.
    pub(crate) fn answer(&self) -> f64 {
        self.answer
    }

    /// How many items may be out, where all of them run at once, so long after the first.
    pub(crate) fn most_out(&self, since: Duration) -> usize {
        let doubled = (since.as_millis() / DOUBLES_EVERY.as_millis()).min(20);
        self.seen.saturating_mul(OUT_GROWTH).max(FIRST_OUT << doubled)
    }

    /// How many items the next chunk has: one at least, if there is one.
    pub(crate) fn next(&self, ahead: Ahead) -> usize {
        let slots = ahead.slots.max(1);
        let share =
            if ahead.ended { ahead.waiting.div_ceil(2 * slots) } else { ahead.waiting.div_ceil(slots) };
        // A float above the range becomes the largest integer.
        let most_us = if ahead.brief { LEAST_US } else { MOST_US };
        let work_us = (WAYS * self.way_us).clamp(LEAST_US, most_us);
        let by_time = self.service_us.map_or(1, |service| (work_us / service) as usize);
        let by_answers = (MOST_ANSWERS / self.answer) as usize;
        by_time.min(by_answers).min(self.grown).min(share).clamp(1, MOST_ITEMS)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ahead, DOUBLES_EVERY, FIRST_OUT, MOST_ITEMS, OUT_GROWTH, Sizes, Told};
    use proptest::prelude::*;
    use std::time::Duration;

    const PLENTY: Ahead = Ahead { waiting: 1_000_000, ended: false, slots: 2, brief: false };

    fn told(items: usize, run_us: u64) -> Told {
        Told { items, run_us, way_us: 0, bytes: 0 }
    }

    fn learned_by(item_us: f64, told: impl Fn(Told) -> Told) -> Sizes {
        let mut sizes = Sizes::default();
        for _ in 0..64 {
            let items = sizes.next(PLENTY);
            sizes.observe(told(self::told(items, (items as f64 * item_us) as u64)));
        }
        sizes
    }

    fn learned(item_us: f64, answer: usize) -> Sizes {
        learned_by(item_us, |told| Told { bytes: told.items * answer, ..told })
    }

    #[test]
    fn nothing_is_known_at_first_and_it_grows_by_steps() {
        let mut sizes = Sizes::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            let items = sizes.next(PLENTY);
            seen.push(items);
            sizes.observe(told(items, items as u64));
        }
        assert_eq!(seen, [1, 4, 16, 64, 256, 1000]);
    }

    #[test]
    fn a_chunk_is_a_millisecond_of_work() {
        assert_eq!(learned(1.0, 0).next(PLENTY), 1000);
        assert_eq!(learned(100.0, 0).next(PLENTY), 10);
        for long in [600.0, 1_000.0, 50_000.0] {
            assert_eq!(learned(long, 0).next(PLENTY), 1);
        }
        assert_eq!(learned(0.0, 0).next(PLENTY), MOST_ITEMS);
    }

    #[test]
    fn a_chunk_is_worth_its_way() {
        let far = |way_us| learned_by(100.0, move |told| Told { way_us, ..told }).next(PLENTY);
        assert_eq!([far(10), far(100), far(200), far(10_000)], [10, 48, 96, 240]);
        let far = learned_by(100.0, |told| Told { way_us: 10_000, ..told });
        assert_eq!(far.next(Ahead { brief: true, ..PLENTY }), 10);
    }

    #[test]
    fn large_answers_make_small_chunks() {
        assert_eq!(learned(1.0, 1024).next(PLENTY), 64);
        assert_eq!(learned(1.0, 1 << 20).next(PLENTY), 1);
    }

    #[test]
    fn few_are_out_until_answers_were_seen_or_have_taken_their_time() {
        let (mut sizes, now) = (Sizes::default(), Duration::ZERO);
        assert_eq!(sizes.most_out(now), FIRST_OUT);
        assert_eq!(sizes.most_out(3 * DOUBLES_EVERY), 8 * FIRST_OUT);
        assert!(sizes.most_out(Duration::MAX) > 1 << 24);
        (0..FIRST_OUT).for_each(|_| sizes.observe(told(1, 1)));
        assert_eq!(sizes.most_out(now), FIRST_OUT * OUT_GROWTH);
    }

    #[test]
    fn one_large_answer_after_many_small_ones_is_believed() {
        let mut sizes = learned(1.0, 100);
        sizes.observe(Told { bytes: 3_000_000, ..told(1, 1) });
        assert!(sizes.answer() > 500_000.0, "{sizes:?}");
    }

    #[test]
    fn items_that_become_long_are_soon_sent_one_by_one() {
        let mut sizes = learned(1.0, 0);
        // The chunk was cut off after its first items.
        sizes.observe(told(3, 10_000));
        for _ in 0..40 {
            let items = sizes.next(PLENTY);
            sizes.observe(told(items.min(4), items.min(4) as u64 * 3_000));
        }
        assert!(sizes.next(PLENTY) <= 100, "{sizes:?}");
    }

    proptest! {
        /// The slots end together: whoever takes the last chunks leaves nobody idle for more than two of them.
        #[test]
        fn at_the_end_no_chunk_is_larger_than_what_others_have_left(
            waiting in 1_usize..100_000, slots in 1_usize..64,
        ) {
            let (sizes, mut left) = (learned(1.0, 0), waiting);
            while left > 0 {
                let items = sizes.next(Ahead { waiting: left, ended: true, slots, brief: false });
                prop_assert!(items >= 1 && items <= left);
                prop_assert!(items == 1 || items * slots <= left, "{items} of {left} for {slots}");
                left -= items;
            }
        }
    }
}
