//! Calls as a client's frames bring them: let in, and on their way at once where that can be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use turno_proto::headers;
use turno_proto::mesh::v1::{Caller, Entry, Invocation, Kind, Outcome};
use turno_proto::v1::CallsFrame;
use turno_runtime::parts::Parts;
use turno_runtime::task;

use crate::admission::Permit;
use crate::bill;
use crate::calls::{self, Call};
use crate::clients::client::{Answer, At, Client, Head, InFlight};
use crate::clients::table::Turn;
use crate::course::Course;
use crate::link::Sent;
use crate::link::pending::{self, Lost};
use crate::methods::Method;
use crate::tickets::{self, Envelope};
use crate::wishes;

/// A method that the client has named.
pub(crate) struct Known {
    path: Arc<str>,
    method: Option<Arc<Method>>,
}

/// Above it, a call comes by plain gRPC: a frame is read as a whole.
pub(super) const MAX_BODY: usize = 64 * 1024;
const MOST_NAMES: usize = 10_000;
const LONGEST_NAME: usize = 1024;

impl Client {
    /// Takes a frame; an error ends the link.
    pub(crate) async fn take(
        self: &Arc<Self>,
        frame: CallsFrame,
        names: &mut Vec<Known>,
    ) -> Result<(), Status> {
        self.heard();
        learn(names, frame.methods)?;
        let now = Instant::now();
        let mut parts = Parts::of(frame.calls.len());
        for invocation in frame.calls {
            if parts.step().await && self.is_over() {
                // Nobody is there any more to be answered.
                return Ok(());
            }
            let at = usize::try_from(invocation.method).ok();
            let known = at.and_then(|at| names.get_mut(at)).ok_or_else(|| {
                Status::invalid_argument(format!("no name was sent for method {}", invocation.method))
            })?;
            if known.method.is_none() {
                known.method = self.edge.methods.get(&known.path);
            }
            self.begin(invocation, known, now)?;
        }
        for number in frame.cancels {
            let cancelled = self.state.lock().calls.cancel(number);
            if let Some(call) = cancelled {
                self.give_up(call);
            }
        }
        Ok(())
    }

    fn begin(
        self: &Arc<Self>,
        mut invocation: Invocation,
        known: &Known,
        started: Instant,
    ) -> Result<(), Status> {
        let (number, body) = (invocation.call, std::mem::take(&mut invocation.body));
        let in_trailers =
            invocation.metadata.iter().any(|entry| bill::is_asked_for(&entry.key, &entry.value));
        let (path, method) = (known.path.clone(), known.method.clone());
        let head = Head { path, method, started, in_trailers };
        let understood = wishes::understood(&invocation.metadata);
        let permit = match understood.and_then(|()| self.admit(&body)) {
            Ok(permit) => permit,
            Err(status) => {
                self.refuse(number, &head, status);
                return Ok(());
            }
        };
        let longest = self.edge.longest_call;
        let asked = (invocation.timeout_us > 0).then(|| Duration::from_micros(invocation.timeout_us));
        let policy = known.method.as_ref().and_then(|method| method.served().policy.timeout);
        let asked = asked.into_iter().chain(policy).min();
        let deadline = started + asked.unwrap_or(longest).min(longest);
        let (metadata, caller) = self.metadata(invocation.metadata);
        let asked_for = asked.map(|_| deadline);
        let body = detached(&body);
        let mut state = self.state.lock();
        if state.calls.contains(number) {
            return Err(Status::invalid_argument(format!("call {number} is in flight already")));
        }
        let turn = state.calls.next_turn();
        let at = if known.method.is_none() && tickets::is_linked(&known.path) {
            let envelope = Envelope::new(metadata, caller);
            self.ask_tickets(known.path.clone(), (number, turn), envelope, body, deadline)
        } else {
            let reader = Some(self.origin.reader.clone());
            let make = move |method| Call {
                method,
                deadline: asked_for,
                metadata,
                caller,
                body,
                items: 0,
                reader,
                begins_batch: false,
            };
            self.send(known, number, turn, make)
        };
        state.calls.insert(number, turn, deadline, InFlight { head, permit, at });
        Ok(())
    }

    /// To its node at once where that can be, else on its way.
    fn send(
        self: &Arc<Self>,
        known: &Known,
        number: u64,
        turn: Turn,
        make: impl FnOnce(Arc<Method>) -> Call + Send + 'static,
    ) -> At {
        let Some(method) = known.method.as_ref().filter(|_| !task::is_watched()) else {
            return self.wait(known.path.clone(), number, turn, make);
        };
        let call = make(method.clone());
        match self.send_now(&call, number, turn) {
            Some(sent) => At::Node(sent, call),
            None => self.wait(known.path.clone(), number, turn, move |method| Call { method, ..call }),
        }
    }

    /// The gateway's own: no node has it.
    fn ask_tickets(
        self: &Arc<Self>,
        path: Arc<str>,
        (number, turn): (u64, Turn),
        envelope: Envelope,
        body: Bytes,
        deadline: Instant,
    ) -> At {
        let client = self.clone();
        At::Own(self.spawn(&path.clone(), async move {
            let answered = client.edge.tickets.linked(&path, envelope, body, deadline).await;
            client.finish(number, turn, answered);
        }))
    }

    fn admit(&self, body: &Bytes) -> Result<Permit, Status> {
        let max = MAX_BODY.min(self.edge.max_message);
        if body.len() > max {
            return Err(Status::resource_exhausted(format!(
                "a request of {} bytes is larger than the {max} that a link takes: call by plain gRPC",
                body.len()
            )));
        }
        let mut permit = self.edge.admission.admit_beside(&self.origin.reader)?;
        permit.room.hold(body.len())?;
        Ok(permit)
    }

    /// What the method sees of the metadata, and who calls: a node speaks for the client that its own call came from.
    fn metadata(&self, mut metadata: Vec<Entry>) -> (Vec<Entry>, Caller) {
        let mut caller = Caller { peer: self.peer.clone(), method: String::new() };
        metadata.iter_mut().for_each(|entry| entry.key.make_ascii_lowercase());
        for Entry { key, value } in metadata.iter().filter(|_| self.origin.is_node) {
            let said = std::str::from_utf8(value).map(str::to_owned);
            match (key.as_str(), said) {
                (headers::CALLER_PEER, Ok(peer)) => caller.peer = peer,
                (headers::CALLER_METHOD, Ok(method)) => caller.method = method,
                _ => {}
            }
        }
        let token = |key: &str| self.origin.is_node && key == headers::AUTHORIZATION;
        metadata.retain(|entry| !headers::is_transport(&entry.key) && !token(&entry.key));
        metadata.iter_mut().for_each(|entry| entry.value = detached(&entry.value));
        (metadata, caller)
    }

    fn send_now(self: &Arc<Self>, call: &Call, number: u64, turn: Turn) -> Option<Sent> {
        let target = self.edge.router.at_once(call)?;
        let answer = Answer { client: self.clone(), number, turn };
        let invocation = calls::invocation(call, target.index);
        let sent = target.link.send_now(invocation, target.hold, answer, call.reader.clone())?;
        self.edge.router.trouble.passed();
        Some(sent)
    }

    /// A task for a call that has to wait: for its method, for a node, for a slot, for room on the link.
    fn wait(
        self: &Arc<Self>,
        path: Arc<str>,
        number: u64,
        turn: Turn,
        make: impl FnOnce(Arc<Method>) -> Call + Send + 'static,
    ) -> At {
        let course = Arc::new(Course::default());
        let (client, noted) = (self.clone(), course.clone());
        let running = self.spawn(&path.clone(), async move {
            let answered = client.answer(&path, make, &noted).await;
            client.finish(number, turn, answered);
        });
        At::Task { _running: running, course }
    }

    async fn answer(
        &self,
        path: &str,
        make: impl FnOnce(Arc<Method>) -> Call,
        course: &Course,
    ) -> Result<Outcome, Status> {
        let edge = &self.edge;
        let method = edge.method(path).await.ok_or_else(|| edge.unknown(path))?;
        if method.served().kind == Kind::Unspecified {
            // Its first node is just joining.
            course.seek(Instant::now());
            method.wait_for_a_node().await;
        }
        if method.served().kind == Kind::Stream {
            let what = format!("{} answers a stream: call it by plain gRPC", method.name());
            return Err(Status::unimplemented(what));
        }
        calls::unary(&edge.router, &make(method), course).await
    }

    /// The first attempt did not end the call: what follows goes the way of every call.
    pub(super) fn go_on(self: &Arc<Self>, number: u64, turn: Turn, first: Result<pending::Answer, Lost>) {
        let mut state = self.state.lock();
        let Some(InFlight { head, at, .. }) = state.calls.get_mut(number, turn) else { return };
        let At::Node(mut sent, call) = std::mem::replace(at, At::Turning) else { return };
        sent.done = true;
        let course = Arc::new(Course::sent(sent.link().clone(), sent.since));
        let (client, noted) = (self.clone(), course.clone());
        let running = self.spawn(&head.path, async move {
            let router = &client.edge.router;
            let answered = calls::unary_again(router, &call, first, sent.link(), &noted).await;
            client.finish(number, turn, answered);
        });
        *at = At::Task { _running: running, course };
    }

    /// Under the method's name. A link may be lost where no runtime is entered.
    fn spawn(&self, path: &str, future: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
        let _entered = self.runtime.enter();
        AbortOnDropHandle::new(task::spawn(path.trim_start_matches('/'), future))
    }
}

fn learn(names: &mut Vec<Known>, paths: Vec<String>) -> Result<(), Status> {
    if names.len() + paths.len() > MOST_NAMES {
        return Err(Status::invalid_argument(format!("more than {MOST_NAMES} methods on one link")));
    }
    if paths.iter().any(|path| path.len() > LONGEST_NAME) {
        return Err(Status::invalid_argument(format!("a method's name above {LONGEST_NAME} bytes")));
    }
    names.extend(paths.into_iter().map(|path| Known { path: path.into(), method: None }));
    Ok(())
}

/// What one call keeps shall not keep the whole frame.
fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
