//! The writer's half of a link: what has gathered in the channel goes into one frame; it never waits to gather.
//! When the connection breaks, this is dropped, and what it had not taken is known not to have reached the node.

use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::mpsc;
use tonic::Status;
use turno_proto::mesh::{GatewayFrame, Invocation, Welcome};

use crate::link::Link;

/// What the gateway sends down.
pub(crate) enum Down {
    Welcome(Welcome),
    Invoke(Invocation),
    Cancel(u64),
    /// No invocation follows.
    Released,
    /// All is said.
    End,
}

/// Frames for a node, out of what gathers in a channel.
pub(crate) struct Frames {
    link: Weak<Link>,
    rx: mpsc::Receiver<Down>,
    ended: bool,
}

const MOST_INVOCATIONS: usize = 256;
const MOST_BYTES: usize = 256 * 1024;

impl Frames {
    pub(crate) fn new(link: Weak<Link>, rx: mpsc::Receiver<Down>) -> Self {
        Self { link, rx, ended: false }
    }

    /// Adds to the frame; answers false when it is to be sent without waiting for more.
    fn add(&mut self, frame: &mut GatewayFrame, down: Down, bytes: &mut usize) -> bool {
        match down {
            Down::Welcome(welcome) => frame.welcome = Some(welcome),
            Down::Invoke(invocation) => {
                *bytes += invocation.body.len();
                frame.invocations.push(invocation);
            }
            Down::Cancel(call) => frame.cancels.push(call),
            // Invocations stand before it in the channel, and in a frame the node takes them first.
            Down::Released => frame.released = true,
            Down::End => self.ended = true,
        }
        !self.ended && !frame.released && frame.invocations.len() < MOST_INVOCATIONS && *bytes < MOST_BYTES
    }
}

impl Stream for Frames {
    type Item = Result<GatewayFrame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(first) = ready!(self.rx.poll_recv(cx)) else { return Poll::Ready(None) };
        let (mut frame, mut bytes) = (GatewayFrame::default(), 0);
        let mut more = self.add(&mut frame, first, &mut bytes);
        while more {
            let Ok(next) = self.rx.try_recv() else { break };
            more = self.add(&mut frame, next, &mut bytes);
        }
        if self.ended && frame == GatewayFrame::default() {
            Poll::Ready(None)
        } else {
            Poll::Ready(Some(Ok(frame)))
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let Some(link) = self.link.upgrade() else { return };
        self.rx.close();
        while let Ok(down) = self.rx.try_recv() {
            if let Down::Invoke(invocation) = down {
                link.lose_unsent(invocation.call);
            }
        }
    }
}
