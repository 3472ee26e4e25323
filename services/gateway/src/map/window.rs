//! The window of a map: how much of it may be here, and at nodes, at once. Pure.
//!
//! Whatever is full, something goes on: what is out comes back, and what is ready is read. Where there is neither, all that
//! is held waits for an item that is still here, since in order results wait for those before them: then a chunk goes above
//! the limits, and the next one not before it is back.

use super::book::Book;
use super::outbox::Outbox;

/// How much may be where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Items that are out, or whose results wait here.
    in_flight: usize,
    /// Bytes of items that wait here: above it, no more are taken in.
    most_waiting: usize,
    /// Bytes of results that wait here, or are expected of what is out: above it, nothing more is sent.
    most_held: usize,
    /// And so many in any case, however little is left to the results of all maps.
    least_held: usize,
}

/// What is known of the answers of what is out, or is to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    /// Bytes that each is expected to have.
    pub(crate) each: f64,
    /// Items that may be out, as long as few have shown how large their answers are.
    pub(crate) most_out: usize,
    /// Bytes that are left to the results of all maps.
    pub(crate) left: usize,
}

const MOST_WAITING: usize = 8 * 1024 * 1024;
const MOST_HELD: usize = 64 * 1024 * 1024;
const LEAST_HELD: usize = 1024 * 1024;

impl Window {
    pub(crate) fn new(in_flight: usize) -> Self {
        Self { in_flight, most_waiting: MOST_WAITING, most_held: MOST_HELD, least_held: LEAST_HELD }
    }

    /// Whether more items are to be taken in, where so many bytes are `left` to all maps. None has more than it leaves, as
    /// queues of tickets (`tickets::shares`); but one that has nothing takes something, or it would not go on, unless maps have
    /// all of the house (`None`). Those that are refused at once are results and nothing else.
    pub(crate) fn takes(&self, book: &Book, outbox: &Outbox, left: Option<usize>) -> bool {
        let (items, waiting) = book.waiting();
        !book.has_ended()
            && items < self.in_flight
            && outbox.held() < self.in_flight
            && waiting < self.most_waiting
            && left.is_some_and(|left| book.is_empty() || book.bytes() < left)
    }

    /// So many items more may go, beside suspects; `None` where suspects may not either. What is weighed is out.
    pub(crate) fn room(
        &self,
        book: &Book,
        outbox: &Outbox,
        answers: Answers,
        nothing_is_out: bool,
    ) -> Option<usize> {
        let room = self.in_flight.saturating_sub(book.open() + outbox.held());
        if nothing_is_out && !outbox.is_ready() {
            return Some(room.max(1));
        }
        let bytes = self.most_held(outbox, answers.left).saturating_sub(outbox.bytes());
        // A float above the range becomes the largest integer.
        let fit = ((bytes as f64 / answers.each) as usize).min(answers.most_out);
        (bytes > 0).then_some(room.min(fit.saturating_sub(book.open())))
    }

    /// Whether large answers may come in, where so many bytes are `left` to the results of all maps.
    pub(crate) fn has_room(&self, outbox: &Outbox, left: usize) -> bool {
        outbox.bytes() == 0 || outbox.bytes() < self.most_held(outbox, left)
    }

    /// None holds more than it leaves, as with its items.
    fn most_held(&self, outbox: &Outbox, left: usize) -> usize {
        let share = outbox.bytes().saturating_add(left) / 2;
        self.most_held.min(share.max(self.least_held))
    }
}

#[cfg(test)]
mod tests;
