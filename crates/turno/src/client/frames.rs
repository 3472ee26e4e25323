//! The writer's half of a client's link: what has gathered goes into one frame. It lets those tasks go first that are
//! ready to call, and never waits for more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use turno_proto::v1::CallsFrame;

use crate::client::link::Link;

/// Frames for a gateway.
pub(crate) struct Frames {
    link: Arc<Link>,
    /// The others have had their turn.
    yielded: bool,
}

impl Frames {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, yielded: false }
    }
}

impl Stream for Frames {
    type Item = CallsFrame;

    /// tokio runs the task that was woken last before those that were ready already: woken by the first caller, the writer
    /// would find one call where a moment later it finds all of them. A task that wakes itself goes to the back.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<CallsFrame>> {
        if !self.yielded && self.link.has_gathered() {
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.yielded = false;
        self.link.poll_frame(cx)
    }
}
