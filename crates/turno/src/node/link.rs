//! One link to one gateway: says hello, hands invocations to [`Dispatch`], sends outcomes up, and leaves in order
//! when asked to. The gateway's half is in its own `link.rs`.

mod carried;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};
use turno_proto::mesh::v1::mesh_client::MeshClient;
use turno_proto::mesh::v1::{GatewayFrame, Hello, Invocation, Kind, Outcome, Welcome};
use turno_proto::status;
use turno_runtime::ops::Readiness;
use turno_runtime::parts::Parts;
use turno_runtime::task;

use crate::calls::Mesh;
use crate::client::streams;
use crate::context::{Context, Particulars};
use crate::dispatch::{Answer, Arrival, Dispatch, Ends, Slice};
use crate::error::Error;
use crate::node::answers::{Answers, Bell};
use crate::node::batch_shares::BatchShares;
use crate::node::carry::Carrier;
use crate::node::frames::{Frames, Up};
use crate::node::lines::Lines;
use crate::node::progress::Words;
use crate::node::share::LinkId;
use crate::node::token::Token;
use crate::node::windows::Windows;
use crate::pool::Wants;

/// What every link of a node needs.
pub(crate) struct Settings {
    pub(crate) dispatch: Dispatch,
    pub(crate) hello: Hello,
    pub(crate) token: Token,
    pub(crate) drain: Duration,
    pub(crate) shutdown: CancellationToken,
    pub(crate) readiness: Readiness,
    pub(crate) windows: Windows,
    pub(crate) batch_shares: Arc<BatchShares>,
}

// Together less than the 3 s in which a black-holed peer is to be noticed.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_PATIENCE: Duration = Duration::from_millis(1500);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
const WELCOME_PATIENCE: Duration = Duration::from_secs(5);
const SAYINGS_WAITING: usize = 1024;
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
/// As large as HTTP/2 has it: streams limit themselves, and one that is not read must not stop the others.
pub(crate) const CONNECTION_WINDOW: u32 = i32::MAX as u32;

/// Links to the gateway at `address` and serves it until the link breaks, or until this node has left in order.
pub(crate) async fn serve(settings: &Arc<Settings>, address: &str) -> Result<(), Error> {
    let (link, first, mut down) = open(settings, address).await?;
    tracing::info!(gateway = address, "linked");
    settings.readiness.gain();
    // However this ends, be it that this future is dropped.
    let over = Over(link.clone());
    // Work may have gathered behind the welcome.
    link.take(first).await;
    let telling = settings.dispatch.board.clone().tell(link.up.clone());
    let _telling = AbortOnDropHandle::new(task::spawn("node.watchdog", telling));
    let queue = settings.dispatch.board.clone().tell_queue(link.up.clone());
    let _queue = AbortOnDropHandle::new(task::spawn("node.queue", queue));
    let words = link.words.clone().tell(link.up.clone());
    let _saying = AbortOnDropHandle::new(task::spawn("node.progress", words));
    let ended = link.follow(&mut down).await;
    drop(over);
    let gateway = address.to_owned();
    match ended {
        Ok(End::Left) => Ok(()),
        Ok(End::Released) => Err(Error::Ended { gateway }),
        Err(status) => Err(Error::Lost { gateway, reason: status.message().to_owned() }),
    }
}

/// The end of a link: what runs for it is cancelled, and the stream up ends, though calls that cannot be cancelled may
/// still hold its sender.
struct Over(Arc<Link>);

impl Drop for Over {
    fn drop(&mut self) {
        let Self(link) = self;
        link.settings.readiness.lose();
        link.settings.windows.leave(link.window);
        link.settings.batch_shares.leave(link.window);
        link.cancel_all();
        // It may have ended already.
        let _ended = link.up.try_send(Up::End);
    }
}

/// How a link that did not break has ended.
enum End {
    /// This node wanted to leave.
    Left,
    /// The gateway wanted to end.
    Released,
}

async fn open(
    settings: &Arc<Settings>,
    address: &str,
) -> Result<(Arc<Link>, GatewayFrame, Streaming<GatewayFrame>), Error> {
    let unreachable = |reason: String| Error::Unreachable { gateway: address.to_owned(), reason };
    let endpoint = endpoint(address).map_err(|error| unreachable(error.to_string()))?;
    let channel = endpoint.connect().await.map_err(|error| unreachable(root(&error)))?;
    let (up, gathered) = mpsc::channel(SAYINGS_WAITING);
    // It cannot fail: the channel is new and empty.
    let _sent = up.try_send(Up::Hello(Box::new(settings.hello.clone())));
    let answers = Arc::<Answers>::default();
    let mut request = Request::new(Frames::new(gathered, answers.clone(), settings.dispatch.board.clone()));
    settings.token.write(request.metadata_mut());
    let mut client = MeshClient::new(channel).max_decoding_message_size(usize::MAX);
    let refused = |status: Status| refusal(address, &status);
    let greeting = tokio::time::timeout(WELCOME_PATIENCE, async {
        let mut down = client.link(request).await?.into_inner();
        let mut first = down.message().await?.unwrap_or_default();
        let welcome = first.welcome.take();
        Ok((welcome.ok_or_else(|| Status::unavailable("the gateway did not say welcome"))?, first, down))
    });
    let (welcome, first, down) =
        greeting.await.map_err(|_| unreachable("no welcome in time".to_owned()))?.map_err(refused)?;
    // Connections of their own, so that bodies and nested calls stand neither in the link's way nor in each other's.
    let lines = |endpoint| Lines::new(endpoint, streams::MOST);
    let (bodies, nested) = (lines(endpoint.clone()), lines(endpoint));
    Ok((Arc::new(Link::new(settings.clone(), up, answers, bodies, nested, welcome)), first, down))
}

pub(crate) fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_PATIENCE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

const NOT_FOR_NODES: &str = "what listens there does not know turno.mesh.v1.Mesh/Link: \
    if it is the gateway's port for clients, nodes dial the one for nodes (7071 by default)";

fn refusal(gateway: &str, status: &Status) -> Error {
    let (gateway, reason) = (gateway.to_owned(), status.message().to_owned());
    match status.code() {
        Code::Unauthenticated | Code::InvalidArgument | Code::FailedPrecondition => {
            Error::Refused { gateway, reason }
        }
        // Clients that dial what is no gateway for them hear the reverse.
        Code::Unimplemented => Error::Unreachable { gateway, reason: NOT_FOR_NODES.to_owned() },
        _ => Error::Unreachable { gateway, reason },
    }
}

/// The innermost cause: "connection refused" rather than "transport error".
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The link's own state, shared with the calls that run.
struct Link {
    settings: Arc<Settings>,
    up: mpsc::Sender<Up>,
    answers: Arc<Answers>,
    running: DashMap<u64, CancellationToken>,
    tracker: TaskTracker,
    carrier: Carrier,
    mesh: Mesh,
    carry_above: usize,
    window: LinkId,
    words: Arc<Words>,
    /// By calls that wait at the gateway.
    wants: Arc<Wants>,
    over: CancellationToken,
}

impl Link {
    fn new(
        settings: Arc<Settings>,
        up: mpsc::Sender<Up>,
        answers: Arc<Answers>,
        bodies: Arc<Lines>,
        nested: Arc<Lines>,
        welcome: Welcome,
    ) -> Self {
        let token = settings.token.clone();
        let mesh = Mesh::by(nested, token.clone());
        let carrier = Carrier { lines: bodies, token, link_id: welcome.link_id };
        let carry_above = usize::try_from(welcome.carry_above).unwrap_or(usize::MAX);
        let window = settings.windows.join(up.clone());
        settings.batch_shares.join(window, welcome.batch_share);
        Self {
            settings,
            up,
            answers,
            running: DashMap::default(),
            tracker: TaskTracker::new(),
            carrier,
            mesh,
            carry_above,
            window,
            words: Arc::default(),
            wants: Arc::default(),
            over: CancellationToken::new(),
        }
    }

    /// Takes frames until the stream ends. Leaving: say so, wait for the release, finish, end.
    async fn follow(self: &Arc<Self>, down: &mut Streaming<GatewayFrame>) -> Result<End, Status> {
        let (mut asked, mut released) = (false, false);
        loop {
            tokio::select! {
                frame = down.message() => match frame? {
                    Some(frame) => {
                        released |= frame.released;
                        self.take(frame).await;
                    }
                    None if asked => return Ok(End::Left),
                    None if released => return Ok(End::Released),
                    None => return Err(Status::unavailable("the gateway has ended the link")),
                },
                () = self.settings.shutdown.cancelled(), if !asked => {
                    asked = true;
                    self.say(Up::Leaving).await?;
                }
            }
        }
    }

    async fn take(self: &Arc<Self>, frame: GatewayFrame) {
        let mut parts = Parts::of(frame.invocations.len());
        for invocation in frame.invocations {
            parts.step().await;
            self.begin(invocation);
        }
        for call in frame.cancels {
            if let Some((_, cancel)) = self.running.remove(&call) {
                cancel.cancel();
            }
        }
        if frame.slots_wanted > 0 {
            self.wants.want(frame.slots_wanted);
        }
        if let Some(jobs) = frame.backlog {
            self.settings.windows.backlog(self.window, jobs);
        }
        if frame.released {
            self.finish_and_end();
        }
    }

    /// Once no invocation follows: ends the link when all that runs has answered, or the time to drain is over.
    fn finish_and_end(self: &Arc<Self>) {
        let link = self.clone();
        task::spawn("node.drain", async move {
            link.tracker.close();
            if tokio::time::timeout(link.settings.drain, link.tracker.wait()).await.is_err() {
                tracing::warn!(calls = link.tracker.len(), "time to drain is over: leaving calls unfinished");
            }
            // The gateway may be gone already, and then there is nobody to tell.
            let _gone = link.say(Up::End).await;
        });
    }

    async fn say(&self, up: Up) -> Result<(), Status> {
        self.up.send(up).await.map_err(|_| Status::unavailable("the link is closed"))
    }

    fn begin(self: &Arc<Self>, invocation: Invocation) {
        let at = Instant::now();
        let Some(entry) =
            usize::try_from(invocation.method).ok().and_then(|at| self.settings.dispatch.methods.get(at))
        else {
            let status = Status::internal("the gateway named a method that this node does not have");
            return self.answer(status::not_started(invocation.call, status), None).ring();
        };
        let cancel = CancellationToken::new();
        self.running.insert(invocation.call, cancel.clone());
        let deadline = (invocation.timeout_us > 0).then(|| at + Duration::from_micros(invocation.timeout_us));
        let ctx = Context::new(Particulars {
            method: entry.name,
            deadline,
            cancel,
            entries: invocation.metadata,
            caller: invocation.caller.unwrap_or_default(),
            mesh: self.mesh.clone(),
            progress: invocation.tell_progress.then(|| self.words.open(invocation.call)),
        });
        let slice = (invocation.items > 0).then(|| self.slice(invocation.slice_us));
        let call = Call { call: invocation.call, method: invocation.method as usize, ctx, slice };
        if invocation.carried || entry.handler.kind() == Kind::Stream {
            self.begin_carried(call, &entry.handler, invocation.carried, invocation.body);
        } else {
            self.start(call, invocation.body, None, None);
        }
    }

    /// A chunk's answer is to fit on the link.
    fn slice(&self, slice_us: u64) -> Slice {
        let time = if slice_us > 0 { Duration::from_micros(slice_us) } else { Duration::MAX };
        Slice { time, bytes: self.carry_above, wants: self.wants.clone() }
    }

    fn start(self: &Arc<Self>, call: Call, body: Bytes, ends: Option<Ends>, done: Option<Done>) {
        let Call { call, method, ctx, slice } = call;
        // The time that a body took to be fetched is the way's, not the queue's.
        let at = Instant::now();
        let (link, token) = (self.clone(), self.tracker.token());
        let runtime = tokio::runtime::Handle::current();
        let methods = &self.settings.dispatch.methods;
        let is_job = methods.get(method).is_some_and(|entry| entry.handler.kind() == Kind::Job);
        let answer = Answer::new(call, move |outcome| {
            // A job answers from a pool thread, and what follows may have to spawn.
            let _runtime = runtime.enter();
            if is_job {
                // The gateway counts in the same way: whichever job ends, it is one slot wanted less.
                link.wants.freed();
            }
            match done {
                Some(done) => {
                    // Its stream may be gone.
                    let _gone = done.send(outcome);
                    Bell::default()
                }
                None => link.answer(outcome, Some(token)),
            }
        });
        self.settings.dispatch.start(method, Arrival { call, ctx, body, at, ends, slice, answer });
    }

    /// Sends an outcome: over the link, once the bell is rung, or, with a large body, on a stream of its own. Comes back
    /// at once.
    fn answer(self: &Arc<Self>, outcome: Outcome, token: Option<TaskTrackerToken>) -> Bell {
        let last = self.words.close(outcome.call);
        if outcome.body.len() > self.carry_above {
            // Where there is no room for it, the outcome says more.
            let _told = last.map(|last| self.up.try_send(Up::Progress(vec![last])));
            self.carry_answer(outcome, token);
            return Bell::default();
        }
        self.running.remove(&outcome.call);
        self.answers.leave(outcome, last)
    }

    /// The link is gone, and with it everybody who waits at its other end.
    fn cancel_all(&self) {
        self.over.cancel();
        self.running.iter().for_each(|running| running.cancel());
        self.running.clear();
    }
}

/// Takes the outcome of a stream.
type Done = tokio::sync::oneshot::Sender<Outcome>;

/// A call whose body may still be on its way.
struct Call {
    call: u64,
    method: usize,
    ctx: Context,
    /// Present for a chunk of a map.
    slice: Option<Slice>,
}

#[cfg(test)]
mod tests {
    use super::refusal;
    use tonic::Status;

    #[test]
    fn who_dials_the_port_for_clients_hears_of_the_one_for_nodes() {
        let unknown =
            Status::unimplemented("no node has served turno.mesh.v1.Mesh/Link since this gateway started");
        let told = refusal("127.0.0.1:7070", &unknown).to_string();
        assert!(told.starts_with("gateway 127.0.0.1:7070 cannot be reached: "), "{told}");
        assert!(told.contains("port for clients") && told.contains("7071"), "{told}");
        assert!(!told.contains("has served"), "{told}");
    }
}
