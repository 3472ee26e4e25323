//! How many answers each connection leaves unread, of whatever size. They hold places of calls, so the door asks for it
//! (`admission`). A call touches its own connection's number alone: those of others do not wait for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Reader;

/// An answer that is ready; counted until this is dropped, when it is written or nobody wants it.
#[derive(Debug)]
pub(crate) struct Ready {
    reader: Arc<Reader>,
}

impl Reader {
    /// Answers that are ready, and not written.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Of an answer that is ready now.
    pub(crate) fn ready(self: &Arc<Self>) -> Ready {
        self.one_more();
        Ready { reader: self.clone() }
    }

    pub(super) fn one_more(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn one_less(&self) {
        self.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.reader.one_less();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use crate::unread::{Ahead, Unread};

    #[test]
    fn an_answer_is_its_connections() {
        let unread = Unread::new(0);
        let (one, other) = (unread.reader(), unread.reader());
        let answers = (one.ready(), one.ready(), other.ready());
        assert_eq!((one.answers(), other.answers()), (2, 1));
        drop(answers.1);
        assert_eq!((one.answers(), other.answers()), (1, 1));
    }

    #[test]
    fn a_stream_is_one_answer_however_its_messages_come_and_go() {
        const STREAMS: usize = 3;
        let reader = &Unread::new(0).reader();
        std::thread::scope(|threads| {
            for _ in 0..STREAMS {
                let (messages, read) = mpsc::sync_channel(2);
                threads.spawn(move || {
                    let (mut room, ahead) = (reader.room(), Arc::new(Ahead::default()));
                    for _ in 0..2000 {
                        messages.send(room.pass(&ahead)).unwrap();
                    }
                });
                threads.spawn(move || {
                    for message in read {
                        // While the last message goes and the next one comes, a stream may be two.
                        assert!(reader.answers() <= 2 * STREAMS);
                        drop(message);
                    }
                });
            }
        });
        assert_eq!(reader.answers(), 0);
    }
}
