//! Outcomes on their way to a gateway: whoever ran a call leaves its outcome here, and rings for the link's writer,
//! at once or when more of them have come. The writer is in `frames.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use turno_proto::mesh::v1::{Outcome, Progress};

/// Those of one link, in the order in which they ended: never more than the calls that the gateway has sent.
#[derive(Debug)]
pub(crate) struct Answers {
    /// `None` once nobody takes them any more.
    left: Mutex<Option<VecDeque<Ended>>>,
    writer: AtomicWaker,
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// How far it was, if that was not told yet. It goes in the same frame: of a call that has ended the gateway hears
    /// nothing more.
    pub(crate) progress: Option<Progress>,
}

/// Rings for the writer who is to take what was left: at the latest when it is dropped, so that none is forgotten.
#[derive(Debug, Default)]
#[must_use = "it rings as soon as it is dropped"]
pub(crate) struct Bell(Option<Arc<Answers>>);

impl Default for Answers {
    fn default() -> Self {
        Self { left: Mutex::new(Some(VecDeque::new())), writer: AtomicWaker::new() }
    }
}

impl Answers {
    /// Where the link is gone, its gateway has dealt with the call itself.
    pub(crate) fn leave(self: &Arc<Self>, outcome: Outcome, progress: Option<Progress>) -> Bell {
        let mut left = self.left.lock();
        let Some(left) = &mut *left else { return Bell::default() };
        left.push_back(Ended { outcome, progress });
        Bell(Some(self.clone()))
    }

    /// Whom to wake from now on. The writer says so before it takes, so that no outcome falls between.
    pub(crate) fn register(&self, writer: &Waker) {
        self.writer.register(writer);
    }

    /// The first of them, so many at most, up to the one with which they have so many bytes.
    pub(crate) fn take(&self, most: usize, bytes: usize) -> VecDeque<Ended> {
        let mut left = self.left.lock();
        let Some(left) = &mut *left else { return VecDeque::new() };
        let mut sizes = left.iter().take(most).scan(0, |sum, ended| {
            *sum += ended.outcome.body.len();
            Some(*sum)
        });
        let fit = sizes.position(|sum| sum >= bytes).map_or_else(|| left.len().min(most), |last| last + 1);
        if fit == left.len() { std::mem::take(left) } else { left.drain(..fit).collect() }
    }

    /// The writer is gone.
    pub(crate) fn close(&self) {
        self.left.lock().take();
    }
}

impl Bell {
    pub(crate) fn ring(self) {
        drop(self);
    }

    /// Nobody has to hear it.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(answers) = self.0.take() {
            answers.writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Answers;
    use std::sync::Arc;
    use turno_proto::mesh::v1::Outcome;

    fn taken(answers: &Arc<Answers>, most: usize, bytes: usize) -> Vec<u64> {
        answers.take(most, bytes).iter().map(|ended| ended.outcome.call).collect()
    }

    #[test]
    fn they_are_taken_in_order_and_no_more_than_fit() {
        let answers = Arc::<Answers>::default();
        for call in 1..=6 {
            answers.leave(Outcome { call, body: vec![0; 10].into(), ..Outcome::default() }, None).ring();
        }
        assert_eq!(taken(&answers, 2, 1000), [1, 2]);
        assert_eq!(taken(&answers, 9, 15), [3, 4]);
        assert_eq!(taken(&answers, 9, 1), [5]);
        assert_eq!(taken(&answers, 9, 1000), [6]);
        assert!(taken(&answers, 9, 1000).is_empty());
    }
}
