//! The requests of one map on their way to be a ticket. A stream can be read once: as long as nothing was taken of it, it can
//! be sent to another gateway; behind that it cannot, and how far it had come says what may be left of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use parking_lot::Mutex;

use crate::map::BoxStream;

/// Of one submit.
pub(super) struct Source<T>(Arc<Mutex<Lending<T>>>);

struct Lending<T> {
    requests: BoxStream<T>,
    /// To how many it was lent. Only the last one may read.
    lent: u32,
    progress: Progress,
}

/// How far the requests had come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Progress {
    /// Nothing was taken.
    Untouched,
    /// Something was, but their end was not said: a gateway makes no ticket of them.
    Begun,
    /// Their end was said, and may have arrived.
    Ended,
}

impl<T> Source<T> {
    pub(super) fn new(requests: BoxStream<T>) -> Self {
        Self(Arc::new(Mutex::new(Lending { requests, lent: 0, progress: Progress::Untouched })))
    }

    /// The requests, for one gateway.
    pub(super) fn lend(&self) -> Lent<T> {
        let mut lending = self.0.lock();
        lending.lent += 1;
        Lent { lending: self.0.clone(), number: lending.lent }
    }

    /// Who has them reads no more.
    pub(super) fn take_back(&self) -> Progress {
        let mut lending = self.0.lock();
        lending.lent += 1;
        lending.progress
    }
}

/// The requests, until they are taken back.
pub(super) struct Lent<T> {
    lending: Arc<Mutex<Lending<T>>>,
    number: u32,
}

impl<T> Clone for Lent<T> {
    fn clone(&self) -> Self {
        Self { lending: self.lending.clone(), number: self.number }
    }
}

impl<T> Lent<T> {
    /// The last thing that is asked before the end is said.
    pub(super) fn end(&self) -> Poll<()> {
        let mut lending = self.lending.lock();
        if lending.lent != self.number {
            return Poll::Pending;
        }
        lending.progress = Progress::Ended;
        Poll::Ready(())
    }
}

impl<T> Stream for Lent<T> {
    type Item = T;

    /// Of what was taken back nothing comes, nor its end.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut lending = self.lending.lock();
        if lending.lent != self.number {
            return Poll::Pending;
        }
        let polled = lending.requests.as_mut().poll_next(cx);
        if matches!(polled, Poll::Ready(Some(_))) {
            lending.progress = Progress::Begun;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::{Lent, Poll, Progress, Source};
    use futures_util::{FutureExt as _, StreamExt as _, stream};

    fn next(lent: &mut Lent<u32>) -> Option<Option<u32>> {
        lent.next().now_or_never()
    }

    #[test]
    fn what_was_not_taken_is_there_for_the_next() {
        let source = Source::new(Box::pin(stream::iter(0..2)));
        let mut first = source.lend();
        assert_eq!(source.take_back(), Progress::Untouched);
        let mut second = source.lend();
        assert_eq!((next(&mut first), next(&mut second)), (None, Some(Some(0))));
        assert_eq!(first.end(), Poll::Pending, "it cannot say the end of what the other sends");
        assert_eq!((next(&mut second), next(&mut second)), (Some(Some(1)), Some(None)));
        assert_eq!(source.take_back(), Progress::Begun);
    }

    #[test]
    fn it_is_told_when_the_end_was_said() {
        let source = Source::new(Box::pin(stream::empty()));
        let mut lent: Lent<u32> = source.lend();
        assert_eq!((next(&mut lent), lent.end()), (Some(None), Poll::Ready(())));
        assert_eq!(source.take_back(), Progress::Ended);
    }
}
