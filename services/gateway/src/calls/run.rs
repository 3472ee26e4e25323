//! One run of a method for a ticket. What was not handed over goes elsewhere unseen, as every call's; what may have run
//! is the ticket's business, which is tried again whatever the method's `idempotency_level` says.

use std::time::{Duration, Instant};

use tonic::Status;
use turno_proto::mesh::v1::{Invocation, Outcome};
use turno_proto::status::goes_elsewhere;
use turno_runtime::units::{self, Rounded};

use super::{Call, invocation};
use crate::attempts::Attempts;
use crate::course::Course;
use crate::link::Link;
use crate::link::heard::Hearing;
use crate::link::pending::{Answer, Lost};
use crate::quarantine::Key;
use crate::router::{Router, Target};

/// What a run has come to.
pub(crate) enum Ran {
    /// The method has answered, be it an error.
    Answered(Box<Outcome>),
    /// It was stopped before any node had it.
    Stopped,
    /// No node has had it, and one may later.
    NotNow(Status),
    /// Its node did not end it in time, be it that it was leaving, or only its link broke: it may have run.
    Lost(Status),
    /// Its node was lost: it may have run.
    Died(Death),
    /// Its input has killed nodes, and it was given to no more of them.
    Poisonous(Status),
}

/// A node that was lost, as it seems, with a call.
pub(crate) struct Death {
    pub(crate) lost: Status,
    /// The node's own id.
    pub(crate) node: String,
    /// What this gateway remembers the input by.
    pub(crate) key: Key,
}

/// A node ends a call at its deadline by itself; one that does not is not waited for any longer.
const GRACE: Duration = Duration::from_secs(2);

/// Runs `call` once, and notes how far it is. `timeout` begins when a node has it: the time in the queue is not the method's.
pub(crate) async fn run(
    router: &Router,
    call: &Call,
    timeout: Option<Duration>,
    hearing: &Hearing,
    course: &Course,
) -> Ran {
    if let Err(refused) = router.trouble.admit(call) {
        // Of a ticket that would be the end: not while what was lost last may only be a link.
        let stays = router.trouble.stays_refused(call);
        return if stays { Ran::Poisonous(refused) } else { Ran::NotNow(refused) };
    }
    let mut attempts = Attempts::new(&router.trouble);
    loop {
        if let Err(full) = call.method.could_enter() {
            return Ran::NotNow(full);
        }
        course.seek(Instant::now());
        let Target { link, index, hold } = tokio::select! {
            biased;
            () = hearing.stop.cancelled() => return Ran::Stopped,
            () = hearing.recall.cancelled() => return Ran::NotNow(Status::unavailable("the gateway is ending")),
            found = router.route(call, None) => match found {
                Ok(target) => target,
                Err(nobody) => return Ran::NotNow(nobody),
            },
        };
        // Not before its turn at the node has come: others could not run meanwhile.
        let _running = match call.method.enter() {
            Ok(running) => running,
            Err(full) => return Ran::NotNow(full),
        };
        course.send(&link, Instant::now());
        let invocation = Invocation { timeout_us: timeout.map_or(0, micros), ..invocation(call, index) };
        let answered = {
            // Pinned where it is: what is handed over would be there twice.
            let answer = std::pin::pin!(link.heard(invocation, hold, hearing));
            within(timeout, answer).await
        };
        let handed_back = match answered {
            None => return Ran::Lost(too_long(call, timeout)),
            Some(Ok(answer)) if goes_elsewhere(&answer.outcome) => {
                attempts.not_started(answer.outcome, course)
            }
            Some(Ok(Answer { outcome, away })) => {
                course.back(away, outcome.cost);
                router.trouble.answered(call, &link, away);
                return Ran::Answered(Box::new(outcome));
            }
            Some(Err(lost @ Lost { may_have_run: false })) => attempts.lost(lost, call, &link, course),
            Some(Err(_)) => return lost(router, call, &link),
        };
        if let Err(given_up) = handed_back {
            return Ran::NotNow(given_up);
        }
        attempts.pause().await;
    }
}

fn lost(router: &Router, call: &Call, link: &Link) -> Ran {
    let lost = Status::unavailable(format!(
        "node {} {} while {} was there: it may have run",
        link.hello.name,
        link.parting(),
        call.method.name()
    ));
    // The node may have come again, and even have left in order, since the link was given up.
    if link.is_no_death() || router.nodes.lives(router.trouble.node(link)) {
        return Ran::Lost(lost);
    }
    let key = router.trouble.accuse(call, link);
    Ran::Died(Death { lost, node: link.hello.node_id.clone(), key })
}

async fn within<T>(timeout: Option<Duration>, answer: impl Future<Output = T>) -> Option<T> {
    match timeout {
        None => Some(answer.await),
        Some(timeout) => tokio::time::timeout(timeout.saturating_add(GRACE), answer).await.ok(),
    }
}

fn too_long(call: &Call, timeout: Option<Duration>) -> Status {
    let (name, timeout) = (call.method.name(), Rounded(timeout.unwrap_or_default()));
    Status::deadline_exceeded(format!("{name} was not done within {timeout}, and did not stop then"))
}

/// At least one: zero stands for no deadline.
fn micros(time: Duration) -> u64 {
    units::micros(time).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use turno_proto::mesh::v1::{Hello, Kind, Method};

    use super::{Death, Ran, lost};
    use crate::calls::tests::{PATH, call, router};
    use crate::link::Link;
    use crate::methods::Methods;
    use crate::router::Router;

    /// One more link of the same node. Nobody reads from it, so that it may end.
    async fn linked(router: &Router) -> Arc<Link> {
        let method = Method { path: PATH.to_owned(), kind: Kind::Awaited.into(), ..Method::default() };
        let hello = Hello { node_id: "one".to_owned(), methods: vec![method], ..Hello::default() };
        let (down, _) = mpsc::channel(1);
        let peer = "127.0.0.1:1".parse().unwrap();
        let link = Arc::new(Link::new(router.nodes.new_id(), hello, peer, down, 1024));
        router.nodes.join(&link).await;
        link
    }

    #[tokio::test]
    async fn a_node_that_has_come_again_and_left_in_order_has_not_died() {
        let methods = Arc::new(Methods::default());
        let router = router(&methods);
        let broken = linked(&router).await;
        let call = call(methods.get(PATH).unwrap());
        router.nodes.gone(&broken).await;
        assert!(matches!(lost(&router, &call, &broken), Ran::Died(_)), "nobody knows better");
        let again = linked(&router).await;
        assert!(matches!(lost(&router, &call, &broken), Ran::Lost(_)), "it is there");
        router.nodes.leaving(&again).await;
        router.nodes.gone(&again).await;
        assert!(matches!(lost(&router, &call, &broken), Ran::Lost(_)), "it has left in order");
    }

    #[tokio::test]
    async fn only_a_node_that_says_so_leaves() {
        let methods = Arc::new(Methods::default());
        let router = router(&methods);
        let first = linked(&router).await;
        let call = call(methods.get(PATH).unwrap());
        let found = async || router.route(&call, None).await.err().unwrap().message().to_owned();
        let told = |link: &Arc<Link>| match lost(&router, &call, link) {
            Ran::Lost(status) | Ran::Died(Death { lost: status, .. }) => status.message().to_owned(),
            _ => panic!("it may have run"),
        };
        router.nodes.gone(&first).await;
        assert!(told(&first).contains(" was lost while "), "{}", told(&first));
        let nobody = found().await;
        assert!(nobody.ends_with("its last one was lost, and none came within 10 ms"), "{nobody}");
        let second = linked(&router).await;
        router.nodes.leaving(&second).await;
        router.nodes.gone(&second).await;
        assert!(told(&second).contains(" left while "), "{}", told(&second));
        let nobody = found().await;
        assert!(nobody.ends_with("its last one left, and none came within 10 ms"), "{nobody}");
    }
}
