//! Where a call goes: an `async fn` to the less busy of two random I/O nodes ("the power of two choices",
//! Mitzenmacher 2001), a job to the queue for the workers' slots.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};
use turno_proto::mesh::v1::Kind;

use crate::link::Link;
use crate::methods::{Method, Seat};
use crate::nodes::Nodes;
use crate::queue::{Full, JobQueue, Place};

/// Finds nodes for calls.
pub(crate) struct Router {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) queue: JobQueue,
    pub(crate) patience: Duration,
}

/// A node for a call.
pub(crate) struct Target {
    pub(crate) link: Arc<Link>,
    pub(crate) index: u32,
    /// For a job: its place at the worker.
    pub(crate) place: Option<Place>,
}

impl Router {
    /// Waits until there is a node, and for a job until there is a place.
    pub(crate) async fn route(&self, method: &Method) -> Result<Target, Status> {
        loop {
            if !method.is_served() {
                let come = Box::pin(tokio::time::timeout(self.patience, method.wait_for_a_node())).await;
                come.map_err(|_| nobody(method, self.patience))?;
            }
            let found = if method.served().kind == Kind::Job {
                Box::pin(self.worker(method)).await?
            } else {
                least_busy(&method.served().seats)
            };
            if let Some(target) = found {
                return Ok(target);
            }
        }
    }

    /// A node, if one can be told without waiting: never for a job.
    pub(crate) fn at_once(&self, method: &Method) -> Option<Target> {
        let served = method.served();
        if served.kind == Kind::Awaited { least_busy(&served.seats) } else { None }
    }

    /// `None` when the last worker has left meanwhile, or the one that was found.
    async fn worker(&self, method: &Method) -> Result<Option<Target>, Status> {
        let mut turn = std::pin::pin!(self.queue.place(method.id));
        let place = loop {
            match tokio::time::timeout(self.patience, turn.as_mut()).await {
                Ok(place) => break place.map_err(|full| no_room(method, &full))?,
                Err(_) if method.is_served() => {}
                Err(_) => return Err(nobody(method, self.patience)),
            }
        };
        let Some(link) = self.nodes.get(place.worker) else { return Ok(None) };
        let index = link.index_of(method.id);
        Ok(index.map(|index| Target { link, index, place: Some(place) }))
    }
}

fn least_busy(seats: &[Seat]) -> Option<Target> {
    let seat = match seats {
        [] => return None,
        [only] => only,
        several => {
            let (one, other) = two_of(several.len());
            let (one, other) = (&several[one], &several[other]);
            if one.link.outstanding() <= other.link.outstanding() { one } else { other }
        }
    };
    Some(Target { link: seat.link.clone(), index: seat.index, place: None })
}

/// Two different places out of `count`, which is at least two.
fn two_of(count: usize) -> (usize, usize) {
    let mut random = rand::rng();
    let one = random.random_range(0..count);
    let other = random.random_range(0..count - 1);
    (one, if other < one { other } else { other + 1 })
}

fn nobody(method: &Method, waited: Duration) -> Status {
    Status::unavailable(format!(
        "no node serves {} now: its last one has left, and none came within {waited:?}",
        method.name()
    ))
}

fn no_room(method: &Method, full: &Full) -> Status {
    let what = format!(
        "{} jobs wait already, which is all that may (max_waiting): {} was not queued",
        full.waiting,
        method.name()
    );
    let soon = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
    Status::with_error_details(tonic::Code::ResourceExhausted, what, soon)
}

#[cfg(test)]
mod tests {
    use super::two_of;

    #[test]
    fn two_choices_are_two() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let (one, other) = two_of(3);
            assert!(one != other && one < 3 && other < 3);
            seen.insert((one, other));
        }
        assert_eq!(seen.len(), 6);
    }
}
