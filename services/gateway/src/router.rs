//! Where a call goes: an `async fn` to the less busy of two random I/O nodes ("the power of two choices",
//! Mitzenmacher 2001), a job to the queue for the workers' slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use turno_proto::headers;
use turno_proto::mesh::v1::Kind;
use turno_runtime::units::{Rounded, micros};

use crate::calls::Call;
use crate::link::Link;
use crate::link::pending::Hold;
use crate::link::stays::Stay;
use crate::methods::{Method, Seat};
use crate::nodes::Nodes;
use crate::queue::{JobQueue, Place, Refused};
use crate::scheduler::{Job, Lane, WorkerId};
use crate::tenants::Tenants;
use crate::trouble::Trouble;

/// Finds nodes for calls.
pub(crate) struct Router {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) queue: JobQueue,
    pub(crate) patience: Duration,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) tenants: Tenants,
}

/// A node for a call.
pub(crate) struct Target {
    pub(crate) link: Arc<Link>,
    pub(crate) index: u32,
    /// What the call has there.
    pub(crate) hold: Option<Hold>,
}

impl Router {
    /// Waits until there is a node, for a job until there is a place, for what begins in the batch until it has its turn.
    /// Fails rather than to go to `not_at`.
    pub(crate) async fn route(&self, call: &Call, not_at: Option<WorkerId>) -> Result<Target, Status> {
        let method = &call.method;
        loop {
            if not_at.is_some_and(|node| !method.served().has_other_than(node)) {
                return Err(no_other(method));
            }
            if !method.is_served() {
                let come = Box::pin(tokio::time::timeout(self.patience, method.wait_for_a_node())).await;
                come.map_err(|_| nobody(method, self.patience))?;
            }
            let found = if method.served().kind == Kind::Job {
                Box::pin(self.worker(call, not_at)).await?
            } else {
                self.io_node(call, not_at)?
            };
            match found {
                Some(target) if Some(target.link.id) == not_at => return Err(no_other(method)),
                Some(target) if target.hold.is_none() && call.begins_batch => {
                    if let Some(stay) = Box::pin(turn(call, &target.link, not_at)).await {
                        return Ok(Target { hold: Some(Hold::Stay(stay)), ..target });
                    }
                }
                Some(target) => return Ok(target),
                None => {}
            }
        }
    }

    /// A node, if one can be told without waiting or asking further: never for a method that has a limit of its own or
    /// is hedged, nor while inputs are suspected. For a job there must be a place.
    pub(crate) fn at_once(&self, call: &Call) -> Option<Target> {
        let served = call.method.served();
        let simple = served.policy.concurrency.is_none() && served.policy.hedge_after.is_none();
        if !simple || !self.trouble.is_calm() {
            return None;
        }
        match served.kind {
            // Where there is no room, the caller hears so by the way of every call.
            Kind::Awaited => self.io_node(call, None).ok().flatten(),
            Kind::Job => self.target(&call.method, self.queue.place_now(&self.job(call, None))?),
            Kind::Stream | Kind::Unspecified => None,
        }
    }

    /// `None` when the last worker has left meanwhile, or the one that was found.
    async fn worker(&self, call: &Call, not_at: Option<WorkerId>) -> Result<Option<Target>, Status> {
        let (method, job) = (&call.method, self.job(call, not_at));
        let mut turn = std::pin::pin!(self.queue.place(job));
        let place = loop {
            match tokio::time::timeout(self.patience, turn.as_mut()).await {
                Ok(place) => break place.map_err(|refused| no_room(method, &refused))?,
                Err(_) if method.served().has_workers() => {}
                // As an `async fn`, by now.
                Err(_) if method.is_served() => return Ok(None),
                Err(_) => return Err(nobody(method, self.patience)),
            }
        };
        let place = self.elsewhere(&job, place).ok_or_else(|| no_other(method))?;
        Ok(self.target(method, place))
    }

    /// A turn that has come up where the job is not to go is for the next who waits. The job does not wait again: two
    /// such might hand each other the same place for ever.
    fn elsewhere(&self, job: &Job, place: Place) -> Option<Place> {
        if Some(place.worker) != job.not_at {
            return Some(place);
        }
        drop(place);
        self.queue.place_now(job)
    }

    /// `None` when the worker has left meanwhile.
    fn target(&self, method: &Method, place: Place) -> Option<Target> {
        let link = self.nodes.get(place.worker)?;
        let index = link.index_of(method.id)?;
        Some(Target { link, index, hold: Some(Hold::Place(place)) })
    }

    fn job(&self, call: &Call, not_at: Option<WorkerId>) -> Job {
        let said = |key| call.metadata.iter().find(|entry| entry.key == key).map(|entry| &entry.value[..]);
        let lane = if call.is_batch() { Lane::Batch } else { Lane::Calls };
        let tenant = said(headers::TENANT).map_or(Tenants::NAMELESS, |name| self.tenants.id(name));
        let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left_us = left.map(micros);
        let (items, bytes) = (call.items.max(1), call.body.len() as u64);
        Job { method: call.method.id, lane, tenant, left_us, items, bytes, not_at }
    }

    /// The less busy of two random seats, but for those that are set aside for being slow, and those that are full. What
    /// begins in the batch has its turn still to wait for, where no node has room; the rest of it goes without.
    fn io_node(&self, call: &Call, not_at: Option<WorkerId>) -> Result<Option<Target>, Status> {
        let (method, lane) = (&call.method, AwaitedLane::of(call));
        let served = method.served();
        let seat = match served.seats.as_slice() {
            [] => return Ok(None),
            [only] => only,
            several => {
                let now = Instant::now();
                let is_fit = |seat: &&Seat| is_fit(method, seat, not_at, now);
                two_choices(several, |seat| lane.has_room(seat), is_fit, lane == AwaitedLane::Turn)
            }
        };
        if lane != AwaitedLane::Turn && !lane.has_room(seat) {
            return Err(overloaded(method, served.seats.len()));
        }
        let hold = (lane == AwaitedLane::Guest).then_some(Hold::Stay(Stay::Guest));
        Ok(Some(Target { link: seat.link.clone(), index: seat.index, hold }))
    }
}

/// How a call of an `async fn` comes to its node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AwaitedLane {
    /// Before the batch, at once or not at all.
    Calls,
    /// It begins in the batch, and waits for its turn.
    Turn,
    /// It is called by what has had its turn.
    Guest,
}

impl AwaitedLane {
    fn of(call: &Call) -> Self {
        match (call.begins_batch, call.is_batch()) {
            (true, _) => Self::Turn,
            (false, true) => Self::Guest,
            (false, false) => Self::Calls,
        }
    }

    fn has_room(self, seat: &Seat) -> bool {
        match self {
            Self::Calls => seat.has_room(),
            Self::Turn => seat.link.stays.has_room(),
            Self::Guest => seat.link.stays.may_pass(),
        }
    }
}

/// Waits for the turn of what begins in the batch; `None` when it is better to choose again: the node has left, or another
/// has room meanwhile.
async fn turn(call: &Call, link: &Link, not_at: Option<WorkerId>) -> Option<Stay> {
    let method = &call.method;
    let is_open = || method.served().seats.iter().any(|seat| seat.link.id == link.id);
    // As `io_node` chooses, or it would be here again.
    let is_better = || {
        let (served, now) = (method.served(), Instant::now());
        let is_good = |seat: &Seat| seat.link.stays.has_room() && is_fit(method, seat, not_at, now);
        served.seats.iter().any(is_good)
    };
    link.stays.enter(call.items.max(1), is_open, is_better).await
}

/// Whether a call may go there, and the node is not set aside for being slow.
fn is_fit(method: &Method, seat: &Seat, not_at: Option<WorkerId>, now: Instant) -> bool {
    Some(seat.link.id) != not_at && !method.is_aside(seat.link.id, now)
}

/// Of two random seats the less busy; if neither is fit and has room, the least busy of all that are and have; and then that
/// of those that are fit, for who may wait, or have room.
fn two_choices(
    seats: &[Seat],
    has_room: impl Fn(&Seat) -> bool,
    is_fit: impl Fn(&&Seat) -> bool,
    may_wait: bool,
) -> &Seat {
    let (one, other) = two_of(seats.len());
    let two = [&seats[one], &seats[other]];
    let busy = |seat: &&Seat| seat.link.outstanding();
    let is_good = |seat: &&Seat| has_room(seat) && is_fit(seat);
    let good = two.into_iter().filter(is_good).min_by_key(busy);
    good.or_else(|| seats.iter().filter(is_good).min_by_key(busy))
        .or_else(|| {
            let would_do = |seat: &&Seat| if may_wait { is_fit(seat) } else { has_room(seat) };
            seats.iter().filter(would_do).min_by_key(busy)
        })
        .unwrap_or(two[0])
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
        "no node serves {} now: its last one {}, and none came within {}",
        method.name(),
        method.served().last,
        Rounded(waited)
    ))
}

/// Never heard: the first attempt's own answer counts then, and a map asks again.
fn no_other(method: &Method) -> Status {
    Status::unavailable(format!("{} has no second node for a second attempt", method.name()))
}

fn no_room(method: &Method, refused: &Refused) -> Status {
    let name = method.name();
    let told = |us: &u64| Rounded(Duration::from_micros(*us));
    let (what, soon) = match refused {
        Refused::Full { waiting } => (
            format!(
                "{waiting} jobs wait already, which is all that may (max_waiting): {name} was not queued"
            ),
            Duration::from_secs(1),
        ),
        Refused::TooLate { left_us: 0, .. } => {
            return Status::deadline_exceeded(format!("the deadline had passed before {name} was queued"));
        }
        // However soon it came again: no RetryInfo.
        Refused::TooLate { service_us, left_us, .. } if service_us > left_us => {
            return Status::resource_exhausted(format!(
                "{name} was not queued, since it would not be done in time: {} are left, and the like of it has taken at \
                 least {}: give it more time",
                told(left_us),
                told(service_us),
            ));
        }
        Refused::TooLate { wait_us, service_us, left_us } => (
            format!(
                "{name} would not be done in time, and was not queued: {} are left, about {} of work is ahead of it, \
                 and it takes at least {}",
                told(left_us),
                told(wait_us),
                told(service_us),
            ),
            Duration::from_micros(*wait_us).max(LEAST_PAUSE),
        ),
        Refused::Standing { left_us, wait_us, may_wait_us } => (
            format!(
                "{name} was not queued, since more jobs come than are done and it would wait for about {}, where no more \
                 than {} of the {} that it has left may go by in a queue that does not empty: call again after the delay \
                 in RetryInfo, or start more workers",
                told(wait_us),
                told(may_wait_us),
                told(left_us),
            ),
            Duration::from_micros(*wait_us).max(LEAST_PAUSE),
        ),
        Refused::NoOther => return no_other(method),
    };
    exhausted(what, soon)
}

fn overloaded(method: &Method, nodes: usize) -> Status {
    let what = format!(
        "the {nodes} node(s) of {} have as many calls as their threads keep up with: it was not sent",
        method.name()
    );
    exhausted(what, LEAST_PAUSE)
}

/// Before a refused caller comes again.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

fn exhausted(what: String, come_again: Duration) -> Status {
    let soon = ErrorDetails::with_retry_info(Some(come_again));
    Status::with_error_details(Code::ResourceExhausted, what, soon)
}

#[cfg(test)]
mod tests {
    use super::{Refused, no_room, two_of};
    use crate::methods::Method;
    use std::time::Duration;
    use tonic_types::StatusExt as _;

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

    #[test]
    fn who_would_be_late_hears_whether_it_helps_to_come_again() {
        let late = |left_us| {
            let refused = Refused::TooLate { left_us, wait_us: 200_000, service_us: 516_000 };
            no_room(&Method::alone("/kitchen.v1.Kitchen/Bake"), &refused)
        };
        let alone = late(83_300);
        assert!(
            alone.message().ends_with(
                "83.3 ms are left, and the like of it has taken at least 516 ms: give it more time"
            ),
            "{alone}"
        );
        assert!(alone.get_details_retry_info().is_none());
        let behind_others = late(600_000).get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(behind_others, Some(Duration::from_millis(200)));
    }

    #[test]
    fn who_is_refused_by_a_queue_that_stands_hears_why_and_what_to_do() {
        let refused = Refused::Standing { left_us: 250_000, wait_us: 90_369, may_wait_us: 31_250 };
        let refused = no_room(&Method::alone("/kitchen.v1.Kitchen/Bake"), &refused);
        let why = "kitchen.v1.Kitchen/Bake was not queued, since more jobs come than are done and it would wait for about \
                   90.4 ms, where no more than 31.3 ms of the 250 ms that it has left may go by in a queue that does not \
                   empty: ";
        let what_to_do = refused.message().strip_prefix(why).unwrap_or_else(|| panic!("{refused}"));
        assert_eq!(what_to_do, "call again after the delay in RetryInfo, or start more workers");
        let soon = refused.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(soon, Some(Duration::from_millis(100)));
    }
}
