//! Stores a ticket, and has it run at once where there is room.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tonic::Status;
use turno_proto::google::longrunning::Operation;
use turno_proto::mesh::v1::Kind;
use turno_proto::v1::SubmitRequest;
use turno_runtime::task;
use turno_store::{Attempt, Claimed, Error, NewTicket, Queue, State, Submitted, Ticket, TicketId, Timestamp};

use crate::admission::{Permit, Room};
use crate::methods::Method;
use crate::tickets::board::Running;
use crate::tickets::envelope::Envelope;
use crate::tickets::hand::Place;
use crate::tickets::{Tickets, operation, refusal, submission};

/// A place on the way to the disk comes free within milliseconds.
const SOON: Duration = Duration::from_millis(100);

/// How long a submit waits for the nodes of a method that the store knows, while they may be on their way: with them come the
/// retries of its `.proto`, and room to begin. They dial again within this; a client's timeout may be little more.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);

/// Until when a submit waits for the first node: set when it begins to. Those of one stream have one, else each thousand of
/// them that nobody serves would have it anew.
pub(super) type AtLast = OnceLock<Instant>;

/// A submit that was let in: its bytes are counted from here on. It has no place yet: it is not begun while nobody reads what is
/// answered before it.
pub(super) struct LetIn {
    request: SubmitRequest,
    room: Room,
}

impl Tickets {
    /// Answers when the ticket is on disk.
    pub(crate) async fn submit(
        &self,
        request: SubmitRequest,
        envelope: &Envelope,
    ) -> Result<Operation, Status> {
        self.submit_this(self.let_in(request)?, envelope, &AtLast::new()).await
    }

    /// Lets a submit in; one that is refused is dropped.
    pub(super) fn let_in(&self, request: SubmitRequest) -> Result<LetIn, Status> {
        let mut room = self.0.around.admission.room();
        room.hold(request.request.len())?;
        Ok(LetIn { request, room })
    }

    pub(super) async fn submit_this(
        &self,
        LetIn { request, room }: LetIn,
        envelope: &Envelope,
        at_last: &AtLast,
    ) -> Result<Operation, Status> {
        let mut permit = self.0.around.admission.admit()?;
        permit.room = room;
        let method = self.submittable(submission::method_name(&request.method)?, at_last).await?;
        // What waits for a node is in the house, but not on its way yet.
        let place = self.0.submits.clone().try_acquire_owned().map_err(|_| {
            refusal::exhausted("as many submits as may be are on their way to the disk", SOON)
        })?;
        let retries = method.as_ref().and_then(|method| method.served().policy.retries);
        let ticket = submission::ticket(request, envelope, retries, self.0.around.max_message)?;
        let id = ticket.id;
        let answer = self.store_in_a_task(method.as_deref(), ticket, (place, permit)).await?;
        self.answered(id, answer).await
    }

    pub(super) async fn answered(&self, id: TicketId, answer: Answer) -> Result<Operation, Status> {
        match answer {
            Answer::Stored(ticket) => operation::operation(*ticket, None, None),
            Answer::Known(known) if known.forgotten => operation::operation(*known, None, None),
            Answer::Known(known) => self.current(known.id).await,
            Answer::Broken => Err(Status::internal(format!("the submit of ticket {id} broke"))),
        }
    }

    /// In a task: a client that goes away must not leave a ticket on disk whose attempt nobody runs.
    pub(super) async fn store_in_a_task(
        &self,
        method: Option<&Method>,
        mut ticket: NewTicket,
        held: (OwnedSemaphorePermit, Permit),
    ) -> Result<Answer, Status> {
        let hand = self.place_at_once(method, &ticket).map(|place| (place, self.first_attempt(ticket.id)));
        ticket.begin_at = hand.as_ref().map(|_| self.0.gateway);
        let (answer, answered) = oneshot::channel();
        let (tickets, name) = (self.clone(), ticket.method.clone());
        let stored = async move {
            let kept = ticket.clone();
            let submitted = tickets.store().submit(ticket).await;
            drop(held);
            let (begun, is_new) = (begun(&submitted), is_new(&submitted));
            // Whoever asked may have gone.
            let _gone = answer.send(submitted.map(|submitted| Answer::of(submitted, &kept)));
            match (begun, hand) {
                (Some(attempt), Some((place, running))) => {
                    Box::pin(tickets.attempt(Box::new(claimed(attempt, kept)), running, place)).await;
                }
                (_, hand) => {
                    if let Some((_, running)) = hand {
                        tickets.0.board.end(running.attempt);
                    }
                    if is_new && !tickets.waits(&queue_of(&kept)) {
                        tickets.0.due.notify_one();
                    }
                }
            }
        };
        task::spawn(&name, self.0.attempts.track_future(stored));
        answered.await.map_or(Ok(Answer::Broken), |answer| answer.map_err(refusal::of_submit))
    }

    /// A ticket of the queue waits in the store. Answers whether it will be claimed without anybody being told: when there is
    /// a node, or room.
    fn waits(&self, queue: &Queue) -> bool {
        let waits_for_a_node = self.0.unserved.wait(&queue.method, |method| self.is_served(method));
        waits_for_a_node || self.0.hand.wait(queue)
    }

    /// On the board before it is on disk, so that the store holds nothing for this gateway of which it does not know.
    fn first_attempt(&self, ticket: TicketId) -> Running {
        let attempt = Attempt { ticket, gateway: self.0.gateway, number: 1 };
        self.0.board.begin(attempt, self.0.closing.clone())
    }

    /// A place in hand, if the first attempt can begin here as soon as the ticket is on disk.
    fn place_at_once(&self, method: Option<&Method>, ticket: &NewTicket) -> Option<Place> {
        let is_served = method.is_some_and(Method::is_served);
        if ticket.not_before.is_some() || !is_served || self.0.closing.is_cancelled() {
            return None;
        }
        self.0.hand.at_once(queue_of(ticket), ticket.request.len())
    }

    /// A method that is known here, be it that its nodes are away just now, and that takes and answers one message. `None`
    /// where no node has served it since this gateway started, and tickets were submitted for it before: those it took.
    pub(super) async fn submittable(
        &self,
        name: &str,
        at_last: &AtLast,
    ) -> Result<Option<Arc<Method>>, Status> {
        let path = format!("/{name}");
        if crate::edge::is_own(&path) {
            return Err(Status::invalid_argument(format!(
                "{name} is the gateway's own method: it can be called, not submitted"
            )));
        }
        let method = match self.0.around.methods.get(&path) {
            None => Box::pin(self.known_or_kept(&path, at_last)).await?,
            known => known,
        };
        if method.as_ref().is_some_and(|method| method.served().kind == Kind::Stream) {
            return Err(Status::invalid_argument(format!(
                "{name} takes or answers a stream: only a method that takes one message and answers one can be submitted"
            )));
        }
        Ok(method)
    }

    /// `None` where only the store knows it. Where it does not, nodes are waited for as by a call; then it is asked again, for
    /// another gateway may have stored the first ticket meanwhile.
    async fn known_or_kept(&self, path: &str, at_last: &AtLast) -> Result<Option<Arc<Method>>, Status> {
        let around = &self.0.around;
        let (settled, patience) = (around.settled, around.router.patience);
        let at_last = *at_last.get_or_init(|| Instant::now() + patience);
        let mut waiting = std::pin::pin!(around.methods.wait_for(path, settled, at_last));
        let soon = settled.min(Instant::now() + ON_THEIR_WAY);
        let has_waited = match tokio::time::timeout_at(soon.into(), waiting.as_mut()).await {
            Ok(Some(method)) => return Ok(Some(method)),
            Ok(None) => true,
            Err(_) => false,
        };
        let name = path.trim_start_matches('/');
        if self.is_kept(name).await? {
            return Ok(None);
        }
        if !has_waited {
            if let Some(method) = waiting.await {
                return Ok(Some(method));
            }
            if self.is_kept(name).await? {
                return Ok(None);
            }
        }
        Err(crate::edge::unserved(&around.methods, patience, name))
    }

    async fn is_kept(&self, name: &str) -> Result<bool, Status> {
        self.store().knows_method(name).await.map_err(refusal::before_submit)
    }

    /// A gateway that has just started waits for its nodes before it gives an attempt back.
    pub(crate) async fn known(&self, name: &str) -> Option<Arc<Method>> {
        let (methods, settled, path) = (&self.0.around.methods, self.0.around.settled, format!("/{name}"));
        let known = methods.get(&path);
        if known.is_some() || Instant::now() >= settled || crate::edge::is_own(&path) {
            return known;
        }
        tokio::time::timeout_at(settled.into(), methods.appears(&path)).await.ok()
    }
}

fn queue_of(ticket: &NewTicket) -> Queue {
    Queue { tenant: ticket.tenant.clone(), method: ticket.method.clone() }
}

pub(super) enum Answer {
    Stored(Box<Ticket>),
    Known(Box<Ticket>),
    /// Its task has panicked.
    Broken,
}

impl Answer {
    fn of(submitted: Submitted, new: &NewTicket) -> Self {
        match submitted {
            Submitted::Stored { at, attempt } => Self::Stored(Box::new(as_stored(new, at, attempt))),
            Submitted::Known(ticket) => Self::Known(ticket),
        }
    }
}

fn begun(submitted: &Result<Submitted, Error>) -> Option<Attempt> {
    match submitted {
        Ok(Submitted::Stored { attempt, .. }) => *attempt,
        _ => None,
    }
}

/// Of a key that is known nothing waits by this submit, nor of what was refused.
fn is_new(submitted: &Result<Submitted, Error>) -> bool {
    matches!(submitted, Ok(Submitted::Stored { .. }))
}

/// The ticket as it now is, without asking the store for it.
fn as_stored(new: &NewTicket, at: Timestamp, attempt: Option<Attempt>) -> Ticket {
    Ticket {
        id: new.id,
        method: new.method.clone(),
        tenant: new.tenant.clone(),
        state: if attempt.is_some() { State::Running } else { State::Waiting },
        labels: new.labels.clone(),
        key: new.key.as_ref().map(|key| key.key.clone()),
        attempts: u32::from(attempt.is_some()),
        failures: 0,
        retries: new.retries,
        cancel_requested: false,
        delete_requested: false,
        submitted_at: at,
        not_before: new.not_before,
        began_at: attempt.map(|_| at),
        ended_at: None,
        expires_at: None,
        gateway: attempt.map(|attempt| attempt.gateway),
        progress: turno_store::Progress::default(),
        failure: None,
        request_bytes: new.request.len() as u64,
        response_bytes: 0,
        redrive_of: None,
        redriven_as: None,
        inputs: new.inputs,
        forgotten: false,
    }
}

fn claimed(attempt: Attempt, ticket: NewTicket) -> Claimed {
    let NewTicket { method, request, inputs, tenant, metadata, timeout, retries, .. } = ticket;
    Claimed {
        attempt,
        method,
        request,
        inputs,
        tenant,
        metadata,
        timeout,
        retries,
        failures: 0,
        cancel_requested: false,
        waited: Duration::ZERO,
        lost_by: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, Error, SubmitRequest, Submitted, Timestamp, as_stored, is_new, submission};

    #[test]
    fn only_what_is_stored_now_may_wait() {
        let request = SubmitRequest { method: "a.v1.A/Do".into(), ..SubmitRequest::default() };
        let ticket = submission::ticket(request, &Envelope::default(), None, 1000).unwrap();
        let (at, attempt) = (Timestamp(5), None);
        let known = Submitted::Known(Box::new(as_stored(&ticket, at, attempt)));
        assert!(is_new(&Ok(Submitted::Stored { at, attempt })));
        assert!(!is_new(&Ok(known)) && !is_new(&Err(Error::Full)));
    }
}
