//! The writer's half of a link: what has gathered in the channel goes into one frame; it never waits to gather.
//! When the connection breaks, this is dropped, and what it had not taken is known not to have reached the node.

use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::mpsc;
use tonic::Status;
use turno_proto::mesh::v1::{GatewayFrame, Invocation, Welcome};

use crate::link::Link;

/// What the gateway sends down.
pub(crate) enum Down {
    Welcome(Welcome),
    Invoke(Invocation),
    Cancel(u64),
    /// Jobs that wait and that the node could run.
    Backlog(u64),
    /// Calls wait for slots that chunks of maps have; the link knows how many.
    WantSlot,
    /// No invocation follows.
    Released,
    /// All is said.
    End,
}

/// Frames for a node, out of what gathers in a channel.
pub(crate) struct Frames {
    link: Weak<Link>,
    rx: mpsc::Receiver<Down>,
    /// The node was told that nothing follows.
    released: bool,
    ended: bool,
}

const MOST_INVOCATIONS: usize = 256;
const MOST_BYTES: usize = 256 * 1024;

impl Frames {
    pub(crate) fn new(link: Weak<Link>, rx: mpsc::Receiver<Down>) -> Self {
        Self { link, rx, released: false, ended: false }
    }

    /// Adds to the frame; answers false when it is to be sent without waiting for more.
    fn add(&mut self, frame: &mut GatewayFrame, down: Down, bytes: &mut usize) -> bool {
        match down {
            Down::Welcome(welcome) => frame.welcome = Some(welcome),
            // Routed before the node was known to be leaving: it goes elsewhere.
            Down::Invoke(invocation) if self.released => self.lose(invocation.call),
            Down::Invoke(invocation) => {
                *bytes += invocation.body.len();
                frame.invocations.push(invocation);
            }
            Down::Cancel(call) => frame.cancels.push(call),
            Down::Backlog(jobs) => frame.backlog = Some(jobs),
            // With each frame, whatever else is in it.
            Down::WantSlot => {}
            // What is in the same frame was invoked before, and the node takes it first.
            Down::Released => (self.released, frame.released) = (true, true),
            Down::End => self.ended = true,
        }
        !self.ended && !frame.released && frame.invocations.len() < MOST_INVOCATIONS && *bytes < MOST_BYTES
    }
}

impl Frames {
    fn lose(&self, call: u64) {
        if let Some(link) = self.link.upgrade() {
            link.lose_unsent(call);
        }
    }
}

impl Stream for Frames {
    type Item = Result<GatewayFrame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let Some(first) = ready!(self.rx.poll_recv(cx)) else { return Poll::Ready(None) };
            let (mut frame, mut bytes) = (GatewayFrame::default(), 0);
            let mut more = self.add(&mut frame, first, &mut bytes);
            while more {
                let Ok(next) = self.rx.try_recv() else { break };
                more = self.add(&mut frame, next, &mut bytes);
            }
            frame.slots_wanted = self.link.upgrade().map_or(0, |link| link.take_slots_wanted());
            // Empty when all that came was not to be sent any more.
            if frame != GatewayFrame::default() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.rx.close();
        while let Ok(down) = self.rx.try_recv() {
            if let Down::Invoke(invocation) = down {
                self.lose(invocation.call);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Down, Frames};
    use crate::link::Link;
    use crate::scheduler::WorkerId;
    use futures_util::StreamExt as _;
    use std::sync::Arc;
    use tokio::sync::mpsc;
    use turno_proto::mesh::v1::Hello;

    #[tokio::test]
    async fn slots_are_asked_for_on_a_link_that_is_full_too() {
        let (down, rx) = mpsc::channel(1);
        down.try_send(Down::Cancel(7)).unwrap();
        let peer = "127.0.0.1:1".parse().unwrap();
        let link = Arc::new(Link::new(WorkerId(1), Hello::default(), peer, down, 1024));
        link.want_slot();
        link.want_slot();
        let mut frames = Frames::new(Arc::downgrade(&link), rx);
        let frame = frames.next().await.unwrap().unwrap();
        assert_eq!((frame.cancels, frame.slots_wanted), (vec![7], 2));
        link.want_slot();
        assert_eq!(frames.next().await.unwrap().unwrap().slots_wanted, 1);
    }
}
