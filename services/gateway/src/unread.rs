//! Answers that their clients have not read: so many bytes of them at once, beside those of requests (`admission`).
//!
//! Room goes with the bytes themselves, wherever they wait, down to the connection's own queue, and is given back when
//! the last of them is written or dropped. Where there is none, an error takes the answer's place: waiting would hold
//! its node's link, and everybody's answers behind it. Of small ones no byte is counted: a call has one,
//! and calls are counted. How much of it a connection may have, `shares` knows; how many answers it leaves unread, small
//! ones too, `ready`, and whether a stream is one of them, `ahead` and `moving`.

mod ahead;
mod moving;
mod ready;
mod shares;

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use turno_proto::mesh::v1::{Cost, Outcome};
use turno_proto::status;

use crate::admission;

pub(crate) use ahead::Ahead;
pub(crate) use ready::Gathered;
#[cfg(test)]
pub(crate) use ready::Ready;
pub(crate) use shares::{Reader, Unread};

/// What is held of it; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    reader: Arc<Reader>,
    bytes: usize,
    /// Of a message of a stream.
    ahead: Option<Arc<Ahead>>,
}

/// Up to this size an answer is not counted.
pub(crate) const SMALL: usize = 16 * 1024;
/// What tells an answer that was dropped from a call that was not let in: `google.rpc.ErrorInfo`.
const DROPPED: &str = "ANSWER_DROPPED";
/// Where more than this part waits, what comes is copied: else it would keep the link's frame that it came in, which may
/// be twenty times as large.
const CROWDED: usize = 16;

impl Reader {
    /// Room that grows.
    pub(crate) fn room(self: &Arc<Self>) -> Room {
        Room { reader: self.clone(), bytes: 0, ahead: None }
    }

    /// Room for so much, if there is.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let mut room = self.room();
        room.reach(bytes).then_some(room)
    }

    /// Room for what goes out in any case.
    pub(crate) fn add(self: &Arc<Self>, bytes: usize) -> Room {
        let mut room = self.room();
        room.grow(bytes);
        room
    }

    /// Counts what came by a link, or says that there is no room for it.
    pub(crate) fn take(self: &Arc<Self>, outcome: &mut Outcome) {
        if outcome.body.len() <= SMALL {
            return;
        }
        let Some(room) = self.hold(outcome.body.len()) else {
            *outcome = self.instead(outcome.call, outcome.cost);
            return;
        };
        let body = std::mem::take(&mut outcome.body);
        let is_crowded = self.unread.bytes() > self.unread.max_bytes / CROWDED;
        let body = if is_crowded { Bytes::copy_from_slice(&body) } else { body };
        outcome.body = holding(body, room);
    }

    /// What is told instead of an answer that can be asked for again.
    pub(crate) fn full(&self) -> Status {
        admission::full(self.why("there is no room for this answer"))
    }

    /// What is told instead of a method's answer. What it has cost stays true.
    pub(crate) fn instead(&self, call: u64, cost: Option<Cost>) -> Outcome {
        Outcome { cost, ..status::to_outcome(call, self.dropped()) }
    }

    /// It does not ask to come again: the method would run again.
    fn dropped(&self) -> Status {
        let details = status::because(DROPPED);
        let what = self.why("the method has run, but there was no room for its answer");
        Status::with_error_details(Code::ResourceExhausted, what, details)
    }

    fn why(&self, what: &str) -> String {
        let (mine, all, max) = (self.bytes(), self.unread.bytes(), self.unread.max_bytes);
        format!(
            "{what}: of {max} bytes for answers that are not read yet (max_bodies) {all} are taken, {mine} of them by this \
             connection, which may have no more than it leaves: read what has come"
        )
    }
}

impl Room {
    /// Whose it is.
    pub(crate) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// So much from now on, if there is room.
    pub(crate) fn reach(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let has_room = more == 0 || self.reader.try_grow(more, self.bytes);
        if has_room {
            self.bytes += more;
        }
        has_room
    }

    /// So much from now on, in any case.
    pub(crate) fn grow(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        self.reader.grow(more);
        self.bytes += more;
    }

    /// What this has held, for a message that is on its way now.
    pub(crate) fn pass(&mut self, ahead: &Arc<Ahead>) -> Self {
        ahead.one_more(&self.reader);
        let bytes = std::mem::take(&mut self.bytes);
        Self { reader: self.reader.clone(), bytes, ahead: Some(ahead.clone()) }
    }

    /// The bytes hold from now on what this has held.
    pub(crate) fn around(&mut self, bytes: Bytes) -> Bytes {
        match std::mem::take(&mut self.bytes) {
            0 => bytes,
            held => holding(bytes, Self { reader: self.reader.clone(), bytes: held, ahead: None }),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.reader.give_back(self.bytes);
        }
        if let Some(ahead) = &self.ahead {
            ahead.one_less(&self.reader);
        }
    }
}

/// The same bytes; `what` is dropped when the last of them is.
pub(crate) fn holding<T: Send + 'static>(bytes: Bytes, what: T) -> Bytes {
    Bytes::from_owner(Holding { bytes, _what: what })
}

struct Holding<T> {
    bytes: Bytes,
    _what: T,
}

impl<T> AsRef<[u8]> for Holding<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Ahead, DROPPED, Outcome, Reader, SMALL, Unread};
    use bytes::Bytes;
    use std::sync::Arc;
    use tonic::Code;
    use tonic_types::StatusExt as _;
    use turno_proto::mesh::v1::Cost;
    use turno_proto::status;

    fn outcome(bytes: usize) -> Outcome {
        let cost = Some(Cost { run_us: 7, ..Cost::default() });
        Outcome { call: 3, body: vec![7; bytes].into(), cost, ..Outcome::default() }
    }

    #[test]
    fn an_answer_is_counted_until_its_last_byte_is_gone() {
        let unread = Unread::new(100_000);
        let reader = unread.reader();
        let mut answer = outcome(60_000);
        reader.take(&mut answer);
        assert_eq!(unread.bytes(), 60_000);
        let (start, rest) = (answer.body.slice(..10), answer.body.slice(10..));
        drop(answer);
        drop(rest);
        assert_eq!((unread.bytes(), start.as_ref()), (60_000, &[7; 10][..]));
        drop(start);
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn what_has_no_room_says_so_and_keeps_its_cost_and_others_have_theirs() {
        let unread = Unread::new(100_000);
        let reader = unread.reader();
        let mut kept = outcome(60_000);
        reader.take(&mut kept);
        let mut lost = outcome(60_000);
        reader.take(&mut lost);
        assert_eq!((lost.call, lost.cost, lost.body.len()), (3, kept.cost, 0));
        let error = status::from_outcome(lost);
        assert_eq!(error.code(), Code::ResourceExhausted);
        let says = |what: &str| error.message().contains(what);
        assert!(says("the method has run") && says("max_bodies"), "{error}");
        assert_eq!(error.get_details_error_info().unwrap().reason, DROPPED);
        assert!(error.get_details_retry_info().is_none(), "who came again would run it again");
        assert!(reader.full().get_details_retry_info().is_some(), "nothing has run for what is only read");
        assert_eq!(unread.bytes(), 60_000, "what was refused holds nothing");
        let mut of_another = outcome(20_000);
        unread.reader().take(&mut of_another);
        assert_eq!((of_another.body.len(), unread.bytes()), (20_000, 80_000));
    }

    #[test]
    fn small_answers_pass_where_there_is_no_room() {
        let unread = Unread::new(100_000);
        let reader = unread.reader();
        let _full = reader.add(200_000);
        let mut small = outcome(SMALL);
        reader.take(&mut small);
        assert_eq!((small.body.len(), unread.bytes()), (SMALL, 200_000));
    }

    #[test]
    fn where_much_waits_an_answer_does_not_keep_its_frame() {
        let frame = Bytes::from(vec![7; 60_000]);
        let place_of = |reader: &Arc<Reader>| {
            let mut answer = Outcome { body: frame.slice(20_000..40_000), ..Outcome::default() };
            reader.take(&mut answer);
            assert_eq!(answer.body, frame.slice(20_000..40_000));
            answer.body.as_ptr()
        };
        assert_eq!(place_of(&Unread::new(1 << 30).reader()), frame[20_000..].as_ptr());
        assert_ne!(place_of(&Unread::new(1 << 16).reader()), frame[20_000..].as_ptr());
    }

    #[test]
    fn what_is_larger_than_all_the_room_has_it_for_itself() {
        let unread = Unread::new(50_000);
        let reader = unread.reader();
        let mut room = reader.room();
        assert!(room.reach(40_000) && room.reach(90_000));
        assert!(reader.hold(1).is_none());
        let body = room.around(Bytes::from(vec![7; 90_000]));
        assert!(room.around(Bytes::new()).is_empty());
        drop(room);
        assert_eq!(unread.bytes(), 90_000);
        drop(body);
        assert!(reader.hold(50_000).is_some());
    }

    #[test]
    fn what_a_stream_has_ahead_is_known_until_the_last_of_it_is_gone() {
        let (unread, ahead) = (Unread::new(50_000), Arc::new(Ahead::default()));
        let reader = unread.reader();
        let mut room = reader.room();
        assert!(room.reach(40_000) && ahead.is_read() && reader.answers() == 0);
        let (large, tiny) = (room.pass(&ahead), room.pass(&ahead));
        drop(large);
        assert!(!ahead.is_read() && unread.bytes() == 0);
        assert_eq!(reader.answers(), 1, "a stream is one answer");
        drop(tiny);
        assert!(ahead.is_read() && reader.answers() == 0);
        room.grow(60_000);
        assert!(room.reach(60_000), "what it has it need not wait for");
    }
}
