//! The writer's half of a client's link: what has gathered goes into one frame. It lets those tasks go first that are
//! ready to call, and never waits for more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use turno_proto::v1::CallsFrame;

use crate::client::link::Link;
use crate::client::pending::MOST_CALLS;

/// Frames for a gateway.
pub(crate) struct Frames {
    link: Arc<Link>,
    /// So many calls had gathered before the others had their last turn.
    seen: usize,
    turns: usize,
}

/// What others do in their turn may take long, and a frame waits for no more of them.
const MOST_TURNS: usize = 4;

impl Frames {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, seen: 0, turns: 0 }
    }
}

impl Stream for Frames {
    type Item = CallsFrame;

    /// tokio runs the task that was woken last before those that were ready already: woken by the first caller, the writer
    /// would find one call where a moment later it finds all of them. A task that wakes itself goes to the back; it does so
    /// for as long as each turn of the others has brought more, four times at most.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<CallsFrame>> {
        let gathered = self.link.gathered();
        if (self.seen + 1..MOST_CALLS).contains(&gathered) && self.turns < MOST_TURNS {
            (self.seen, self.turns) = (gathered, self.turns + 1);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        (self.seen, self.turns) = (0, 0);
        self.link.poll_frame(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Frames, MOST_CALLS, MOST_TURNS};
    use crate::client::call::Call;
    use crate::client::link::Link;
    use crate::client::pending::Lost;
    use crate::cpu::v1::{InfoRequest, images};
    use futures_util::future::BoxFuture;
    use futures_util::{FutureExt as _, StreamExt as _};
    use std::sync::Arc;
    use tonic::Request;
    use tonic::transport::Endpoint;
    use turno_proto::mesh::v1::Outcome;

    /// Calls that wait for their answers.
    struct Callers(Arc<Link>, Vec<BoxFuture<'static, Result<Outcome, Lost>>>);

    impl Callers {
        fn come(&mut self, callers: usize) {
            for _ in 0..callers {
                let link = self.0.clone();
                let call = async move {
                    link.call(&Call::new::<images::Info>(Request::new(InfoRequest::default()), None)).await
                };
                let mut call = call.boxed();
                assert!((&mut call).now_or_never().is_none(), "nobody answers");
                self.1.push(call);
            }
        }
    }

    fn link() -> (Callers, Frames) {
        let endpoint = Endpoint::from_static("http://gateway:7070");
        let link = Arc::new(Link::new("gateway:7070", endpoint, 1 << 20));
        (Callers(link.clone(), Vec::new()), Frames::new(link))
    }

    /// How many calls its next frame has, if it makes one now.
    fn poll(frames: &mut Frames) -> Option<usize> {
        frames.next().now_or_never().map(|frame| frame.expect("the link is open").calls.len())
    }

    #[tokio::test]
    async fn others_go_first_for_as_long_as_they_bring_more() {
        let (mut callers, mut frames) = link();
        for callers_to_come in [1, 3, 2] {
            callers.come(callers_to_come);
            assert_eq!(poll(&mut frames), None);
        }
        assert_eq!(poll(&mut frames), Some(6));
        assert_eq!(poll(&mut frames), None);
        callers.come(1);
        assert_eq!([poll(&mut frames), poll(&mut frames)], [None, Some(1)], "nor is one call held up");
    }

    #[tokio::test]
    async fn a_frame_waits_for_a_few_turns_at_most() {
        let (mut callers, mut frames) = link();
        for _ in 0..MOST_TURNS {
            callers.come(1);
            assert_eq!(poll(&mut frames), None);
        }
        callers.come(1);
        assert_eq!(poll(&mut frames), Some(MOST_TURNS + 1));
    }

    #[tokio::test]
    async fn a_whole_frame_waits_for_nobody() {
        let (mut callers, mut frames) = link();
        callers.come(MOST_CALLS + 1);
        assert_eq!(poll(&mut frames), Some(MOST_CALLS));
        assert_eq!([poll(&mut frames), poll(&mut frames)], [None, Some(1)]);
    }
}
