//! The writer's half of a link: what has gathered in the channel goes into one frame; it never waits to gather.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::mpsc;
use turno_proto::mesh::v1::{Blocking, Hello, NodeFrame, Outcome, Progress};

use crate::watchdog::Board;

/// What a node sends up.
pub(crate) enum Up {
    Hello(Box<Hello>),
    Outcome(Outcome),
    /// Slots that this gateway may fill, as they are when this is sent.
    Window(Arc<AtomicU32>),
    /// Methods that were caught holding a thread.
    Blocking(Vec<Blocking>),
    /// How far calls are.
    Progress(Vec<Progress>),
    /// No more work, please.
    Leaving,
    /// All is said.
    End,
}

/// Frames for the gateway, out of what gathers in a channel.
pub(crate) struct Frames {
    rx: mpsc::Receiver<Up>,
    board: Arc<Board>,
    ended: bool,
}

// A frame is cut when it has this much, so that one frame never stands long in the way of another stream.
const MOST_OUTCOMES: usize = 256;
const MOST_BYTES: usize = 256 * 1024;

impl Frames {
    pub(crate) fn new(rx: mpsc::Receiver<Up>, board: Arc<Board>) -> Self {
        Self { rx, board, ended: false }
    }

    /// Adds to the frame; answers false when it is to be sent without waiting for more.
    fn add(&mut self, frame: &mut NodeFrame, up: Up, bytes: &mut usize) -> bool {
        match up {
            Up::Hello(hello) => frame.hello = Some(*hello),
            Up::Outcome(outcome) => {
                *bytes += outcome.body.len();
                frame.outcomes.push(outcome);
            }
            Up::Window(slots) => frame.window = Some(slots.load(Ordering::Relaxed)),
            Up::Blocking(blocking) => frame.blocking = blocking,
            Up::Progress(said) => frame.progress.extend(said),
            Up::Leaving => frame.leaving = true,
            Up::End => self.ended = true,
        }
        !self.ended && frame.outcomes.len() < MOST_OUTCOMES && *bytes < MOST_BYTES
    }
}

impl Stream for Frames {
    type Item = NodeFrame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<NodeFrame>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(first) = ready!(self.rx.poll_recv(cx)) else { return Poll::Ready(None) };
        let (mut frame, mut bytes) = (NodeFrame::default(), 0);
        let mut more = self.add(&mut frame, first, &mut bytes);
        while more {
            let Ok(next) = self.rx.try_recv() else { break };
            more = self.add(&mut frame, next, &mut bytes);
        }
        if !frame.outcomes.is_empty() {
            frame.queue = self.board.queue();
        }
        if self.ended && frame == NodeFrame::default() { Poll::Ready(None) } else { Poll::Ready(Some(frame)) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Frames, Up};
    use crate::watchdog::Board;
    use futures_util::StreamExt as _;
    use std::time::Duration;
    use tokio::sync::mpsc;
    use turno_proto::mesh::v1::Outcome;

    #[tokio::test]
    async fn what_has_gathered_goes_in_one_frame() {
        let (tx, rx) = mpsc::channel(16);
        let board = Board::new(std::iter::empty(), Duration::from_secs(3600)).unwrap();
        let mut frames = Frames::new(rx, board);
        for call in 1..=3 {
            tx.send(Up::Outcome(Outcome { call, ..Outcome::default() })).await.unwrap();
        }
        tx.send(Up::Leaving).await.unwrap();
        let frame = frames.next().await.unwrap();
        assert_eq!(frame.outcomes.len(), 3);
        assert!(frame.leaving);
        tx.send(Up::Outcome(Outcome { call: 4, ..Outcome::default() })).await.unwrap();
        tx.send(Up::End).await.unwrap();
        assert_eq!(frames.next().await.unwrap().outcomes[0].call, 4);
        assert!(frames.next().await.is_none());
    }
}
