//! Streams of one connection of which something waits, and something was taken a moment ago: their client reads them. By
//! seconds, so that nobody has to look when a stream has come to stand. Pure.

/// How many there are.
#[derive(Debug, Default)]
pub(super) struct Moving {
    second: u64,
    /// Those that have moved in that second.
    now: usize,
    /// In the one before, and not since.
    before: usize,
}

impl Moving {
    /// A stream that has moved in the one second moves in the other, which is now. `None` is one that does not count: nothing
    /// of it waits, or nothing of it was ever taken.
    pub(super) fn step(&mut self, from: Option<u64>, to: Option<u64>) {
        if let Some(count) = from.and_then(|from| self.of(from)) {
            *count -= 1;
        }
        let Some(to) = to else { return };
        self.come_to(to);
        if let Some(count) = self.of(to) {
            *count += 1;
        }
    }

    /// Those that have moved in this second, or in the one before.
    pub(super) fn count(&self, second: u64) -> usize {
        match second.saturating_sub(self.second) {
            0 => self.now + self.before,
            1 => self.now,
            _ => 0,
        }
    }

    /// Of those who look at the clock at once the first may come last.
    fn come_to(&mut self, second: u64) {
        match second.saturating_sub(self.second) {
            0 => return,
            1 => (self.before, self.now) = (self.now, 0),
            _ => (self.before, self.now) = (0, 0),
        }
        self.second = second;
    }

    fn of(&mut self, second: u64) -> Option<&mut usize> {
        match self.second.saturating_sub(second) {
            0 => Some(&mut self.now),
            1 => Some(&mut self.before),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Moving;
    use proptest::prelude::*;

    const STREAMS: usize = 4;

    proptest! {
        /// Against a plain list of when each stream has moved: whatever comes, and though some are a second late.
        #[test]
        fn those_that_have_moved_a_moment_ago_are_counted(
            steps in prop::collection::vec((0..STREAMS, 0_u64..4, prop::bool::ANY, prop::bool::ANY), 0..200),
        ) {
            let (mut moving, mut moved) = (Moving::default(), [None; STREAMS]);
            let mut second = 0_u64;
            for (stream, pause, waits, is_late) in steps {
                second += pause;
                let now = if is_late { second.saturating_sub(1) } else { second };
                let to = waits.then_some(now);
                moving.step(moved[stream], to);
                moved[stream] = to;
                let expected = moved.iter().flatten().filter(|at| second - **at <= 1).count();
                prop_assert_eq!(moving.count(second), expected);
            }
            prop_assert_eq!(moving.count(second + 2), 0);
            // Those that have come to stand leave nothing behind.
            moved.into_iter().for_each(|at| moving.step(at, None));
            prop_assert_eq!(moving.count(second), 0);
        }
    }
}
