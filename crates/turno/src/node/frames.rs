//! The writer's half of a link: what has gathered goes into one frame; it never waits to gather.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::coop;
use turno_proto::mesh::v1::{Blocking, Hello, NodeFrame, Progress};

use crate::node::answers::{Answers, Ended};
use crate::watchdog::Board;

/// What a node sends up beside its answers.
pub(crate) enum Up {
    Hello(Box<Hello>),
    /// Slots that this gateway may fill, as they are when this is sent.
    Window(Arc<AtomicU32>),
    /// There is a queue before the async threads, as it is when this is sent.
    Queue,
    /// Methods that were caught holding a thread.
    Blocking(Vec<Blocking>),
    /// How far calls are.
    Progress(Vec<Progress>),
    /// No more work, please.
    Leaving,
    /// All is said.
    End,
}

/// Frames for the gateway, out of the answers and what gathers in a channel.
pub(crate) struct Frames {
    rx: mpsc::Receiver<Up>,
    answers: Arc<Answers>,
    board: Arc<Board>,
    ended: bool,
}

// A frame is cut when it has this much, so that one frame never stands long in the way of another stream.
const MOST_OUTCOMES: usize = 256;
const MOST_BYTES: usize = 256 * 1024;

impl Frames {
    pub(crate) fn new(rx: mpsc::Receiver<Up>, answers: Arc<Answers>, board: Arc<Board>) -> Self {
        Self { rx, answers, board, ended: false }
    }

    fn add(&mut self, frame: &mut NodeFrame, up: Option<Up>) {
        match up {
            Some(Up::Hello(hello)) => frame.hello = Some(*hello),
            Some(Up::Window(slots)) => frame.window = Some(slots.load(Ordering::Relaxed)),
            Some(Up::Queue) => frame.queue = self.board.queue(),
            Some(Up::Blocking(blocking)) => frame.blocking = blocking,
            Some(Up::Progress(said)) => frame.progress.extend(said),
            Some(Up::Leaving) => frame.leaving = true,
            Some(Up::End) | None => self.ended = true,
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.answers.close();
    }
}

impl Stream for Frames {
    type Item = NodeFrame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<NodeFrame>> {
        self.answers.register(cx.waker());
        let coop = ready!(coop::poll_proceed(cx));
        let mut frame = NodeFrame::default();
        let mut ended = self.answers.take(MOST_OUTCOMES, MOST_BYTES);
        while !self.ended
            && let Poll::Ready(up) = self.rx.poll_recv(cx)
        {
            self.add(&mut frame, up);
        }
        if self.ended && ended.is_empty() {
            // Those that were left after the look at them and before the end was said.
            ended = self.answers.take(MOST_OUTCOMES, MOST_BYTES);
        }
        if !ended.is_empty() {
            frame.queue = self.board.queue();
        }
        for Ended { outcome, progress } in ended {
            frame.outcomes.push(outcome);
            frame.progress.extend(progress);
        }
        if frame != NodeFrame::default() {
            coop.made_progress();
            return Poll::Ready(Some(frame));
        }
        if self.ended { Poll::Ready(None) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::{Frames, MOST_OUTCOMES, Up};
    use crate::node::answers::Answers;
    use crate::watchdog::Board;
    use futures_util::StreamExt as _;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::mpsc;
    use turno_proto::mesh::v1::{Outcome, Progress};
    use turno_runtime::task;

    fn writer() -> (mpsc::Sender<Up>, Arc<Answers>, Frames) {
        let (tx, rx) = mpsc::channel(16);
        let answers = Arc::<Answers>::default();
        let limit = Duration::from_secs(3600);
        let board = Board::new(std::iter::empty(), limit, None, Arc::default()).unwrap();
        (tx, answers.clone(), Frames::new(rx, answers, board))
    }

    fn outcome(call: u64) -> Outcome {
        Outcome { call, ..Outcome::default() }
    }

    #[tokio::test]
    async fn what_has_gathered_goes_in_one_frame() {
        let (tx, answers, mut frames) = writer();
        for call in 1..=3 {
            answers.leave(outcome(call), None).ring();
        }
        tx.send(Up::Leaving).await.unwrap();
        let frame = frames.next().await.unwrap();
        assert_eq!(frame.outcomes.len(), 3);
        assert!(frame.leaving);
        answers.leave(outcome(4), None).ring();
        tx.send(Up::End).await.unwrap();
        assert_eq!(frames.next().await.unwrap().outcomes[0].call, 4);
        assert!(frames.next().await.is_none());
    }

    #[tokio::test]
    async fn a_bell_wakes_the_writer_and_an_outcome_alone_does_not() {
        let (_tx, answers, mut frames) = writer();
        let waiting = task::spawn("test", async move { frames.next().await });
        tokio::task::yield_now().await;
        let bell = answers.leave(outcome(1), None);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        bell.ring();
        assert_eq!(waiting.await.unwrap().unwrap().outcomes.len(), 1);
    }

    #[tokio::test]
    async fn the_last_progress_of_each_goes_with_its_outcome() {
        let (_tx, answers, mut frames) = writer();
        let all = u64::try_from(MOST_OUTCOMES).unwrap();
        for call in 0..all {
            let progress = Progress { call, done: 1, ..Progress::default() };
            answers.leave(outcome(call), Some(progress)).ring();
        }
        let frame = frames.next().await.unwrap();
        assert_eq!((frame.outcomes.len(), frame.progress.len()), (MOST_OUTCOMES, MOST_OUTCOMES));
    }

    #[tokio::test]
    async fn nothing_is_left_behind_at_the_end() {
        let (tx, answers, mut frames) = writer();
        let all = u64::try_from(MOST_OUTCOMES).unwrap() + 1;
        let bells: Vec<_> = (0..all).map(|call| answers.leave(outcome(call), None)).collect();
        tx.send(Up::End).await.unwrap();
        assert_eq!(frames.next().await.unwrap().outcomes.len(), MOST_OUTCOMES);
        assert_eq!(frames.next().await.unwrap().outcomes.len(), 1);
        assert!(frames.next().await.is_none());
        drop((bells, frames));
        answers.leave(outcome(all), None).ring();
        assert!(answers.take(1, 1).is_empty());
    }
}
