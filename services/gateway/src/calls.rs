//! A call's way through its attempts: what was not handed over goes elsewhere unseen; what may have run is repeated
//! only if its `idempotency_level` allows.

mod run;
mod stream;
mod trial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::sync::SetOnce;
use tonic::Status;
use turno_proto::entries;
use turno_proto::mesh::v1::{Caller, Entry, Invocation, Outcome};
use turno_proto::status::goes_elsewhere;
use turno_runtime::units::micros;

use crate::attempts::Attempts;
use crate::course::Course;
use crate::link::Link;
use crate::link::pending::{Answer, Hold, Lost};
use crate::methods::Method;
use crate::router::Router;
use crate::scheduler::WorkerId;
use crate::unread::Reader;

pub(crate) use run::{Death, Ran, run};
pub(crate) use stream::{Stream, stream};
pub(crate) use trial::Trial;

/// What a client asks for.
pub(crate) struct Call {
    pub(crate) method: Arc<Method>,
    /// The caller's own. The gateway's limit for all calls is its own business: the node hears of it by a cancel.
    pub(crate) deadline: Option<Instant>,
    pub(crate) metadata: Vec<Entry>,
    pub(crate) caller: Caller,
    pub(crate) body: Bytes,
    /// More than none: a chunk of a map, with so many requests in its body.
    pub(crate) items: u32,
    /// Who may leave its answer unread; none for tickets and maps, which take what comes.
    pub(crate) reader: Option<Arc<Reader>>,
    /// Of the batch by itself, not called by what is: a ticket, a chunk of a map. It waits for its turn at a node.
    pub(crate) begins_batch: bool,
}

impl Call {
    /// Whether it stands behind others: of a ticket or a map, or called by what is.
    pub(crate) fn is_batch(&self) -> bool {
        self.begins_batch || entries::is_batch(&self.metadata)
    }
}

/// The answer to a unary call.
struct Answered {
    outcome: Outcome,
    away: Duration,
    /// The node that gave it.
    link: Arc<Link>,
}

/// Carries a call whose answer is one message.
pub(crate) async fn unary(router: &Router, call: &Call, course: &Course) -> Result<Outcome, Status> {
    let running = call.method.enter()?;
    let is_counted = running.is_some();
    router.trouble.admit(call)?;
    let hedge_after = call.method.served().policy.hedge_after;
    let answered = match hedge_after {
        None => {
            let attempts = Attempts::new(&router.trouble);
            attempt(router, call, Attempt::Only, attempts, is_counted, course).await?
        }
        Some(after) => Box::pin(hedged(router, call, after, is_counted, course)).await?,
    };
    router.trouble.answered(call, &answered.link, answered.away);
    Ok(answered.outcome)
}

/// A second attempt begins at another node when the first has been at its own for so long, if there is one and the budget
/// has room for it, which pays when it goes out: whichever answers first counts, and the other is cancelled ("hedged
/// requests", Dean and Barroso, The Tail at Scale, 2013). A job that waits for its slot is not at a node: nothing would be
/// won by waiting twice.
async fn hedged(
    router: &Router,
    call: &Call,
    after: Duration,
    is_counted: bool,
    course: &Course,
) -> Result<Answered, Status> {
    let (node, attempts) = (SetOnce::new(), Attempts::new(&router.trouble));
    let first = attempt(router, call, Attempt::First(&node), attempts, is_counted, course);
    let mut first = std::pin::pin!(first);
    let late = std::pin::pin!(async {
        let node = *node.wait().await;
        tokio::time::sleep(after).await;
        node
    });
    let node = match select(first.as_mut(), late).await {
        Either::Left((answered, _)) => return answered,
        Either::Right((node, _)) => node,
    };
    if !call.method.served().has_other_than(node) || !router.trouble.could_repeat() {
        return first.await;
    }
    let (twin, attempts) = (course.twin(), Attempts::new(&router.trouble));
    let again = Attempt::Second { not_at: node };
    let second = std::pin::pin!(attempt(router, call, again, attempts, is_counted, &twin));
    let answered = match select(first, second).await {
        Either::Left((Ok(answered), _)) => return Ok(answered),
        Either::Left((Err(error), second)) => second.await.map_err(|_| error)?,
        Either::Right((Ok(answered), _)) => answered,
        Either::Right((Err(_), first)) => return first.await,
    };
    course.become_twin(&twin);
    Ok(answered)
}

/// Goes on with a call whose first attempt, made without waiting, did not end it.
pub(crate) async fn unary_again(
    router: &Router,
    call: &Call,
    first: Result<Answer, Lost>,
    link: &Link,
    course: &Course,
) -> Result<Outcome, Status> {
    let mut attempts = Attempts::new(&router.trouble);
    match first {
        Ok(answer) => attempts.not_started(answer.outcome, course)?,
        Err(lost) => attempts.lost(lost, call, link, course)?,
    }
    let answered = attempt(router, call, Attempt::Only, attempts, false, course).await?;
    router.trouble.answered(call, &answered.link, answered.away);
    Ok(answered.outcome)
}

/// Which attempt this is. The two of a hedged call are at different nodes.
enum Attempt<'a> {
    Only,
    /// Says at which node it is first.
    First(&'a SetOnce<WorkerId>),
    Second {
        not_at: WorkerId,
    },
}

/// Tries until there is an answer, and notes how far the call is, which may be counted for its method's limit already.
async fn attempt(
    router: &Router,
    call: &Call,
    attempt: Attempt<'_>,
    mut attempts: Attempts<'_>,
    is_counted: bool,
    course: &Course,
) -> Result<Answered, Status> {
    let mut running = None;
    let not_at = if let Attempt::Second { not_at } = attempt { Some(not_at) } else { None };
    let mut unpaid = not_at.is_some();
    loop {
        course.seek(Instant::now());
        let target = router.route(call, not_at).await.map_err(|refused| with_past(refused, course))?;
        // It may have been a job when it came, and is awaited by now.
        if !is_counted && running.is_none() && !matches!(target.hold, Some(Hold::Place(_))) {
            running = call.method.enter()?;
        }
        if std::mem::take(&mut unpaid) && !router.trouble.may_repeat() {
            return Err(too_many(&call.method));
        }
        let link = target.link;
        if let Attempt::First(node) = attempt {
            // It may have been at another before, which was lost.
            let _first = node.set(link.id);
        }
        if !course.send(&link, Instant::now()) {
            return Err(taken_back(&call.method));
        }
        match link.unary(invocation(call, target.index), target.hold, call.reader.clone()).await {
            Ok(answer) if goes_elsewhere(&answer.outcome) => attempts.not_started(answer.outcome, course)?,
            Ok(Answer { outcome, away }) => {
                course.back(away, outcome.cost);
                return Ok(Answered { outcome, away, link });
            }
            Err(lost) => attempts.lost(lost, call, &link, course)?,
        }
        Box::pin(attempts.pause()).await;
    }
}

/// What finds no place any more may have begun where it was before.
fn with_past(refused: Status, course: &Course) -> Status {
    if !course.may_have_run() {
        return refused;
    }
    let what = format!("{}; it may have run before, at another node", refused.message());
    let details = refused.details().to_vec().into();
    Status::with_details_and_metadata(refused.code(), what, details, refused.metadata().clone())
}

/// Never heard: the first attempt's own answer counts then.
fn too_many(method: &Method) -> Status {
    Status::resource_exhausted(format!(
        "there was no second attempt of {}: more than a fifth of all calls would be repetitions (the retry budget)",
        method.name()
    ))
}

/// Never heard: whoever has taken it back has told its caller.
fn taken_back(method: &Method) -> Status {
    Status::unavailable(format!("{} was taken back before a node had it", method.name()))
}

pub(crate) fn invocation(call: &Call, index: u32) -> Invocation {
    let left = call.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // At least one: zero stands for no deadline.
    let timeout_us = left.map_or(0, |left| micros(left).max(1));
    Invocation {
        call: 0,
        method: index,
        timeout_us,
        metadata: call.metadata.clone(),
        caller: Some(call.caller.clone()),
        body: call.body.clone(),
        carried: false,
        items: call.items,
        slice_us: 0,
        tell_progress: false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, unary};
    use crate::course::Course;
    use crate::descriptors::Descriptors;
    use crate::health::Health;
    use crate::link::Link;
    use crate::link::frames::Down;
    use crate::methods::{Method, Methods, Seat};
    use crate::nodes::Nodes;
    use crate::policy::Policy;
    use crate::queue::JobQueue;
    use crate::reflection::Reflection;
    use crate::router::Router;
    use crate::scheduler::{Limits, WorkerId};
    use crate::tenants::Tenants;
    use crate::trouble::Trouble;
    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use futures_util::future::select;
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tonic::Code;
    use turno_proto::mesh::v1::{Caller, Hello, Kind};

    pub(super) const PATH: &str = "/kitchen.v1.Kitchen/Bake";

    pub(super) fn router(methods: &Arc<Methods>) -> Router {
        let (queue, trouble) =
            (JobQueue::new(Limits { waiting: 10, batch_share: 0.0 }), Arc::new(Trouble::new()));
        let descriptors = Descriptors::new(Reflection::new().unwrap());
        let (health, _) = Health::new();
        let nodes = Nodes::new(methods.clone(), queue.clone(), descriptors, health, trouble.clone());
        let patience = Duration::from_millis(10);
        Router { nodes: Arc::new(nodes), queue, patience, trouble, tenants: Tenants::default() }
    }

    pub(super) fn call(method: Arc<Method>) -> Call {
        Call {
            method,
            deadline: None,
            metadata: Vec::new(),
            caller: Caller::default(),
            body: Bytes::new(),
            items: 0,
            reader: None,
            begins_batch: false,
        }
    }

    #[tokio::test]
    async fn jobs_that_are_awaited_when_they_go_keep_to_the_limit() {
        let methods = Arc::new(Methods::default());
        let router = router(&methods);
        let (down, mut invocations) = mpsc::channel(8);
        let peer = "127.0.0.1:1".parse().unwrap();
        let link = Arc::new(Link::new(WorkerId(1), Hello::default(), peer, down, 1024));
        let policy = Policy { concurrency: NonZeroU32::new(1), ..Policy::default() };
        let (index, takes_stream, repeatable) = (0, false, false);
        let seat = |kind| Seat { link: link.clone(), index, kind, takes_stream, repeatable, policy };
        let call = call(methods.join(PATH, &seat(Kind::Job)));
        let course = Course::default();
        let (mut one, mut other) =
            (Box::pin(unary(&router, &call, &course)), Box::pin(unary(&router, &call, &course)));
        assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        methods.leave(&link);
        methods.join(PATH, &seat(Kind::Awaited));
        let first = tokio::time::timeout(Duration::from_secs(10), select(one, other)).await;
        let (refused, _runs) = first.expect("one of them is refused").factor_first();
        assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
        assert!(matches!(invocations.try_recv(), Ok(Down::Invoke(_))));
        assert!(invocations.try_recv().is_err(), "only one of them has gone there");
    }
}
