//! The calls of a client that are on one link, and what of them is still to be sent. Knows neither clock nor network.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use futures_channel::oneshot;
use turno_proto::mesh::v1::{Entry, Invocation, Outcome};
use turno_proto::v1::CallsFrame;

/// What a caller waits for. Not tokio's channel, which makes a span for tokio-console of each.
pub(crate) type Reply = oneshot::Sender<Result<Outcome, Lost>>;

/// The link broke, or is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// It had been handed to the connection; else nothing of it has left.
    pub(crate) may_have_run: bool,
}

/// Calls by number.
#[derive(Default)]
pub(crate) struct Pending {
    waiting: HashMap<u64, Waiting>,
    last: u64,
    /// Where the gateway has each method.
    names: HashMap<&'static str, u32>,
    new_names: Vec<String>,
    gathered: VecDeque<Invocation>,
    cancels: Vec<u64>,
    /// No call is taken any more. Those that were sent may still be cancelled.
    closed: bool,
    writer: Option<Waker>,
}

struct Waiting {
    reply: Reply,
    sent: bool,
}

/// Of one frame.
pub(crate) const MOST_CALLS: usize = 256;
const MOST_BYTES: usize = 256 * 1024;

impl Pending {
    /// Notes a call and puts it where the next frame is made; answers its number. `None` once the link is closed.
    pub(crate) fn add(&mut self, path: &'static str, invocation: Invocation, reply: Reply) -> Option<u64> {
        if self.closed {
            return None;
        }
        self.last += 1;
        let (call, method) = (self.last, self.index(path));
        self.waiting.insert(call, Waiting { reply, sent: false });
        self.gathered.push_back(Invocation { call, method, ..invocation });
        Some(call)
    }

    fn index(&mut self, path: &'static str) -> u32 {
        if let Some(index) = self.names.get(path) {
            return *index;
        }
        // A program has not so many methods.
        let index = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.insert(path, index);
        self.new_names.push(path.to_owned());
        index
    }

    pub(crate) fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// What has gathered, and how many calls of it were taken.
    pub(crate) fn next_frame(&mut self) -> Option<(CallsFrame, usize)> {
        let (mut frame, mut bytes, mut taken) = (CallsFrame::default(), 0, 0);
        frame.calls.reserve(self.gathered.len().min(MOST_CALLS));
        while frame.calls.len() < MOST_CALLS && bytes < MOST_BYTES {
            let Some(invocation) = self.gathered.pop_front() else { break };
            taken += 1;
            // Otherwise its caller has gone before it left.
            if let Some(waiting) = self.waiting.get_mut(&invocation.call) {
                waiting.sent = true;
                bytes += invocation.body.len() + size_of_metadata(&invocation.metadata);
                frame.calls.push(invocation);
            }
        }
        frame.methods = std::mem::take(&mut self.new_names);
        frame.cancels = std::mem::take(&mut self.cancels);
        let empty = frame.calls.is_empty() && frame.methods.is_empty() && frame.cancels.is_empty();
        if empty && taken == 0 { None } else { Some((frame, taken)) }
    }

    /// Who waits for this call.
    pub(crate) fn take(&mut self, call: u64) -> Option<Reply> {
        self.waiting.remove(&call).map(|waiting| waiting.reply)
    }

    /// Nobody waits for it any more.
    pub(crate) fn cancel(&mut self, call: u64) {
        if self.waiting.remove(&call).is_some_and(|waiting| waiting.sent) {
            self.cancels.push(call);
        }
    }

    /// The gateway takes no more: answers those whose calls have not left.
    pub(crate) fn leave(&mut self) -> Vec<Reply> {
        self.closed = true;
        let unsent = std::mem::take(&mut self.gathered);
        unsent.iter().filter_map(|invocation| self.take(invocation.call)).collect()
    }

    /// The link is gone: answers those whose calls had left.
    pub(crate) fn take_sent(&mut self) -> Vec<Reply> {
        self.waiting.drain().map(|(_, waiting)| waiting.reply).collect()
    }

    /// Nothing is left to be sent, once what has gathered is: no call is taken, and those that were sent have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.closed && self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The writer waits for more.
    pub(crate) fn wait(&mut self, writer: &Waker) {
        self.writer = Some(writer.clone());
    }

    /// The writer, if it waits. To be woken outside the lock.
    pub(crate) fn writer(&mut self) -> Option<Waker> {
        self.writer.take()
    }
}

fn size_of_metadata(metadata: &[Entry]) -> usize {
    metadata.iter().map(|entry| entry.key.len() + entry.value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::{MOST_CALLS, Pending, Reply};
    use futures_channel::oneshot;
    use turno_proto::mesh::v1::Invocation;

    fn add(pending: &mut Pending, path: &'static str) -> u64 {
        pending.add(path, Invocation::default(), reply()).unwrap()
    }

    fn reply() -> Reply {
        oneshot::channel().0
    }

    #[test]
    fn what_has_gathered_goes_in_one_frame_and_a_name_goes_once() {
        let mut pending = Pending::default();
        for path in ["/a", "/b", "/a"] {
            add(&mut pending, path);
        }
        let (frame, taken) = pending.next_frame().unwrap();
        assert_eq!((frame.methods, taken), (vec!["/a".to_owned(), "/b".to_owned()], 3));
        assert_eq!(frame.calls.iter().map(|call| call.method).collect::<Vec<_>>(), [0, 1, 0]);
        assert!(pending.next_frame().is_none());
        add(&mut pending, "/b");
        assert!(pending.next_frame().unwrap().0.methods.is_empty());
    }

    #[test]
    fn a_frame_is_cut() {
        let mut pending = Pending::default();
        for _ in 0..=MOST_CALLS {
            add(&mut pending, "/a");
        }
        assert_eq!(pending.next_frame().unwrap().1, MOST_CALLS);
        assert_eq!(pending.next_frame().unwrap().1, 1);
    }

    #[test]
    fn what_is_cancelled_before_it_leaves_never_leaves() {
        let mut pending = Pending::default();
        let (gone, sent) = (add(&mut pending, "/a"), add(&mut pending, "/a"));
        pending.cancel(gone);
        let (frame, taken) = pending.next_frame().unwrap();
        assert_eq!((frame.calls.len(), frame.cancels.len(), taken), (1, 0, 2));
        pending.cancel(sent);
        assert_eq!(pending.next_frame().unwrap().0.cancels, [sent]);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn what_had_left_is_told_from_what_had_not() {
        let mut pending = Pending::default();
        add(&mut pending, "/a");
        pending.next_frame().unwrap();
        add(&mut pending, "/a");
        add(&mut pending, "/a");
        assert_eq!(pending.leave().len(), 2);
        assert!(pending.next_frame().is_none() && !pending.is_over());
        assert_eq!(pending.take_sent().len(), 1);
        assert!(pending.is_over());
        assert!(pending.add("/a", Invocation::default(), reply()).is_none());
    }

    #[test]
    fn what_a_gateway_that_is_leaving_has_can_be_cancelled() {
        let mut pending = Pending::default();
        let (cancelled, answered) = (add(&mut pending, "/a"), add(&mut pending, "/a"));
        pending.next_frame().unwrap();
        assert!(pending.leave().is_empty());
        pending.cancel(cancelled);
        assert_eq!(pending.next_frame().unwrap().0.cancels, [cancelled]);
        assert!(pending.next_frame().is_none() && !pending.is_over());
        assert!(pending.take(answered).is_some() && pending.is_over());
    }
}
