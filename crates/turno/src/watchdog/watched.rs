//! The future around a call of an `async fn`. At each poll it takes a place and notes itself in its thread's slot; when
//! its method was caught, or those who were hold all places at home, it moves to the runtime aside.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;
use turno_proto::mesh::v1::Cost;
use turno_runtime::task;
use turno_runtime::units::micros;

use super::gate::Gate;
use super::record::Record;
use super::runtimes::Aside;
use super::{clock, clock_at, slots};
use crate::lanes::Urgency;

/// A call of a method, watched.
pub(crate) struct Watched<F: Future> {
    record: Arc<Record>,
    urgency: Urgency,
    lane: Lane,
    stage: Stage<F>,
    spent: Spent,
}

/// In which runtime the future is polled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Home,
    Aside,
}

enum Stage<F: Future> {
    Here(F, Option<Waiting>),
    /// A task of the runtime aside has it.
    Moved(AbortOnDropHandle<(F::Output, Spent)>),
    Empty,
}

/// For a place: true when it has come.
struct Waiting {
    place: Place,
    has_come: Pin<Box<dyn Future<Output = bool> + Send>>,
}

/// Where the next poll belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Home,
    /// Away from home, to the runtime aside.
    Move,
    /// Aside, among those who were caught.
    Confined,
    /// Aside, because all places at home are lost.
    Guest,
}

fn place(record: &Record, lane: Lane, now: Duration) -> Place {
    match (lane, record.is_confined(now)) {
        (Lane::Home, confined) if (confined || record.home.gate.is_lost()) && Aside::get().is_some() => {
            Place::Move
        }
        (Lane::Home, _) => Place::Home,
        (Lane::Aside, true) => Place::Confined,
        (Lane::Aside, false) => Place::Guest,
    }
}

fn gate(record: &Record, place: Place) -> Option<&Arc<Gate>> {
    match place {
        Place::Home => Some(&record.home.gate),
        Place::Move => None,
        Place::Confined => Aside::started().map(|aside| &aside.confined),
        Place::Guest => Aside::started().map(|aside| &aside.guests),
    }
}

/// The time that a call has taken so far.
#[derive(Clone, Copy)]
struct Spent {
    arrived: Instant,
    began: Option<Instant>,
    ended: Option<Instant>,
    inside: Duration,
}

impl<F> Watched<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    pub(crate) fn new(record: Arc<Record>, urgency: Urgency, arrived: Instant, future: F) -> Self {
        let spent = Spent { arrived, began: None, ended: None, inside: Duration::ZERO };
        Self { record, urgency, lane: Lane::Home, stage: Stage::Here(future, None), spent }
    }

    /// What the call has cost, up to its last poll: of a future that is given up while it is aside, up to its move.
    pub(crate) fn cost(&self) -> Cost {
        let Spent { arrived, began, ended, inside } = self.spent;
        let (Some(began), Some(ended)) = (began, ended) else {
            return Cost { queue_us: micros(arrived.elapsed()), ..Cost::default() };
        };
        Cost {
            queue_us: micros(began.saturating_duration_since(arrived)),
            run_us: micros(ended - began),
            cpu_us: micros(inside),
            items: 0,
        }
    }

    fn polled(&mut self, began: Instant, ended: Instant, is_over: bool) {
        let is_first = self.spent.began.is_none();
        self.spent.add(began, ended);
        if self.lane == Lane::Aside {
            return;
        }
        let queue = self.record.home.queue.of(self.urgency);
        queue.polled(ended - began);
        if is_first {
            queue.begun(clock_at(began), began.saturating_duration_since(self.spent.arrived));
        }
        if is_over {
            queue.ended(self.spent.inside);
        }
    }

    fn move_aside(&mut self) {
        let aside = Aside::started().expect("it is there when a place is aside");
        let Stage::Here(future, _) = std::mem::replace(&mut self.stage, Stage::Empty) else {
            unreachable!("only what is here is moved")
        };
        let (record, stage, spent) = (self.record.clone(), Stage::Here(future, None), self.spent);
        let mut there = Self { record, urgency: self.urgency, lane: Lane::Aside, stage, spent };
        let moved = task::spawn_on(self.record.name, aside.runtime(), async move {
            let output = (&mut there).await;
            (output, there.spent)
        });
        self.stage = Stage::Moved(AbortOnDropHandle::new(moved));
    }
}

impl<F> Future for Watched<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        loop {
            let (future, waiting) = match &mut this.stage {
                Stage::Here(future, waiting) => (future, waiting),
                Stage::Moved(moved) => {
                    // An error is the end of this process: the future itself catches what it panics with.
                    let Ok((output, spent)) = ready!(Pin::new(moved).poll(cx)) else { return Poll::Pending };
                    this.spent = spent;
                    return Poll::Ready(output);
                }
                Stage::Empty => unreachable!("it is left only to be filled"),
            };
            let now = Instant::now();
            let place = self::place(&this.record, this.lane, clock_at(now));
            let Some(gate) = self::gate(&this.record, place) else {
                this.move_aside();
                continue;
            };
            if !ready!(enter(&this.record, (this.urgency, this.lane), place, waiting, cx)) {
                continue;
            }
            let inside = Inside::begin(&this.record, gate, this.lane, now);
            let polled = Pin::new(future).poll(cx);
            drop(inside);
            this.polled(now, Instant::now(), polled.is_ready());
            return polled;
        }
    }
}

/// Takes the place, or waits for it. False when the poll may belong elsewhere by now.
fn enter(
    record: &Arc<Record>,
    whose: (Urgency, Lane),
    place: Place,
    waiting: &mut Option<Waiting>,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    // What waits elsewhere waits in vain; dropping it gives back what has come meanwhile.
    let waits_here = waiting.take_if(|waiting| waiting.place != place).is_none() && waiting.is_some();
    if !waits_here && gate(record, place).is_some_and(|gate| gate.enter()) {
        return Poll::Ready(true);
    }
    let record = record.clone();
    let waits =
        waiting.get_or_insert_with(|| Waiting { place, has_come: Box::pin(wait(record, whose, place)) });
    let has_come = ready!(waits.has_come.as_mut().poll(cx));
    *waiting = None;
    Poll::Ready(has_come)
}

async fn wait(record: Arc<Record>, (urgency, lane): (Urgency, Lane), at: Place) -> bool {
    match gate(&record, at) {
        Some(gate) => {
            let share = record.home.batch_shares.now();
            gate.wait(urgency, share, || place(&record, lane, clock()) != at).await
        }
        None => false,
    }
}

/// A poll that is under way: has a place, and is noted in its thread's slot.
struct Inside<'a> {
    record: &'a Record,
    gate: &'a Arc<Gate>,
    lane: Lane,
    began: Instant,
}

impl<'a> Inside<'a> {
    fn begin(record: &'a Record, gate: &'a Arc<Gate>, lane: Lane, began: Instant) -> Self {
        slots::enter(record.id, lane == Lane::Aside, clock_at(began));
        Self { record, gate, lane, began }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let waited = slots::leave();
        if let Some(waited) = waited {
            self.record.held(self.began.elapsed().saturating_sub(waited));
        }
        self.gate.leave(waited.is_some() && self.lane == Lane::Home);
    }
}

impl Spent {
    fn add(&mut self, began: Instant, ended: Instant) {
        self.began.get_or_insert(began);
        self.ended = Some(ended);
        self.inside += ended - began;
    }
}

#[cfg(test)]
mod tests {
    use super::{Cost, Watched};
    use crate::lanes::Urgency;
    use crate::watchdog::Board;
    #[cfg(target_os = "linux")]
    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    #[cfg(target_os = "linux")]
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};
    #[cfg(target_os = "linux")]
    use turno_runtime::units::micros;

    const LONG: Duration = Duration::from_millis(60);

    fn board(limit: Duration) -> Arc<Board> {
        Board::new(["a.v1.A/Wait"].into_iter(), limit, None, Arc::default()).unwrap()
    }

    fn watched<F: Future<Output = ()> + Send + 'static>(board: &Board, future: F) -> Watched<Pin<Box<F>>> {
        Watched::new(board.records[0].clone(), Urgency::Call, Instant::now(), Box::pin(future))
    }

    async fn cost(future: impl Future<Output = ()> + Send + 'static) -> Cost {
        let mut watched = watched(&board(Duration::from_secs(3600)), future);
        tokio::time::sleep(LONG).await;
        (&mut watched).await;
        watched.cost()
    }

    #[tokio::test]
    async fn waiting_costs_time_but_not_a_thread() {
        let Cost { queue_us, run_us, cpu_us, .. } = cost(async { tokio::time::sleep(LONG).await }).await;
        assert!(queue_us >= 60_000 && run_us >= 60_000, "{queue_us} {run_us}");
        assert!(cpu_us < run_us, "{cpu_us} of {run_us}");
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a thread that is held")]
    async fn holding_the_thread_costs_both() {
        let Cost { run_us, cpu_us, .. } = cost(async { std::thread::sleep(LONG) }).await;
        assert!(cpu_us >= 60_000 && run_us >= cpu_us, "{cpu_us} of {run_us}");
    }

    #[cfg(target_os = "linux")]
    fn compute(time: Duration) {
        use rustix::time::{ClockId, clock_gettime};
        let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let end = cpu() + time;
        while cpu() < end {}
    }

    /// Seven that compute on the core of this thread, until it is dropped: what this one computes takes eight times as
    /// long.
    #[cfg(target_os = "linux")]
    struct Crowd {
        cores: CpuSet,
        is_over: Arc<AtomicBool>,
    }

    #[cfg(target_os = "linux")]
    impl Crowd {
        fn gather() -> Self {
            let (cores, mut one) = (sched_getaffinity(None).unwrap(), CpuSet::new());
            one.set(sched_getcpu());
            sched_setaffinity(None, &one).unwrap();
            let is_over = Arc::new(AtomicBool::new(false));
            for _ in 0..7 {
                let is_over = is_over.clone();
                std::thread::spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            Self { cores, is_over }
        }
    }

    #[cfg(target_os = "linux")]
    impl Drop for Crowd {
        fn drop(&mut self) {
            self.is_over.store(true, Ordering::Relaxed);
            sched_setaffinity(None, &self.cores).unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a thread that is held")]
    async fn what_is_told_of_a_poll_leaves_out_what_it_waited_for_a_cpu() {
        let board = board(Duration::from_millis(100));
        for _ in 0..20 {
            let (crowd, began) = (Crowd::gather(), Instant::now());
            let holds = async {
                std::thread::sleep(Duration::from_millis(300));
                compute(Duration::from_millis(60));
            };
            watched(&board, holds).await;
            let wall_us = micros(began.elapsed());
            drop(crowd);
            // On a machine that lets the patrol wait it may not be caught.
            if let Some(told) = board.records[0].blocking(0) {
                let held = 340_000..wall_us - 150_000;
                assert!(held.contains(&told.longest_us), "{} of {wall_us}", told.longest_us);
                return;
            }
        }
        panic!("it is never caught");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a thread that is held")]
    async fn who_waits_for_a_cpu_is_not_accused_and_who_sleeps_is() {
        // It starts the patrol, which shall have any core.
        let board = board(Duration::from_millis(100));
        let is_accused = || board.records[0].blocking(0).is_some();
        let crowd = Crowd::gather();
        for _ in 0..3 {
            watched(&board, async { compute(Duration::from_millis(40)) }).await;
        }
        let was_accused = is_accused();
        drop(crowd);
        assert!(!was_accused);
        for _ in 0..20 {
            if !is_accused() {
                watched(&board, async { std::thread::sleep(Duration::from_millis(300)) }).await;
            }
        }
        assert!(is_accused());
    }
}
