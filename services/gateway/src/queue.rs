//! Where jobs wait for a slot: carries out what the scheduler decides. A place at a worker is held from the grant
//! until the outcome is back, also when the caller has long gone.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::scheduler::{Grant, JobId, MethodId, Scheduler, Submitted, WorkerId};

/// The queue of all jobs.
#[derive(Clone)]
pub(crate) struct JobQueue(Arc<Mutex<Inner>>);

struct Inner {
    scheduler: Scheduler,
    waiters: HashMap<JobId, oneshot::Sender<Place>>,
}

/// As many jobs wait as may.
#[derive(Debug)]
pub(crate) struct Full {
    pub(crate) waiting: usize,
}

impl JobQueue {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner { scheduler: Scheduler::new(limit), waiters: HashMap::new() })))
    }

    /// Waits for a place. Dropping the future gives up the turn.
    pub(crate) async fn place(&self, method: MethodId) -> Result<Place, Full> {
        let mut waiting = match self.submit(method)? {
            Ok(place) => return Ok(place),
            Err(waiting) => waiting,
        };
        let place = (&mut waiting.granted).await;
        Ok(place.expect("a waiter is dropped only after its grant, or by this very future"))
    }

    fn submit(&self, method: MethodId) -> Result<Result<Place, Waiting>, Full> {
        let mut inner = self.0.lock();
        match inner.scheduler.submit(method) {
            Submitted::Granted(grant) => Ok(Ok(self.place_at(grant.worker))),
            Submitted::Full => Err(Full { waiting: inner.scheduler.waiting() }),
            Submitted::Waiting(job) => {
                let (grant, granted) = oneshot::channel();
                inner.waiters.insert(job, grant);
                Ok(Err(Waiting { queue: self.clone(), method, job, granted }))
            }
        }
    }

    pub(crate) fn join(&self, worker: WorkerId, slots: u32, methods: Vec<MethodId>) {
        let grants = self.0.lock().scheduler.join(worker, slots, methods);
        self.hand_out(grants);
    }

    pub(crate) fn leave(&self, worker: WorkerId) {
        self.0.lock().scheduler.leave(worker);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().scheduler.waiting()
    }

    fn finish(&self, worker: WorkerId, prefetch: Option<u32>) {
        let grants = {
            let scheduler = &mut self.0.lock().scheduler;
            let prefetch = prefetch.unwrap_or_else(|| scheduler.prefetch(worker));
            scheduler.finish(worker, prefetch)
        };
        self.hand_out(grants);
    }

    /// A waiter that has gone meanwhile drops its place, which hands it on; so not under the lock.
    fn hand_out(&self, grants: Vec<Grant>) {
        for Grant { job, worker } in grants {
            let place = self.place_at(worker);
            let waiter = self.0.lock().waiters.remove(&job);
            if let Some(waiter) = waiter {
                drop(waiter.send(place));
            }
        }
    }

    fn place_at(&self, worker: WorkerId) -> Place {
        Place { queue: self.clone(), worker, prefetch: None }
    }
}

/// A job's place at a worker; given back when dropped.
pub(crate) struct Place {
    queue: JobQueue,
    pub(crate) worker: WorkerId,
    prefetch: Option<u32>,
}

impl Place {
    /// Gives it back, with what was learned of the worker's window.
    pub(crate) fn finish(mut self, prefetch: u32) {
        self.prefetch = Some(prefetch);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.finish(self.worker, self.prefetch);
    }
}

/// A turn in the queue, given up when dropped.
struct Waiting {
    queue: JobQueue,
    method: MethodId,
    job: JobId,
    granted: oneshot::Receiver<Place>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.queue.0.lock();
        inner.scheduler.cancel(self.method, self.job);
        let waiter = inner.waiters.remove(&self.job);
        // A place that has been sent and not been taken is dropped with the receiver, and locks again.
        drop(inner);
        drop(waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::JobQueue;
    use crate::scheduler::{MethodId, WorkerId};
    use futures_util::FutureExt as _;

    const METHOD: MethodId = MethodId(0);

    #[tokio::test]
    async fn who_gives_up_leaves_the_place_to_the_next() {
        let queue = JobQueue::new(10);
        queue.join(WorkerId(1), 1, vec![METHOD]);
        let held = queue.place(METHOD).await.unwrap();
        let (mut first, mut second) = (Box::pin(queue.place(METHOD)), Box::pin(queue.place(METHOD)));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held);
        // The first has been granted the place but has not looked yet; it goes away instead.
        drop(first);
        assert_eq!(second.await.unwrap().worker, WorkerId(1));
        assert_eq!(queue.waiting(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_early_is_not_counted_any_more() {
        let queue = JobQueue::new(1);
        let mut waiting = Box::pin(queue.place(METHOD));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(queue.place(METHOD).await.is_err());
        drop(waiting);
        assert_eq!(queue.waiting(), 0);
    }
}
