//! Where jobs wait for a slot: carries out what the scheduler decides. A place at a worker is held from the grant
//! until the outcome is back, also when the caller has long gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use turno_runtime::units::micros;

use crate::scheduler::{
    Grant, Job, JobId, Limits, MethodId, Scheduler, Spent, Standing, Submitted, WorkerId,
};

/// The queue of all jobs.
#[derive(Clone)]
pub(crate) struct JobQueue(Arc<Mutex<Inner>>);

struct Inner {
    scheduler: Scheduler,
    waiters: HashMap<JobId, oneshot::Sender<Place>>,
    /// By worker, how its link is told what concerns it.
    tells: HashMap<WorkerId, Tell>,
    /// The scheduler's time begins here.
    since: Instant,
}

type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// What the scheduler has to say of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// Calls want a slot that a chunk of a map has.
    SlotWanted,
    /// It is set aside for being slow, or is no longer.
    Stands(Standing),
}

/// Why a job was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// As many jobs wait as may.
    Full { waiting: usize },
    /// It could not be done in the time that it has left.
    TooLate { left_us: u64, wait_us: u64, service_us: u64 },
    /// Its queue stands, and it would wait for more than its part of the time that it has left.
    Standing { left_us: u64, wait_us: u64, may_wait_us: u64 },
    /// Only the worker has room that it is not to go to.
    NoOther,
}

impl JobQueue {
    pub(crate) fn new(limits: Limits) -> Self {
        let (scheduler, since) = (Scheduler::new(limits), Instant::now());
        let (waiters, tells) = (HashMap::new(), HashMap::new());
        Self(Arc::new(Mutex::new(Inner { scheduler, waiters, tells, since })))
    }

    /// Waits for a place; the turn of who has waited may come up at any worker. Dropping the future gives up the turn.
    pub(crate) async fn place(&self, job: Job) -> Result<Place, Refused> {
        let mut waiting = match self.submit(job)? {
            Ok(place) => return Ok(place),
            Err(waiting) => waiting,
        };
        let place = (&mut waiting.granted).await;
        Ok(place.expect("a waiter is dropped only after its grant, or by this very future"))
    }

    /// A place, if there is one now; else nothing has happened.
    pub(crate) fn place_now(&self, job: &Job) -> Option<Place> {
        let granted = self.0.lock().scheduler.submit_now(job);
        granted.map(|grant| self.place_of(grant))
    }

    fn submit(&self, job: Job) -> Result<Result<Place, Waiting>, Refused> {
        let mut inner = self.0.lock();
        let submitted = inner.scheduler.submit(job);
        let news = inner.take_news();
        let answer = self.submitted(inner, job, submitted);
        news.iter().for_each(|(tell, news)| tell(*news));
        answer
    }

    fn submitted(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        job: Job,
        submitted: Submitted,
    ) -> Result<Result<Place, Waiting>, Refused> {
        match submitted {
            Submitted::Granted(grant) => Ok(Ok(self.place_of(grant))),
            Submitted::Full { waiting } => Err(Refused::Full { waiting }),
            Submitted::TooLate { wait_us, service_us } => {
                Err(Refused::TooLate { left_us: job.left_us.unwrap_or(u64::MAX), wait_us, service_us })
            }
            Submitted::Standing { wait_us, may_wait_us } => {
                Err(Refused::Standing { left_us: job.left_us.unwrap_or(u64::MAX), wait_us, may_wait_us })
            }
            Submitted::NoOther => Err(Refused::NoOther),
            Submitted::Waiting(job) => {
                let (grant, granted) = oneshot::channel();
                inner.waiters.insert(job, grant);
                Ok(Err(Waiting { queue: self.clone(), job, granted }))
            }
        }
    }

    /// A worker comes. Its link hears what concerns it by `tell`, which must come back at once.
    pub(crate) fn join(
        &self,
        worker: WorkerId,
        slots: u32,
        methods: Vec<MethodId>,
        tell: impl Fn(News) + Send + Sync + 'static,
    ) {
        self.0.lock().tells.insert(worker, Arc::new(tell));
        self.change(|scheduler| scheduler.join(worker, slots, methods));
    }

    /// The worker has another number of slots for this gateway.
    pub(crate) fn resize(&self, worker: WorkerId, slots: u32) {
        self.change(|scheduler| scheduler.resize(worker, slots));
    }

    /// So many jobs of a method may be at workers at once.
    pub(crate) fn limit(&self, method: MethodId, limit: Option<u32>) {
        self.change(|scheduler| scheduler.limit(method, limit));
    }

    /// Jobs that wait and that this worker could run.
    pub(crate) fn backlog(&self, worker: WorkerId) -> usize {
        self.0.lock().scheduler.backlog(worker)
    }

    /// Whether calls wait for the slots of this method's workers.
    pub(crate) fn calls_wait(&self, method: MethodId) -> bool {
        self.0.lock().scheduler.calls_wait(method)
    }

    pub(crate) fn leave(&self, worker: WorkerId) {
        self.change(|scheduler| {
            scheduler.leave(worker);
            Vec::new()
        });
        self.0.lock().tells.remove(&worker);
    }

    /// Lets time pass: workers that are set aside come back. To be called now and then.
    pub(crate) fn tell_time(&self) {
        let now_us = micros(self.0.lock().since.elapsed());
        self.change(|scheduler| scheduler.tell_time(now_us));
    }

    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().scheduler.waiting()
    }

    fn finish(&self, job: JobId, spent: Option<Spent>, prefetch: Option<u32>) {
        self.change(|scheduler| scheduler.finish(job, spent, prefetch));
    }

    fn change(&self, change: impl FnOnce(&mut Scheduler) -> Vec<Grant>) {
        let mut inner = self.0.lock();
        let grants = change(&mut inner.scheduler);
        let news = inner.take_news();
        drop(inner);
        self.hand_out(grants);
        news.iter().for_each(|(tell, news)| tell(*news));
    }

    /// A waiter that has gone meanwhile drops its place, which hands it on; so not under the lock.
    fn hand_out(&self, grants: Vec<Grant>) {
        for grant in grants {
            let place = self.place_of(grant);
            let waiter = self.0.lock().waiters.remove(&grant.job);
            if let Some(waiter) = waiter {
                drop(waiter.send(place));
            }
        }
    }

    fn place_of(&self, Grant { job, worker }: Grant) -> Place {
        Place { queue: self.clone(), job, worker, spent: None, prefetch: None }
    }
}

impl Inner {
    /// What is to be told of those that the scheduler has named, and how; to be done when the lock is free again.
    fn take_news(&mut self) -> Vec<(Tell, News)> {
        let asked = self.scheduler.take_asked().into_iter().map(|worker| (worker, News::SlotWanted));
        let verdicts = self.scheduler.take_verdicts().into_iter();
        let news = asked.chain(verdicts.map(|(worker, standing)| (worker, News::Stands(standing))));
        news.filter_map(|(worker, news)| Some((self.tells.get(&worker)?.clone(), news))).collect()
    }
}

/// A job's place at a worker; given back when dropped.
pub(crate) struct Place {
    queue: JobQueue,
    job: JobId,
    pub(crate) worker: WorkerId,
    spent: Option<Spent>,
    prefetch: Option<u32>,
}

impl Place {
    /// Gives it back, with what the job has cost and what was learned of the worker's window.
    pub(crate) fn finish(mut self, spent: Spent, prefetch: u32) {
        (self.spent, self.prefetch) = (Some(spent), Some(prefetch));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.finish(self.job, self.spent, self.prefetch);
    }
}

/// A turn in the queue, given up when dropped.
struct Waiting {
    queue: JobQueue,
    job: JobId,
    granted: oneshot::Receiver<Place>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.queue.0.lock();
        inner.scheduler.cancel(self.job);
        let waiter = inner.waiters.remove(&self.job);
        // A place that has been sent and not been taken is dropped with the receiver, and locks again.
        drop(inner);
        drop(waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::{JobQueue, News};
    use crate::scheduler::{Job, Lane, Limits, MethodId, Spent, Standing, WorkerId};
    use futures_util::FutureExt as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const METHOD: MethodId = MethodId(0);
    const JOB: Job = Job::call(METHOD);

    fn queue(waiting: usize) -> JobQueue {
        JobQueue::new(Limits { waiting, batch_share: 0.1 })
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_place_to_the_next() {
        let queue = queue(10);
        queue.join(WorkerId(1), 1, vec![METHOD], |_| ());
        let held = queue.place(JOB).await.unwrap();
        let (mut first, mut second) = (Box::pin(queue.place(JOB)), Box::pin(queue.place(JOB)));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        // The first has been granted the place but has not looked yet; it goes away instead.
        drop(first);
        assert_eq!(second.await.unwrap().worker, WorkerId(1));
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn who_cannot_wait_has_a_place_now_or_none() {
        let queue = queue(10);
        queue.join(WorkerId(1), 1, vec![METHOD], |_| ());
        let held = queue.place_now(&JOB).unwrap();
        assert!(queue.place_now(&JOB).is_none());
        assert_eq!(queue.waiting(), 0);
        drop(held);
        assert_eq!(queue.place_now(&JOB).unwrap().worker, WorkerId(1));
    }

    #[test]
    fn a_worker_with_a_chunk_is_asked_once_for_a_call() {
        let (queue, asked) = (queue(10), Arc::new(AtomicUsize::new(0)));
        let counter = asked.clone();
        queue.join(WorkerId(1), 1, vec![METHOD], move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let chunk = queue.place_now(&Job { lane: Lane::Batch, items: 9, ..JOB }).unwrap();
        let mut call = Box::pin(queue.place(JOB));
        let mut other = Box::pin(queue.place(JOB));
        assert!(call.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        drop(chunk);
        assert!(call.now_or_never().is_some());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_slow_worker_is_told_and_gets_what_the_others_have_no_slot_for() {
        let (queue, told) = (queue(10), Arc::new(AtomicUsize::new(0)));
        let counter = told.clone();
        queue.join(WorkerId(1), 1, vec![METHOD], move |news| {
            let is_aside = matches!(news, News::Stands(Standing::Aside { .. }));
            counter.fetch_add(usize::from(is_aside), Ordering::Relaxed);
        });
        queue.join(WorkerId(2), 1, vec![METHOD], |_| ());
        for _ in 0..64 {
            if told.load(Ordering::Relaxed) == 0 {
                for place in [(); 2].map(|()| queue.place_now(&JOB).unwrap()) {
                    let run_us = if place.worker == WorkerId(1) { 1_000_000 } else { 10_000 };
                    place.finish(Spent { run_us, cpu_us: run_us, items: 1, done: true }, 0);
                }
            }
        }
        assert_eq!(told.load(Ordering::Relaxed), 1);
        let held = [(); 2].map(|()| queue.place_now(&JOB).unwrap());
        assert_eq!(held.each_ref().map(|place| place.worker), [WorkerId(2), WorkerId(1)]);
    }

    #[tokio::test]
    async fn who_gives_up_early_is_not_counted_any_more() {
        let queue = queue(1);
        let mut waiting = Box::pin(queue.place(JOB));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(queue.place(JOB).await.is_err());
        drop(waiting);
        assert_eq!(queue.waiting(), 0);
    }
}
