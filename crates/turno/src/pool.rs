//! The pool of a worker: as many threads as it has slots. A job waits here, outside rayon, until a slot is free;
//! inside it may use rayon's parallel iterators, which then share the same threads.

mod held;
mod wants;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rayon::ThreadPool;

use crate::error::Error;
use crate::lanes::{BatchShare, Lanes, Urgency};
use crate::node::answers::Bell;
use crate::node::batch_shares::BatchShares;

use held::Held;

pub(crate) use wants::Wants;

/// What a slot runs.
pub(crate) struct Job {
    /// Must not unwind. The bell tells whoever waits for its answer.
    pub(crate) run: Box<dyn FnOnce() -> Bell + Send>,
    /// How long jobs of its kind take.
    pub(crate) expected: Duration,
}

/// Threads for jobs.
pub(crate) struct Pool {
    threads: ThreadPool,
    desk: Mutex<Desk>,
    batch_shares: Arc<BatchShares>,
    /// By calls that wait here.
    pub(crate) wants: Wants,
}

/// Who waits for a slot. Deciding, without threads.
#[derive(Default)]
struct Desk {
    slots: usize,
    busy: usize,
    waiting: Lanes<Job>,
    held: Held<Bell>,
}

impl Desk {
    /// The job, if there is a slot for it now; else how many have to become free first.
    fn arrive(&mut self, job: Job, urgency: Urgency, share: BatchShare) -> Result<Job, usize> {
        if self.busy == self.slots {
            return Err(self.waiting.push(job, urgency, share));
        }
        self.busy += 1;
        Ok(job)
    }

    /// What the slot that has become free does next, and which bells it rings before.
    fn next(&mut self, bell: Bell, now: Instant) -> (Option<Job>, Vec<Bell>) {
        let next = self.waiting.pop();
        let bell = Some(bell).filter(|bell| !bell.is_silent());
        let due = self.held.add(bell, now, next.as_ref().map(|job| job.expected), self.waiting.len());
        if next.is_none() {
            self.busy -= 1;
        }
        (next, due)
    }
}

impl Pool {
    /// Starts `slots` threads. They yield to the async threads: a crunching machine still answers.
    pub(crate) fn new(slots: usize, batch_shares: Arc<BatchShares>) -> Result<Arc<Self>, Error> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(slots)
            .thread_name(|slot| format!("slot-{slot}"))
            .start_handler(|_| lower_priority())
            .panic_handler(|_| tracing::error!("a task that a job had left in rayon panicked"))
            .build()
            .map_err(|source| Error::Pool(source.to_string()))?;
        let desk = Mutex::new(Desk { slots, ..Desk::default() });
        Ok(Arc::new(Self { threads, desk, batch_shares, wants: Wants::default() }))
    }

    /// Runs `job` on the first slot that is free.
    pub(crate) fn submit(self: &Arc<Self>, job: Job, urgency: Urgency) {
        if let Some(job) = self.arrive(job, urgency) {
            self.spawn(job);
        }
    }

    fn arrive(&self, job: Job, urgency: Urgency) -> Option<Job> {
        let mut desk = self.desk.lock();
        match desk.arrive(job, urgency, self.batch_shares.now()) {
            Ok(job) => Some(job),
            Err(turn) => {
                if urgency == Urgency::Call {
                    self.wants.want_at_least(u32::try_from(turn).unwrap_or(u32::MAX));
                }
                None
            }
        }
    }

    fn next(&self, bell: Bell) -> (Option<Job>, Vec<Bell>) {
        let mut desk = self.desk.lock();
        self.wants.freed();
        desk.next(bell, Instant::now())
    }

    /// Rings those bells that are held, as was not foreseen, by a job that takes long.
    pub(crate) fn ring_overdue(&self) {
        let due = self.desk.lock().held.overdue(Instant::now());
        due.into_iter().for_each(Bell::ring);
    }

    /// One job, then the slot takes the next through rayon again: a thread that waits inside a job for its own parallel
    /// iterator may pick up another job meanwhile, but only that one, never all that wait.
    fn spawn(self: &Arc<Self>, job: Job) {
        let pool = self.clone();
        self.threads.spawn(move || {
            // A job catches its method's panics itself; should anything else unwind, the slot is not lost with it.
            let bell = catch_unwind(AssertUnwindSafe(job.run)).unwrap_or_else(|_| {
                tracing::error!("a job unwound outside its method");
                Bell::default()
            });
            let (next, due) = pool.next(bell);
            due.into_iter().for_each(Bell::ring);
            if let Some(next) = next {
                pool.spawn(next);
            }
        });
    }
}

const NICE: i32 = 2;

fn lower_priority() {
    // Linux keeps the nice value for each thread, and no pid means the calling one.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "pool thread keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchShares, Job, Pool, Urgency};
    use crate::node::answers::{Answers, Bell};
    use crate::node::share::LinkId;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier, mpsc};
    use std::task::Wake;
    use std::time::{Duration, Instant};
    use turno_proto::mesh::v1::Outcome;

    fn job(run: impl FnOnce() + Send + 'static) -> Job {
        let run = move || {
            run();
            Bell::default()
        };
        Job { run: Box::new(run), expected: Duration::MAX }
    }

    #[test]
    fn every_job_runs_and_no_more_at_once_than_there_are_slots() {
        let pool = Pool::new(3, Arc::default()).unwrap();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (done, all) = mpsc::channel();
        for number in 0..200 {
            let (running, most, done) = (running.clone(), most.clone(), done.clone());
            pool.submit(
                job(move || {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                    done.send(number).unwrap();
                }),
                Urgency::Call,
            );
        }
        drop(done);
        let mut seen: Vec<i32> = all.iter().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= 3);
    }

    #[test]
    fn slots_run_side_by_side() {
        let pool = Pool::new(2, Arc::default()).unwrap();
        let (meet, (done, all)) = (Arc::new(Barrier::new(2)), mpsc::channel());
        for _ in 0..2 {
            let (meet, done) = (meet.clone(), done.clone());
            pool.submit(
                job(move || {
                    meet.wait();
                    done.send(()).unwrap();
                }),
                Urgency::Call,
            );
        }
        drop(done);
        assert_eq!(all.iter().count(), 2);
    }

    #[test]
    fn a_job_may_use_the_pool_from_inside() {
        use rayon::prelude::*;
        let pool = Pool::new(2, Arc::default()).unwrap();
        let (done, sum) = mpsc::channel();
        pool.submit(
            job(move || {
                let here = rayon::current_num_threads();
                done.send((here, (0..1000_u64).into_par_iter().sum::<u64>())).unwrap();
            }),
            Urgency::Call,
        );
        assert_eq!(sum.recv().unwrap(), (2, 499_500));
    }

    #[test]
    fn a_call_wants_the_slots_of_all_that_go_before_it_and_passes_the_batch_that_wants_none() {
        let pool = Pool::new(1, Arc::default()).unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let (done, ended) = mpsc::channel();
        let within = pool.clone();
        let named = move |name: &'static str| {
            let (done, within) = (done.clone(), within.clone());
            job(move || done.send((name, within.wants.give_way())).unwrap())
        };
        pool.submit(job(move || gone.recv().unwrap()), Urgency::Batch);
        pool.submit(named("map"), Urgency::Batch);
        assert!(!pool.wants.give_way());
        pool.submit(named("call"), Urgency::Call);
        pool.submit(named("next call"), Urgency::Call);
        // The slot of the one that runs; the second call wants the first one's too, which ends by itself.
        assert!(pool.wants.give_way());
        go.send(()).unwrap();
        let expected = [("call", true), ("next call", false), ("map", false)];
        assert_eq!([(); 3].map(|()| ended.recv().unwrap()), expected);
    }

    #[test]
    fn the_batch_has_the_share_that_its_gateway_says() {
        let shares = Arc::<BatchShares>::default();
        shares.join(LinkId(1), Some(0.5));
        let pool = Pool::new(1, shares).unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let (done, ended) = mpsc::channel();
        pool.submit(job(move || gone.recv().unwrap()), Urgency::Batch);
        let (call, batch) = (Urgency::Call, Urgency::Batch);
        for (name, urgency) in [("map", batch), ("next map", batch), ("call", call), ("next call", call)] {
            let done = done.clone();
            pool.submit(job(move || done.send(name).unwrap()), urgency);
        }
        go.send(()).unwrap();
        let expected = ["call", "map", "next call", "next map"];
        assert_eq!([(); 4].map(|()| ended.recv().unwrap()), expected);
    }

    #[test]
    fn an_answer_that_a_job_holds_longer_than_foreseen_can_be_rung_meanwhile() {
        let pool = Pool::new(1, Arc::default()).unwrap();
        let (answers, rings) = (Arc::<Answers>::default(), Arc::new(Rings::default()));
        let waker = rings.clone().into();
        answers.register(&waker);
        let brief = |run: Box<dyn FnOnce() -> Bell + Send>| Job { run, expected: Duration::ZERO };
        let (go, gone) = mpsc::channel::<()>();
        let (begun, began) = mpsc::channel();
        // Nothing is taken up before all wait.
        let (enter, entered) = mpsc::channel::<()>();
        pool.submit(job(move || entered.recv().unwrap()), Urgency::Call);
        pool.submit(brief(Box::new(move || answers.leave(Outcome::default(), None))), Urgency::Call);
        let stays = move || {
            begun.send(()).unwrap();
            gone.recv().unwrap();
            Bell::default()
        };
        pool.submit(brief(Box::new(stays)), Urgency::Call);
        (0..9).for_each(|_| pool.submit(job(|| ()), Urgency::Call));
        enter.send(()).unwrap();
        began.recv().unwrap();
        assert_eq!(rings.0.load(Ordering::SeqCst), 0);
        let began = Instant::now();
        while rings.0.load(Ordering::SeqCst) == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "it is never rung");
            pool.ring_overdue();
            std::thread::yield_now();
        }
        go.send(()).unwrap();
    }

    #[derive(Default)]
    struct Rings(AtomicUsize);

    impl Wake for Rings {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}
