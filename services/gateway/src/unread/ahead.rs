//! The messages of one stream that its client has not read. While there are any, and none is taken for a second or two, it
//! is an answer that waits. Until the first one is taken it is one like any other; then it has shown that it is read, and
//! what is always on its way of a stream that is read well keeps nobody out.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Reader;

/// Of one stream.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    messages: Mutex<Messages>,
    fewer: Notify,
}

#[derive(Debug, Default)]
struct Messages {
    count: usize,
    /// The second in which one was taken, or came to a client that had read all. None before the first was.
    moved: Option<u64>,
}

impl Ahead {
    /// Whether its client has read all that there was.
    pub(crate) fn is_read(&self) -> bool {
        self.messages.lock().count == 0
    }

    /// Returns when the client has read a message, perhaps one of before.
    pub(crate) async fn fewer(&self) {
        self.fewer.notified().await;
    }

    /// One more is on its way.
    pub(super) fn one_more(&self, reader: &Reader) {
        let mut messages = self.messages.lock();
        messages.count += 1;
        if messages.count == 1 {
            reader.one_more();
            if let Some(moved) = &mut messages.moved {
                *moved = reader.second();
                reader.moving.lock().step(None, Some(*moved));
            }
        }
    }

    /// One is written, or nobody wants it.
    pub(super) fn one_less(&self, reader: &Reader) {
        let mut messages = self.messages.lock();
        messages.count -= 1;
        let (now, is_read) = (reader.second(), messages.count == 0);
        let before = messages.moved.replace(now);
        if is_read {
            reader.one_less();
        }
        if is_read || before != Some(now) {
            reader.moving.lock().step(before, (!is_read).then_some(now));
        }
        drop(messages);
        self.fewer.notify_one();
    }
}
