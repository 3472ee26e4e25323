//! How many calls of the batch (tickets, maps) to `async fn`s may be at one I/O node. Knows no clock.
//!
//! Nothing here protects calls: at the node itself they pass what is of the batch, poll by poll. What is of the batch waits
//! here rather than there because from there it can go to no other node, and because its time runs there. So its own line
//! at the node is kept short, by a window as TCP's, with a delay to aim at as LEDBAT has (RFC 6817): it grows as long as
//! somebody waits here and hardly anybody there, and when the line there is too long it shrinks by what is too much of it
//! (as TCP Vegas does, Brakmo and Peterson 1995), once it is seen what the last change has brought: what was above the window
//! has ended. Until it has shrunk for the first time it grows by a part of itself, as in a slow start, and then by steps.
//!
//! What an `async fn` waits for elsewhere takes no thread: ten thousand that wait make no line, and the window grows past them.
//! Those that wait first and then crunch all at once are seen too late; they stand in each other's way then, not in that of
//! calls.

/// The line at the node that is aimed at: LEDBAT's. Where threads wait for a core, what is brief waits a quarter of it, and
/// what is held back in vain has to be claimed from the disk.
const TARGET_US: u64 = 100_000;
/// What a change has brought is not seen sooner (the interval of `limit`).
const INTERVAL_US: u64 = 100_000;
/// While there is a line it is heard of so often at least.
const HEARD_EVERY_US: u64 = 50_000;
/// The window grows as often as this: at first by an eighth, from the first to a thousand within 250 ms.
const GROWS_US: u64 = 10_000;
const GROWTH: u32 = 8;
/// And then by so little of itself, but by `FLOOR` at least: windows of thousands are those of calls that wait.
const CAREFUL_GROWTH: u32 = 64;
/// The first window, and the least: brief calls are many a round trip, and what is a long line of slow ones is in nobody's
/// way but their own. With sixteen, tickets that only echo were a tenth slower where the node's threads wait for a core.
const FLOOR: u32 = 64;
/// Whatever a node seems to bear.
const MOST: u32 = 1 << 20;
/// Where the line is longer, what does not wait for its turn is refused: calls that call each other without end.
const TOO_LONG_US: u64 = 30_000_000;

/// What of the batch waits at a node, as that says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    /// How long one waits that comes now.
    pub(crate) wait_us: u64,
    /// How many wait; none where that is not known.
    pub(crate) calls: Option<u32>,
}

/// The batch at one node.
#[derive(Debug)]
pub(crate) struct Batch {
    window: u32,
    /// Those that are there after their turn.
    entered: u32,
    grown_us: u64,
    shrunk_us: Option<u64>,
    /// The line as the node has told it last, and when.
    wait_us: u64,
    heard_us: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { window: FLOOR, entered: 0, grown_us: 0, shrunk_us: None, wait_us: 0, heard_us: 0 }
    }
}

impl Batch {
    /// So many calls at once, as a chunk of a map brings them, go there, if there is room: for one of them is enough.
    pub(crate) fn enter(&mut self, now_us: u64, calls: u32) -> bool {
        if !self.has_room() {
            self.grow(now_us);
        }
        let enters = self.has_room();
        if enters {
            self.entered = self.entered.saturating_add(calls);
        }
        enters
    }

    pub(crate) fn has_room(&self) -> bool {
        self.entered < self.window
    }

    /// Whether what is called by one of the batch that runs may go there, which would wait for its own caller: it takes
    /// nothing of the window.
    pub(crate) fn may_pass(&self, now_us: u64) -> bool {
        self.wait_us(now_us) < TOO_LONG_US
    }

    /// They are not there any more.
    pub(crate) fn leave(&mut self, calls: u32) {
        self.entered = self.entered.saturating_sub(calls);
    }

    /// The node says what waits.
    pub(crate) fn heard(&mut self, now_us: u64, Line { wait_us, calls }: Line) {
        (self.wait_us, self.heard_us) = (wait_us, now_us);
        let since_us = now_us.saturating_sub(self.shrunk_us.unwrap_or(0));
        let is_seen = self.entered <= self.window && since_us >= INTERVAL_US;
        if wait_us > TARGET_US && is_seen {
            let kept = TARGET_US as f64 / wait_us as f64;
            let too_much = match calls {
                // Of all that are there some wait for something else, nobody knows how many.
                None => f64::from(self.entered) * (1.0 - kept.max(0.5)),
                // Be it that some of them are another gateway's, or called by what is here.
                Some(waiting) => f64::from(waiting.min(self.entered)) * (1.0 - kept),
            };
            // What of the window has not been used has brought nothing.
            self.window = self.entered.saturating_sub(too_much.ceil() as u32).max(FLOOR);
            self.shrunk_us = Some(now_us);
        }
    }

    fn grow(&mut self, now_us: u64) {
        let is_due = now_us.saturating_sub(self.grown_us) >= GROWS_US;
        if is_due && self.wait_us(now_us) < TARGET_US / 2 {
            let more = match self.shrunk_us {
                None => self.window / GROWTH,
                Some(_) => (self.window / CAREFUL_GROWTH).max(FLOOR),
            };
            self.window = self.window.saturating_add(more).min(MOST);
            self.grown_us = now_us;
        }
    }

    /// What is not heard of any more drains by itself.
    fn wait_us(&self, now_us: u64) -> u64 {
        let silent_us = now_us.saturating_sub(self.heard_us.saturating_add(HEARD_EVERY_US));
        self.wait_us.saturating_sub(silent_us)
    }
}

#[cfg(test)]
mod tests;
