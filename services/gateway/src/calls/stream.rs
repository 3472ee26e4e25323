//! Calls whose answer, or request, is a stream. Once a node has begun with one, it is no other node's.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tonic::{Code, Status};
use turno_proto::status::{self, goes_elsewhere};

use super::{Call, Trial, invocation};
use crate::attempts::Attempts;
use crate::course::Course;
use crate::link::pending::{Answer, Event, Lost, Unfetched};
use crate::link::{Link, Sent};
use crate::methods::Running;
use crate::router::Router;

/// A stream that has begun.
pub(crate) struct Stream {
    /// The first event, taken already: until it came, the call could still go elsewhere.
    pub(crate) first: Event,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Cancels the call when dropped early.
    pub(crate) sent: Sent,
    /// Counted from its beginning to its end, where the method has a limit.
    pub(crate) running: Option<Running>,
    /// None where the request is a stream too: nobody knows its bytes.
    pub(crate) trial: Option<Trial>,
}

/// Carries a call whose answer is a stream, its request perhaps too, until its first event. An answer of one message to
/// a stream of requests is a stream of one.
pub(crate) async fn stream(
    router: &Arc<Router>,
    call: Call,
    messages: Option<Unfetched>,
    course: &Course,
) -> Result<Stream, Status> {
    // A stream of requests is there once: what a node has fetched of it no other node can have.
    let may_go_elsewhere = || messages.as_ref().is_none_or(Unfetched::is_here);
    let mut running = call.method.enter()?;
    router.trouble.admit(&call)?;
    let mut attempts = Attempts::new(&router.trouble);
    loop {
        course.seek(Instant::now());
        let target = router.route(&call, None).await?;
        let link = target.link;
        course.send(&link, Instant::now());
        let (invocation, reader) = (invocation(&call, target.index), call.reader.clone());
        let lost = match link.stream(invocation, target.hold, messages.clone(), reader).await {
            Ok((mut events, sent)) => match events.recv().await {
                Some(Event::End(Ok(answer))) if goes_elsewhere(&answer.outcome) && may_go_elsewhere() => {
                    attempts.not_started(answer.outcome, course)?;
                    Box::pin(attempts.pause()).await;
                    continue;
                }
                Some(Event::End(Ok(Answer { outcome, away })))
                    if status::code_of(outcome.code) != Code::Ok =>
                {
                    router.trouble.acquit(&call);
                    course.back(away, outcome.cost);
                    return Err(status::from_outcome(outcome));
                }
                Some(Event::End(Err(lost))) => lost,
                Some(first) => {
                    let trial = messages.is_none().then(|| Trial::new(router.clone(), call));
                    return Ok(Stream { first, events, sent, running: running.take(), trial });
                }
                None => Lost { may_have_run: true },
            },
            Err(lost) => lost,
        };
        attempts.lost(lost_with(lost, messages.as_ref(), &call, &link)?, &call, &link, course)?;
        Box::pin(attempts.pause()).await;
    }
}

/// What is lost of a call with a stream of requests: nothing, unless a node has come for it.
fn lost_with(lost: Lost, messages: Option<&Unfetched>, call: &Call, link: &Link) -> Result<Lost, Status> {
    match messages {
        None => Ok(lost),
        Some(messages) if messages.is_here() => Ok(Lost::UNSENT),
        Some(_) => Err(Status::unavailable(format!(
            "node {} {} while {} ran: a stream of requests is not sent twice",
            link.hello.name,
            link.parting(),
            call.method.name()
        ))),
    }
}
