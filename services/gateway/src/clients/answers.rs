//! Answers on their way to a client: what has gathered goes into one frame; it never waits to gather.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use tonic::Status;
use turno_proto::mesh::v1::Outcome;
use turno_proto::v1::OutcomesFrame;

use crate::admission::Permit;
use crate::clients::client::Client;
use crate::unread::{self, Gathered};

/// What waits for the writer. As much as the calls that were let in: each keeps its permit until its answer is out, and
/// is one that its connection has not read, which hears of them by the frame. Large answers hold room beside it (`unread`).
pub(crate) struct Answers {
    ready: VecDeque<(Outcome, Option<Permit>)>,
    bytes: usize,
    /// Those that have a place.
    placed: usize,
    gathered: Gathered,
    /// For the first frame.
    max_body: Option<u64>,
    leaving: bool,
    broken: Option<Status>,
    writer: Option<Waker>,
}

const MOST_OUTCOMES: usize = 256;
const MOST_BYTES: usize = 256 * 1024;
/// A larger one travels in a frame of its own.
const LARGE: usize = 64 * 1024;
/// With so much unread, no call is taken from the client.
const MOST_UNREAD: usize = 1024;
const MOST_UNREAD_BYTES: usize = 8 << 20;

impl Answers {
    pub(crate) fn new(max_body: usize, gathered: Gathered) -> Self {
        Self {
            ready: VecDeque::new(),
            bytes: 0,
            placed: 0,
            gathered,
            max_body: Some(max_body as u64),
            leaving: false,
            broken: None,
            writer: None,
        }
    }

    /// A call that was not let in has no place.
    pub(crate) fn push(&mut self, mut outcome: Outcome, permit: Option<Permit>) {
        if self.ready.len() >= MOST_OUTCOMES && outcome.body.len() <= unread::SMALL {
            // Behind a whole frame that waits: it does not keep all that came in the same frame of its node.
            outcome.body = Bytes::copy_from_slice(&outcome.body);
        }
        self.bytes += outcome.body.len();
        self.placed += usize::from(permit.is_some());
        self.ready.push_back((outcome, permit));
        if self.placed >= self.gathered.told() + MOST_OUTCOMES {
            // A whole frame more than was told: perhaps neither side of the link comes by.
            self.tell();
        }
    }

    /// Tells the connection how many of them it has not read.
    pub(crate) fn tell(&mut self) {
        self.gathered.tell(self.placed);
    }

    /// The gateway is ending.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    /// The client does not follow the protocol.
    pub(crate) fn break_off(&mut self, status: Status) {
        self.broken = Some(status);
    }

    /// Nobody reads any more.
    pub(crate) fn clear(&mut self) {
        (self.ready, self.bytes, self.placed) = (VecDeque::new(), 0, 0);
        self.tell();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.ready.len() < MOST_UNREAD && self.bytes < MOST_UNREAD_BYTES
    }

    /// The writer, if it waits for what has just come. To be woken outside the lock.
    pub(crate) fn writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }

    fn next_frame(&mut self) -> Option<Result<OutcomesFrame, Status>> {
        if let Some(status) = self.broken.take() {
            return Some(Err(status));
        }
        if self.ready.is_empty() && self.max_body.is_none() && !self.leaving {
            return None;
        }
        let max_body = self.max_body.take().unwrap_or_default();
        let leaving = std::mem::take(&mut self.leaving);
        Some(Ok(OutcomesFrame { outcomes: self.outcomes(), leaving, max_body }))
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        let (mut outcomes, mut bytes) = (Vec::with_capacity(self.ready.len().min(MOST_OUTCOMES)), 0);
        while let Some((next, _)) = self.ready.front() {
            let size = next.body.len();
            let full = outcomes.len() == MOST_OUTCOMES || bytes >= MOST_BYTES;
            if full || (size > LARGE && !outcomes.is_empty()) {
                break;
            }
            outcomes.extend(self.ready.pop_front().map(|(outcome, permit)| {
                self.placed -= usize::from(permit.is_some());
                outcome
            }));
            bytes += size;
            if size > LARGE {
                break;
            }
        }
        self.bytes -= bytes;
        self.tell();
        outcomes
    }
}

/// Frames for a client. Dropped when its connection is: then nobody waits for its calls.
pub(crate) struct Frames {
    client: Arc<Client>,
}

impl Frames {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }
}

impl Stream for Frames {
    type Item = Result<OutcomesFrame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.client.write(|answers, over| match answers.next_frame() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if over => Poll::Ready(None),
            None => {
                answers.writer = Some(cx.waker().clone());
                Poll::Pending
            }
        })
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.client.close();
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, LARGE, MOST_OUTCOMES, MOST_UNREAD};
    use crate::admission::Admission;
    use crate::unread::Unread;
    use turno_proto::mesh::v1::Outcome;

    fn outcome(call: u64, bytes: usize) -> Outcome {
        Outcome { call, body: vec![0; bytes].into(), ..Outcome::default() }
    }

    fn answers() -> Answers {
        Answers::new(7, Unread::new(0).reader().gathered())
    }

    fn next(answers: &mut Answers) -> Vec<u64> {
        let frame = answers.next_frame().unwrap().unwrap();
        frame.outcomes.iter().map(|outcome| outcome.call).collect()
    }

    #[test]
    fn what_has_gathered_goes_in_one_frame_and_what_is_large_in_its_own() {
        let mut answers = answers();
        assert_eq!(answers.next_frame().unwrap().unwrap().max_body, 7);
        for (call, bytes) in [(1, 1), (2, 1), (3, LARGE + 1), (4, 1)] {
            answers.push(outcome(call, bytes), None);
        }
        assert_eq!(next(&mut answers), [1, 2]);
        assert_eq!(next(&mut answers), [3]);
        assert_eq!(next(&mut answers), [4]);
        assert!(answers.next_frame().is_none());
        assert_eq!(answers.bytes, 0);
    }

    #[test]
    fn a_frame_is_cut_and_much_that_is_unread_leaves_no_room() {
        let mut answers = answers();
        for call in 0..MOST_UNREAD as u64 {
            assert!(answers.has_room());
            answers.push(outcome(call, 1), None);
        }
        assert!(!answers.has_room());
        assert_eq!(next(&mut answers).len(), MOST_OUTCOMES);
        assert!(answers.has_room());
    }

    #[test]
    fn an_answer_has_its_place_and_is_unread_until_it_is_in_a_frame_or_nobody_reads_any_more() {
        let (admission, reader) = (Admission::new(1000, 0), Unread::new(0).reader());
        let mut answers = Answers::new(7, reader.gathered());
        let push = |answers: &mut Answers, call| {
            answers.push(outcome(call, 1), Some(admission.admit().unwrap()));
        };
        push(&mut answers, 0);
        answers.push(outcome(1, 1), None);
        assert_eq!((admission.calls(), reader.answers()), (1, 0), "one by itself is told to nobody");
        answers.tell();
        assert_eq!(reader.answers(), 1, "what was not let in has no place");
        next(&mut answers);
        assert_eq!((admission.calls(), reader.answers()), (0, 0));
        (0..300).for_each(|call| push(&mut answers, call));
        assert_eq!((admission.calls(), reader.answers()), (300, MOST_OUTCOMES), "nobody comes by");
        answers.tell();
        assert_eq!(reader.answers(), 300);
        next(&mut answers);
        assert_eq!((admission.calls(), reader.answers()), (300 - MOST_OUTCOMES, 300 - MOST_OUTCOMES));
        answers.clear();
        assert_eq!((admission.calls(), reader.answers()), (0, 0));
    }
}
