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
use crate::queue::{JobQueue, Place, Refused};
use crate::scheduler::{Job, Lane, TenantId};

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

    /// `None` when the last worker has left meanwhile, or the one that was found.
    async fn worker(&self, method: &Method) -> Result<Option<Target>, Status> {
        let job = Job { method: method.id, lane: Lane::Calls, tenant: TenantId(0), left_us: None };
        let mut turn = std::pin::pin!(self.queue.place(job));
        let place = loop {
            match tokio::time::timeout(self.patience, turn.as_mut()).await {
                Ok(place) => break place.map_err(|refused| no_place(method, &refused))?,
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

fn no_place(method: &Method, refused: &Refused) -> Status {
    match refused {
        Refused::Full { waiting } => {
            let what = format!(
                "{waiting} jobs wait already, which is all that may (max_waiting): {} was not queued",
                method.name()
            );
            let soon = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
            Status::with_error_details(tonic::Code::ResourceExhausted, what, soon)
        }
        Refused::TooLate { wait, service } => Status::deadline_exceeded(format!(
            "{} was not started: it would wait {wait:?} for a slot and then run {service:?}, which is more time than \
             is left",
            method.name()
        )),
    }
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
