//! A call's way through its attempts: what was not handed over goes elsewhere unseen; what may have run is repeated
//! only if its `idempotency_level` allows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::{Code, Status};
use turno_proto::mesh::v1::{Caller, Entry, Invocation, Outcome};
use turno_proto::status;

use crate::link::pending::{Event, Lost};
use crate::link::{Link, Sent};
use crate::methods::Method;
use crate::router::Router;

/// What a client asks for.
pub(crate) struct Call {
    pub(crate) method: Arc<Method>,
    /// The caller's own. The gateway's limit for all calls is its own business: the node hears of it by a cancel.
    pub(crate) deadline: Option<Instant>,
    pub(crate) metadata: Vec<Entry>,
    pub(crate) caller: Caller,
    pub(crate) body: Bytes,
}

/// A stream that has begun.
pub(crate) struct Stream {
    /// The first event, taken already: until it came, the call could still go elsewhere.
    pub(crate) first: Event,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Cancels the call when dropped early.
    pub(crate) sent: Sent,
}

/// A call may run this often, where it may run again at all: an input that kills nodes must not kill them all.
const MOST_RUNS: u32 = 3;

/// Carries a call whose answer is one message.
pub(crate) async fn unary(router: &Router, call: &Call) -> Result<Outcome, Status> {
    unary_after(router, call, Attempts::default()).await
}

/// Goes on with a call whose first attempt, made without waiting, did not end it.
pub(crate) async fn unary_again(
    router: &Router,
    call: &Call,
    first: Result<Outcome, Lost>,
    link: &Link,
) -> Result<Outcome, Status> {
    let mut attempts = Attempts::default();
    match first {
        Ok(outcome) => attempts.not_started(outcome)?,
        Err(lost) => attempts.lost(lost, &call.method, link)?,
    }
    unary_after(router, call, attempts).await
}

async fn unary_after(router: &Router, call: &Call, mut attempts: Attempts) -> Result<Outcome, Status> {
    loop {
        let target = router.route(&call.method).await?;
        let link = target.link;
        match link.unary(invocation(call, target.index), target.place).await {
            Ok(outcome) if goes_elsewhere(&outcome) => attempts.not_started(outcome)?,
            Ok(outcome) => return Ok(outcome),
            Err(lost) => attempts.lost(lost, &call.method, &link)?,
        }
        Box::pin(attempts.pause()).await;
    }
}

/// Carries a call whose answer is a stream, until its first event.
pub(crate) async fn stream(router: &Router, call: &Call) -> Result<Stream, Status> {
    let mut attempts = Attempts::default();
    loop {
        let target = router.route(&call.method).await?;
        let link = target.link;
        let lost = match link.stream(invocation(call, target.index)).await {
            Ok((mut events, sent)) => match events.recv().await {
                Some(Event::End(Ok(outcome))) if goes_elsewhere(&outcome) => {
                    attempts.not_started(outcome)?;
                    Box::pin(attempts.pause()).await;
                    continue;
                }
                Some(Event::End(Ok(outcome))) if status::code_of(outcome.code) != Code::Ok => {
                    return Err(status::from_outcome(outcome));
                }
                Some(Event::End(Err(lost))) => lost,
                Some(first) => return Ok(Stream { first, events, sent }),
                None => Lost { may_have_run: true },
            },
            Err(lost) => lost,
        };
        attempts.lost(lost, &call.method, &link)?;
        Box::pin(attempts.pause()).await;
    }
}

pub(crate) fn invocation(call: &Call, index: u32) -> Invocation {
    let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // At least one: zero stands for no deadline.
    let timeout_us = left.map_or(0, |left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX).max(1));
    Invocation {
        call: 0,
        method: index,
        timeout_us,
        metadata: call.metadata.clone(),
        caller: Some(call.caller.clone()),
        body: call.body.clone(),
        carried: false,
    }
}

/// A node handed it back: nothing of it ran, and another node may fare better.
pub(crate) fn goes_elsewhere(outcome: &Outcome) -> bool {
    outcome.not_started && status::code_of(outcome.code) == Code::Unavailable
}

/// What a call has been through.
#[derive(Default)]
struct Attempts {
    runs: u32,
    handed_back: u32,
}

const PAUSE: Duration = Duration::from_millis(20);
/// A node that cannot be given work is soon known to be gone; this bounds what happens until then.
const MOST_HANDED_BACK: u32 = 100;

impl Attempts {
    /// A link that has just broken may be chosen again until its node is known to be gone.
    async fn pause(&self) {
        if self.handed_back > 1 {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn not_started(&mut self, outcome: Outcome) -> Result<(), Status> {
        self.handed_back += 1;
        if self.handed_back > MOST_HANDED_BACK { Err(status::from_outcome(outcome)) } else { Ok(()) }
    }

    /// Whether the call may be tried again.
    fn lost(&mut self, lost: Lost, method: &Method, link: &Link) -> Result<(), Status> {
        let node = &link.hello.name;
        if !lost.may_have_run {
            self.handed_back += 1;
            let given_up = self.handed_back > MOST_HANDED_BACK;
            return if given_up {
                Err(Status::unavailable(format!("node {node} could not be reached")))
            } else {
                Ok(())
            };
        }
        self.runs += 1;
        let name = method.name();
        if !method.served().repeatable {
            return Err(Status::unavailable(format!(
                "node {node} was lost while {name} was there: it may have run; it was not tried again, since its \
                 idempotency_level does not say that it may be repeated"
            )));
        }
        if self.runs >= MOST_RUNS {
            return Err(Status::unavailable(format!(
                "{name} may have run {} times, and each time its node was lost",
                self.runs
            )));
        }
        tracing::info!(method = name, node, "node lost: running it again elsewhere");
        Ok(())
    }
}
