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

/// Answers of one client's link that are ready, as many as was told last: one by itself costs nothing.
#[derive(Debug)]
pub(crate) struct Gathered {
    reader: Arc<Reader>,
    told: usize,
}

impl Reader {
    /// Answers that are ready, and not written.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether an answer is ready, or counted bytes of one are, and not written.
    pub(crate) fn has_unread(&self) -> bool {
        self.answers() > 0 || self.bytes() > 0
    }

    /// How many of them nobody reads, if they are so many or more. Streams that are read well are none of them; who they are
    /// is asked only where it matters.
    pub(crate) fn leaves_unread(&self, least: usize) -> Option<usize> {
        self.leaves_unread_at(least, || self.second())
    }

    pub(super) fn leaves_unread_at(&self, least: usize, second: impl FnOnce() -> u64) -> Option<usize> {
        let ready = self.answers();
        if ready < least {
            return None;
        }
        let unread = ready.saturating_sub(self.moving.lock().count(second()));
        (unread >= least).then_some(unread)
    }

    /// Of an answer that is ready now.
    pub(crate) fn ready(self: &Arc<Self>) -> Ready {
        self.one_more();
        Ready { reader: self.clone() }
    }

    /// Of a client's link, of which nothing is ready yet.
    pub(crate) fn gathered(self: &Arc<Self>) -> Gathered {
        Gathered { reader: self.clone(), told: 0 }
    }

    pub(super) fn one_more(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn one_less(&self) {
        self.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gathered {
    /// As many as the connection's number has of it.
    pub(crate) fn told(&self) -> usize {
        self.told
    }

    /// So many are ready now.
    pub(crate) fn tell(&mut self, ready: usize) {
        let told = std::mem::replace(&mut self.told, ready);
        if ready > told {
            self.reader.answers.fetch_add(ready - told, Ordering::Relaxed);
        } else if ready < told {
            self.reader.answers.fetch_sub(told - ready, Ordering::Relaxed);
        }
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.tell(0);
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
        assert_eq!((one.leaves_unread(1), one.leaves_unread(2)), (Some(1), None));
    }

    #[test]
    fn what_links_have_gathered_is_their_connections_too() {
        let reader = Unread::new(0).reader();
        let (mut one, mut other) = (reader.gathered(), reader.gathered());
        one.tell(300);
        other.tell(7);
        one.tell(44);
        assert_eq!((reader.answers(), one.told()), (51, 44));
        drop(one);
        assert_eq!(reader.answers(), 7);
    }

    #[test]
    fn a_stream_that_is_read_is_no_answer_that_waits_until_it_comes_to_stand() {
        let (reader, ahead) = (Unread::new(0).reader(), Arc::new(Ahead::default()));
        let unread_in = |seconds: u64| reader.leaves_unread_at(1, || reader.second() + seconds);
        let mut room = reader.room();
        let (first, second, third) = (room.pass(&ahead), room.pass(&ahead), room.pass(&ahead));
        assert_eq!(unread_in(0), Some(1), "nothing of it was ever taken");
        drop(first);
        assert_eq!((unread_in(0), reader.answers()), (None, 1));
        assert_eq!(unread_in(2), Some(1), "nothing of it was taken for two seconds");
        drop(second);
        assert_eq!(unread_in(2), Some(1));
        drop(third);
        assert_eq!((unread_in(2), reader.answers()), (None, 0));
        let _next = room.pass(&ahead);
        assert_eq!((unread_in(0), unread_in(2)), (None, Some(1)), "it has shown that it is read");
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
                        assert!(reader.answers() <= STREAMS);
                        drop(message);
                    }
                });
            }
        });
        assert_eq!(reader.answers(), 0);
        assert_eq!(reader.moving.lock().count(reader.second()), 0);
    }
}
