//! Places: how many threads of a runtime may be in users' code at once, and whose poll is next. Calls pass what is of
//! tickets and maps, which wait in a lane of their own.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::lanes::{BatchShare, Lanes, Urgency};

/// So many polls at once.
pub(super) struct Gate {
    desk: Mutex<Desk>,
    pub(super) most: usize,
    calls: AtomicUsize,
    batch: AtomicUsize,
    /// Places of polls that were caught and still last.
    lost: AtomicUsize,
    news: Notify,
}

/// Nobody waits while a place is free, but those who have given up.
#[derive(Default)]
struct Desk {
    free: usize,
    waiting: Lanes<oneshot::Sender<Place>>,
    /// When those who have given up are looked for next.
    tidy_at: usize,
}

/// So many may have given up before they are looked for.
const GIVEN_UP: usize = 64;

/// Polls that wait for a place, by lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) calls: usize,
    pub(super) batch: usize,
}

/// A place on its way to who has waited for it; given back, if nobody takes it.
struct Place(Option<Arc<Gate>>);

impl Place {
    fn take(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.give_back();
        }
    }
}

impl Gate {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            desk: Mutex::new(Desk { free: most, tidy_at: GIVEN_UP, ..Desk::default() }),
            most,
            calls: AtomicUsize::new(0),
            batch: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            news: Notify::new(),
        })
    }

    /// Takes a place, if there is one: then nobody waits for it.
    pub(super) fn enter(&self) -> bool {
        self.desk.lock().enter()
    }

    /// Takes a place as soon as its turn has come; answers false when it is better to go elsewhere, as `elsewhere` says. From
    /// now on the batch has this `share` of the turns.
    pub(super) async fn wait(
        &self,
        urgency: Urgency,
        share: BatchShare,
        elsewhere: impl Fn() -> bool,
    ) -> bool {
        let mut news = pin!(self.news.notified());
        news.as_mut().enable();
        if elsewhere() {
            return false;
        }
        let Some(place) = self.desk.lock().line_up(urgency, share) else { return true };
        let _waits = Waits::one(match urgency {
            Urgency::Call => &self.calls,
            Urgency::Batch => &self.batch,
        });
        tokio::select! {
            biased;
            place = place => { place.expect("the desk keeps it as long as it is waited for").take(); true }
            () = news => false,
        }
    }

    /// Gives the place back.
    pub(super) fn leave(self: &Arc<Self>, was_caught: bool) {
        if was_caught {
            self.lost.fetch_sub(1, Ordering::Relaxed);
        }
        self.give_back();
    }

    fn give_back(self: &Arc<Self>) {
        loop {
            let next = self.desk.lock().next();
            let Some(next) = next else { return };
            match next.send(Place(Some(self.clone()))) {
                Ok(()) => return,
                // It has given up: the place is the next one's.
                Err(place) => place.take(),
            }
        }
    }

    /// Those who wait.
    pub(super) fn waiting(&self) -> Waiting {
        let [calls, batch] = [&self.calls, &self.batch].map(|waiting| waiting.load(Ordering::Relaxed));
        Waiting { calls, batch }
    }

    /// A poll that has a place here is about to be caught.
    pub(super) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// It was over after all.
    pub(super) fn regain(&self) {
        self.lost.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whoever waits thinks again.
    pub(super) fn tell(&self) {
        self.news.notify_waiters();
    }

    /// Whether all places are held by polls that were caught.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed) >= self.most
    }
}

impl Desk {
    fn enter(&mut self) -> bool {
        let is_free = self.free > 0;
        self.free -= usize::from(is_free);
        is_free
    }

    /// `None`: a place was free, and is taken.
    fn line_up(&mut self, urgency: Urgency, share: BatchShare) -> Option<oneshot::Receiver<Place>> {
        if self.enter() {
            return None;
        }
        if self.waiting.len() >= self.tidy_at {
            self.waiting.retain(|waiter| !waiter.is_closed());
            self.tidy_at = 2 * self.waiting.len() + GIVEN_UP;
        }
        let (waiter, place) = oneshot::channel();
        self.waiting.push(waiter, urgency, share);
        Some(place)
    }

    /// Whose place that is which has come free; nobody's, and then it is free.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        let next = self.waiting.pop();
        self.free += usize::from(next.is_none());
        next
    }
}

/// One of those who wait, counted until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn one(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchShare, GIVEN_UP, Gate, Waiting};
    use crate::lanes::Urgency::{self, Batch, Call};
    use futures_util::FutureExt as _;
    use proptest::prelude::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;

    type Waiter = Pin<Box<dyn Future<Output = bool>>>;

    fn waiter(gate: &Arc<Gate>, urgency: Urgency) -> Waiter {
        waiter_by(BatchShare::default(), gate, urgency)
    }

    fn waiter_by(share: BatchShare, gate: &Arc<Gate>, urgency: Urgency) -> Waiter {
        let gate = gate.clone();
        Box::pin(async move { gate.wait(urgency, share, || false).await })
    }

    fn has_come(waiter: &mut Waiter) -> bool {
        waiter.now_or_never() == Some(true)
    }

    #[tokio::test]
    async fn a_place_that_comes_free_goes_to_who_waits() {
        let gate = Gate::new(1);
        assert!(gate.enter());
        assert!(!gate.enter());
        let mut waiting = waiter(&gate, Call);
        assert!(!has_come(&mut waiting));
        gate.leave(false);
        assert!(!gate.enter(), "it is taken already");
        assert!(waiting.await);
    }

    #[tokio::test]
    async fn news_send_those_who_wait_elsewhere() {
        let gate = Gate::new(1);
        assert!(gate.enter());
        let mut waiting = Box::pin(gate.wait(Call, BatchShare::default(), || gate.is_lost()));
        assert!((&mut waiting).now_or_never().is_none());
        gate.lose();
        gate.tell();
        assert!(!waiting.await);
        let begins = gate.wait(Call, BatchShare::default(), || gate.is_lost()).await;
        assert!(!begins, "nor does anybody begin to wait");
        gate.leave(true);
        assert!(!gate.is_lost() && gate.enter());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_no_place_along() {
        let gate = Gate::new(1);
        assert!(gate.enter());
        for is_handed_first in [false, true] {
            let mut waiting = waiter(&gate, Call);
            assert!(!has_come(&mut waiting));
            if is_handed_first {
                gate.leave(false);
                drop(waiting);
            } else {
                drop(waiting);
                gate.leave(false);
            }
            assert!(gate.enter());
        }
    }

    #[tokio::test]
    async fn calls_pass_the_batch() {
        let gate = Gate::new(1);
        assert!(gate.enter());
        let (mut ticket, mut call) = (waiter(&gate, Batch), waiter(&gate, Call));
        assert!(!has_come(&mut ticket) && !has_come(&mut call));
        assert_eq!(gate.waiting(), Waiting { calls: 1, batch: 1 });
        gate.leave(false);
        assert!(!has_come(&mut ticket) && has_come(&mut call));
        gate.leave(false);
        assert!(has_come(&mut ticket));
        assert_eq!(gate.waiting(), Waiting::default());
    }

    #[tokio::test]
    async fn calls_pass_the_batch_but_for_its_share() {
        for (share, passed) in [(0.0, 20), (0.1, 9), (0.5, 1)] {
            let (gate, share) = (Gate::new(1), BatchShare::new(share));
            assert!(gate.enter());
            let mut ticket = waiter_by(share, &gate, Batch);
            let mut calls: Vec<_> = (0..20).map(|_| waiter_by(share, &gate, Call)).collect();
            assert!(!has_come(&mut ticket) && !calls.iter_mut().any(has_come));
            for call in &mut calls[..passed] {
                gate.leave(false);
                assert!(has_come(call));
            }
            gate.leave(false);
            assert!(has_come(&mut ticket));
        }
    }

    #[tokio::test]
    async fn those_who_have_given_up_are_not_kept() {
        let gate = Gate::new(1);
        assert!(gate.enter());
        for _ in 0..10 * GIVEN_UP {
            assert!(!has_come(&mut waiter(&gate, Call)));
        }
        assert!(gate.desk.lock().waiting.len() <= GIVEN_UP);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(Urgency),
        /// One of those who wait looks whether its place has come.
        Look(prop::sample::Index),
        GiveUp(prop::sample::Index),
        Leave,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => prop::sample::select(vec![Call, Batch]).prop_map(Step::Wait),
            2 => any::<prop::sample::Index>().prop_map(Step::Look),
            1 => any::<prop::sample::Index>().prop_map(Step::GiveUp),
            2 => Just(Step::Leave),
        ];
        prop::collection::vec(step, 0..100)
    }

    proptest! {
        /// As many are inside as there are places at most, and as soon as all have left, all places are free.
        #[test]
        fn no_place_is_lost_and_none_is_given_twice(most in 1_usize..4, steps in steps()) {
            let gate = Gate::new(most);
            let (mut waiting, mut inside) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Wait(urgency) => {
                        let mut waiter = waiter(&gate, urgency);
                        if has_come(&mut waiter) { inside += 1 } else { waiting.push(waiter) }
                    }
                    Step::Look(at) if !waiting.is_empty() => {
                        let at = at.index(waiting.len());
                        if has_come(&mut waiting[at]) {
                            inside += 1;
                            drop(waiting.remove(at));
                        }
                    }
                    Step::GiveUp(at) if !waiting.is_empty() => drop(waiting.remove(at.index(waiting.len()))),
                    Step::Leave if inside > 0 => {
                        inside -= 1;
                        gate.leave(false);
                    }
                    Step::Look(_) | Step::GiveUp(_) | Step::Leave => {}
                }
                prop_assert!(inside <= most);
            }
            while !waiting.is_empty() || inside > 0 {
                let before = (waiting.len(), inside);
                waiting.retain_mut(|waiter| !has_come(waiter));
                inside += before.0 - waiting.len();
                prop_assert!(inside <= most && inside > 0, "those who wait are not forgotten");
                inside -= 1;
                gate.leave(false);
            }
            prop_assert_eq!((0..=most).filter(|_| gate.enter()).count(), most);
        }
    }
}
