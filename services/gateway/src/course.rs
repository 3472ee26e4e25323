//! How far a call is, and what lies behind it: noted on its way, so that one that is cut off anywhere still knows where its
//! time went. Who notes says when: `calls`, on the way. It is read once, when the call has ended, by whoever ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use turno_proto::mesh::v1::Cost;

use crate::account::Measured;
use crate::link::Link;

/// The course of one call. Who may have to end it before its answer comes has it too.
#[derive(Default)]
pub(crate) struct Course(Mutex<Way>);

#[derive(Clone, Default)]
struct Way {
    queue: Duration,
    again: Duration,
    at: At,
    /// At a node where it was before.
    may_have_run: bool,
}

/// Where a call is.
#[derive(Clone, Default)]
enum At {
    /// At the gateway, and waiting for nobody.
    #[default]
    Edge,
    /// Waiting since then for a node, or for a place at one.
    Queue(Instant),
    /// Sent to a node then.
    Node(Instant, Arc<Link>),
    /// Here again, sent then to a node that has run nothing of it.
    Unstarted(Instant),
    /// Answered by a node, after so long away, and with what the node says of that time.
    Back(Duration, Option<Cost>, Arc<Link>),
    /// Ended before a node had it: none is to have it.
    TakenBack,
}

/// What is known of a call's time when it has ended.
#[derive(Default)]
pub(crate) struct Spent {
    pub(crate) measured: Measured,
    pub(crate) cost: Option<Cost>,
    /// The node where it was at the end, or that has answered it.
    pub(crate) link: Option<Arc<Link>>,
}

impl Course {
    /// Of a call that went to a node then, without waiting.
    pub(crate) fn sent(link: Arc<Link>, then: Instant) -> Self {
        Self(Mutex::new(Way { at: At::Node(then, link), ..Way::default() }))
    }

    /// It waits for a node from now on. If it was at one, that came to nothing.
    pub(crate) fn seek(&self, now: Instant) {
        self.0.lock().go_on(now, At::Queue(now));
    }

    /// It goes to a node, unless it was taken back: then it is not to.
    pub(crate) fn send(&self, link: &Arc<Link>, now: Instant) -> bool {
        let at = At::Node(now, link.clone());
        self.0.lock().go_on(now, at)
    }

    /// The node has answered it.
    pub(crate) fn back(&self, away: Duration, cost: Option<Cost>) {
        let mut way = self.0.lock();
        if let At::Node(_, link) = std::mem::take(&mut way.at) {
            way.at = At::Back(away, cost, link);
        }
    }

    /// It was sent to a node, and nothing of it has run there.
    pub(crate) fn unstarted(&self) {
        let mut way = self.0.lock();
        if let At::Node(since, _) = way.at {
            way.at = At::Unstarted(since);
        }
    }

    /// Whether a node has it, or has had it and has not said that nothing of it ran.
    pub(crate) fn may_have_run(&self) -> bool {
        self.0.lock().may_have_run()
    }

    /// Of another attempt beside this one. Where that one answers, the time until now has come to nothing; and whether that
    /// one has run, this one does not know.
    pub(crate) fn twin(&self) -> Self {
        let mut way = self.0.lock();
        way.may_have_run = true;
        Self(Mutex::new(way.clone()))
    }

    /// The other attempt has answered.
    pub(crate) fn become_twin(&self, twin: &Self) {
        let way = twin.take();
        *self.0.lock() = way;
    }

    /// Ends a call that no node has had, whoever is about to send it. Nothing where it may have run.
    pub(crate) fn take_back(&self, now: Instant) -> Option<Spent> {
        let mut way = self.0.lock();
        let taken_back = Way { at: At::TakenBack, ..Way::default() };
        (!way.may_have_run()).then(|| std::mem::replace(&mut *way, taken_back).spent(now))
    }

    /// The call has ended, be it in the middle of its way.
    pub(crate) fn end(&self, now: Instant) -> Spent {
        self.take().spent(now)
    }

    fn take(&self) -> Way {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Way {
    /// False where it was taken back, and does not.
    fn go_on(&mut self, now: Instant, to: At) -> bool {
        self.may_have_run = self.may_have_run();
        match &self.at {
            At::Queue(since) => self.queue += now.saturating_duration_since(*since),
            At::Node(since, _) | At::Unstarted(since) => self.again += now.saturating_duration_since(*since),
            At::Edge | At::Back(..) => {}
            At::TakenBack => return false,
        }
        self.at = to;
        true
    }

    fn may_have_run(&self) -> bool {
        self.may_have_run || matches!(self.at, At::Node(..) | At::Back(..))
    }

    fn spent(self, now: Instant) -> Spent {
        let Self { queue, again, at, .. } = self;
        let measured = Measured { queue, again, away: Duration::ZERO };
        match at {
            At::Edge | At::TakenBack => Spent { measured, ..Spent::default() },
            At::Queue(since) => {
                let queue = queue + now.saturating_duration_since(since);
                Spent { measured: Measured { queue, ..measured }, ..Spent::default() }
            }
            At::Unstarted(since) => {
                let again = again + now.saturating_duration_since(since);
                Spent { measured: Measured { again, ..measured }, ..Spent::default() }
            }
            At::Node(since, link) => Spent::away(measured, now.saturating_duration_since(since), None, link),
            At::Back(away, cost, link) => Spent::away(measured, away, cost, link),
        }
    }
}

impl Spent {
    /// Of a call that went to a node without waiting, and was away for so long.
    pub(crate) fn at_once(away: Duration, cost: Option<Cost>, link: Arc<Link>) -> Self {
        Self::away(Measured::default(), away, cost, link)
    }

    fn away(before: Measured, away: Duration, cost: Option<Cost>, link: Arc<Link>) -> Self {
        Self { measured: Measured { away, ..before }, cost, link: Some(link) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Course, Spent};
    use crate::link::Link;
    use crate::scheduler::WorkerId;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::sync::mpsc;
    use turno_proto::mesh::v1::{Cost, Hello};

    fn link(id: u64) -> Arc<Link> {
        let peer = "127.0.0.1:1".parse().unwrap();
        Arc::new(Link::new(WorkerId(id), Hello::default(), peer, mpsc::channel(1).0, 1024))
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Milliseconds in the queue, in vain, and away; the node; whether it says what it has cost.
    fn told(spent: &Spent) -> (u128, u128, u128, Option<u64>, bool) {
        let measured = &spent.measured;
        let [queue, again, away] = [measured.queue, measured.again, measured.away].map(|it| it.as_millis());
        (queue, again, away, spent.link.as_ref().map(|link| link.id.0), spent.cost.is_some())
    }

    #[test]
    fn a_call_that_is_cut_off_knows_how_far_it_was() {
        let start = Instant::now();
        assert_eq!(told(&Course::default().end(start)), (0, 0, 0, None, false));
        let course = Course::default();
        course.seek(start);
        assert_eq!(told(&course.twin().end(start + ms(5))), (5, 0, 0, None, false));
        course.send(&link(1), start + ms(5));
        assert_eq!(told(&course.twin().end(start + ms(9))), (5, 0, 4, Some(1), false));
        // Its node is lost, and it waits for another.
        course.seek(start + ms(10));
        assert_eq!(told(&course.twin().end(start + ms(12))), (7, 5, 0, None, false));
        course.send(&link(2), start + ms(13));
        assert_eq!(told(&course.twin().end(start + ms(20))), (8, 5, 7, Some(2), false));
        course.back(ms(6), Some(Cost::default()));
        assert_eq!(told(&course.end(start + ms(99))), (8, 5, 6, Some(2), true));
    }

    #[test]
    fn a_call_may_have_run_where_no_node_has_said_otherwise() {
        let (start, course) = (Instant::now(), Course::default());
        course.seek(start);
        assert!(!course.may_have_run(), "it waits for a node");
        course.send(&link(1), start + ms(5));
        assert!(course.may_have_run(), "a node has it");
        course.unstarted();
        course.seek(start + ms(9));
        assert!(!course.may_have_run(), "it was handed back");
        course.send(&link(2), start + ms(10));
        course.seek(start + ms(12));
        assert!(course.may_have_run(), "its node was lost");
        course.send(&link(3), start + ms(13));
        course.unstarted();
        assert!(course.may_have_run(), "at the one before");
        assert_eq!(told(&course.end(start + ms(15))), (7, 8, 0, None, false));
        let first = Course::default();
        first.seek(start);
        let _second = first.twin();
        assert!(first.may_have_run(), "the second may have");
    }

    #[test]
    fn what_was_taken_back_goes_to_no_node() {
        let (start, course) = (Instant::now(), Course::default());
        course.seek(start);
        assert_eq!(course.take_back(start + ms(5)).as_ref().map(told), Some((5, 0, 0, None, false)));
        assert!(!course.send(&link(1), start + ms(6)) && !course.may_have_run());
        course.seek(start + ms(7));
        assert!(!course.send(&link(1), start + ms(8)) && !course.may_have_run());
        let course = Course::default();
        assert!(course.send(&link(1), start));
        assert!(course.take_back(start + ms(5)).is_none(), "a node has it");
        assert_eq!(told(&course.end(start + ms(6))), (0, 0, 6, Some(1), false));
    }

    #[test]
    fn a_second_attempt_that_answers_has_the_time_of_the_first_behind_it() {
        let start = Instant::now();
        let course = Course::sent(link(1), start);
        let twin = course.twin();
        twin.seek(start + ms(50));
        twin.send(&link(2), start + ms(51));
        assert_eq!(told(&course.twin().end(start + ms(60))), (0, 0, 60, Some(1), false));
        twin.back(ms(9), Some(Cost::default()));
        course.become_twin(&twin);
        assert_eq!(told(&course.end(start + ms(61))), (1, 50, 9, Some(2), true));
    }
}
