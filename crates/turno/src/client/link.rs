//! One link to one gateway: sends what gathers, hands answers to those who wait, and ends in order when the gateway
//! says that it is leaving: no call is sent any more, those that were may still be cancelled, and when the last of them has
//! ended, so does the stream up. Who dials does not wait for that.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_channel::oneshot;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use turno_proto::mesh::v1::Outcome;
use turno_proto::v1::calls_client::CallsClient;
use turno_proto::v1::{CallsFrame, OutcomesFrame};
use turno_runtime::parts::Parts;
use turno_runtime::task;

use crate::client::beside::Beside;
use crate::client::call::Call;
use crate::client::choice::Refusals;
use crate::client::frames::Frames;
use crate::client::links::Links;
use crate::client::pending::{Lost, Pending, Reply};
use crate::client::places;
use crate::error::Error;
use crate::node::link::{endpoint, root};

/// A link.
pub(crate) struct Link {
    gateway: String,
    /// Places for calls that have not left.
    room: Semaphore,
    ended: CancellationToken,
    pending: Mutex<Pending>,
    pub(crate) refusals: Refusals,
    max_body: AtomicUsize,
    /// For calls that are too large for it.
    pub(crate) bodies: Beside,
    /// For what answers a stream, or is one.
    pub(crate) streams: Beside,
    /// For questions about tickets, some of which stand for long.
    pub(crate) tickets: Beside,
}

/// Calls that gather while the writer is busy; then callers wait.
const CALLS_WAITING: usize = 1024;
const WELCOME_PATIENCE: Duration = Duration::from_secs(5);

/// Links to the gateway at `address` until the link breaks, or the gateway says that it is leaving.
pub(crate) async fn serve(links: &Links, address: &str) -> Result<(), Error> {
    let unreachable = |reason| Error::Unreachable { gateway: address.to_owned(), reason };
    let endpoint = endpoint(address).map_err(|error| unreachable(error.to_string()))?;
    let channel = endpoint.connect().await.map_err(|error| unreachable(root(&error)))?;
    let link = Arc::new(Link::new(address, endpoint, links.streams.window()));
    // However this ends, be it that this future is dropped; what is declared last goes first.
    let over = Over(link.clone());
    let listed = Listed { links, link: link.clone() };
    let opened = tokio::time::timeout(WELCOME_PATIENCE, open(channel, &link));
    let opened = opened.await.map_err(|_| unreachable("no welcome in time".to_owned()))?;
    let mut down = opened.map_err(|status| unreachable(refusal(&status)))?;
    links.add(&link);
    tracing::info!(gateway = address, "linked");
    while let Some(frame) = down.message().await.map_err(|status| link.lost(&status))? {
        if link.take(frame).await {
            drop(listed);
            link.leave();
            // Until then another gateway may be at its address. The rest ends by itself: with its calls, or its connection.
            drop(task::spawn("client.leaving", finish(over, down)));
            return Ok(());
        }
    }
    Ok(())
}

/// The rest of a link whose gateway is leaving: what was sent is still answered.
async fn finish(over: Over, mut down: Streaming<OutcomesFrame>) {
    let Over(link) = &over;
    loop {
        match down.message().await {
            Ok(Some(frame)) => {
                link.take(frame).await;
                // Its answers may be the last.
                link.leave();
            }
            Ok(None) => break,
            Err(status) => {
                // The callers of what is left hear so too.
                tracing::warn!("{}; it was leaving", link.lost(&status));
                break;
            }
        }
    }
}

async fn open(channel: Channel, link: &Arc<Link>) -> crate::Result<Streaming<OutcomesFrame>> {
    // The largest answer is the gateway's to limit.
    let mut client = CallsClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut down = client.link(Request::new(Frames::new(link.clone()))).await?.into_inner();
    let first = down.message().await?.ok_or_else(|| Status::unavailable("the gateway is ending"))?;
    link.max_body.store(usize::try_from(first.max_body).unwrap_or(usize::MAX), Ordering::Relaxed);
    if first.leaving {
        return Err(Status::unavailable("the gateway is ending"));
    }
    Ok(down)
}

/// Why a link was not opened, for who waits for one and may have dialled what is no gateway for clients.
fn refusal(status: &Status) -> String {
    match (status.source(), status.code()) {
        // The connection broke.
        (Some(cause), _) => root(cause),
        (None, Code::Unimplemented) => {
            "what listens there is no gateway: it does not know turno.v1.Calls/Link".to_owned()
        }
        (None, Code::Unauthenticated) => {
            format!("{}; if this is its port for nodes, clients have one of their own", status.message())
        }
        (None, _) => status.message().to_owned(),
    }
}

/// A link that is given calls, until this is dropped.
struct Listed<'a> {
    links: &'a Links,
    link: Arc<Link>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.links.remove(&self.link);
    }
}

/// The end of a link.
struct Over(Arc<Link>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Link {
    pub(super) fn new(gateway: &str, endpoint: Endpoint, window_of_streams: u32) -> Self {
        Self {
            gateway: gateway.to_owned(),
            room: Semaphore::new(CALLS_WAITING),
            ended: CancellationToken::new(),
            pending: Mutex::default(),
            refusals: Refusals::default(),
            max_body: AtomicUsize::new(0),
            bodies: Beside::new(endpoint.clone()),
            streams: Beside::new(endpoint.clone().initial_stream_window_size(window_of_streams)),
            tickets: Beside::new(endpoint),
        }
    }

    /// Its address.
    pub(crate) fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Completes once it is to be given no more: it broke, or its gateway is leaving.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Above it, a call goes by plain gRPC.
    pub(crate) fn max_body(&self) -> usize {
        self.max_body.load(Ordering::Relaxed)
    }

    /// Calls that wait for their answers, be it by plain gRPC, and those that were refused a short time ago.
    pub(crate) fn load(&self) -> usize {
        self.pending.lock().len() + self.bodies.under_way() + self.refusals.weight()
    }

    /// The same for one more stream, which is to go where fewer are open. Calls do not ask for them: most are quiet.
    pub(crate) fn load_of_streams(&self) -> usize {
        self.load() + self.streams.under_way()
    }

    /// Sends a call and waits for its outcome. Dropping the future cancels the call.
    pub(crate) async fn call(&self, call: &Call) -> Result<Outcome, Lost> {
        let unsent = Lost { may_have_run: false };
        places::take(&self.room).await.ok_or(unsent)?.forget();
        let (reply, outcome) = oneshot::channel();
        let (number, writer) = {
            let mut pending = self.pending.lock();
            (pending.add(call.path, call.invocation(), reply).ok_or(unsent)?, pending.writer())
        };
        writer.into_iter().for_each(Waker::wake);
        let mut sent = Sent { link: self, call: number, done: false };
        let outcome = outcome.await;
        sent.done = true;
        outcome.unwrap_or(Err(Lost { may_have_run: true }))
    }

    fn cancel(&self, call: u64) {
        let writer = {
            let mut pending = self.pending.lock();
            pending.cancel(call);
            pending.writer()
        };
        writer.into_iter().for_each(Waker::wake);
    }

    /// Hands answers to those who wait; answers whether the gateway is leaving.
    async fn take(&self, frame: OutcomesFrame) -> bool {
        let mut parts = Parts::of(frame.outcomes.len());
        for outcome in frame.outcomes {
            parts.step().await;
            let reply = self.pending.lock().take(outcome.call);
            if let Some(reply) = reply {
                // The caller may have gone meanwhile.
                let _gone = reply.send(Ok(outcome));
            }
        }
        frame.leaving
    }

    /// It broke.
    fn lost(&self, status: &Status) -> Error {
        Error::Lost { gateway: self.gateway.clone(), reason: status.message().to_owned() }
    }

    /// No call is taken any more, and the stream up ends once none is left. What has not left goes elsewhere.
    fn leave(&self) {
        self.room.close();
        self.ended.cancel();
        let (unsent, writer) = {
            let mut pending = self.pending.lock();
            (pending.leave(), pending.writer())
        };
        writer.into_iter().for_each(Waker::wake);
        lose(unsent, Lost { may_have_run: false });
    }

    pub(super) fn close(&self) {
        self.leave();
        let (sent, writer) = {
            let mut pending = self.pending.lock();
            (pending.take_sent(), pending.writer())
        };
        writer.into_iter().for_each(Waker::wake);
        lose(sent, Lost { may_have_run: true });
    }

    /// So many calls wait for the writer.
    pub(crate) fn gathered(&self) -> usize {
        self.pending.lock().gathered()
    }

    /// For the writer: what has gathered.
    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<CallsFrame>> {
        let mut pending = self.pending.lock();
        while let Some((frame, taken)) = pending.next_frame() {
            self.room.add_permits(taken);
            // Empty when all callers have gone meanwhile.
            if frame != CallsFrame::default() {
                return Poll::Ready(Some(frame));
            }
        }
        if pending.is_over() {
            return Poll::Ready(None);
        }
        pending.wait(cx.waker());
        Poll::Pending
    }
}

fn lose(replies: Vec<Reply>, lost: Lost) {
    for reply in replies {
        // A caller that has gone meanwhile.
        let _gone = reply.send(Err(lost));
    }
}

/// A call that has left; cancelled when dropped before it is done.
struct Sent<'a> {
    link: &'a Link,
    call: u64,
    done: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.link.cancel(self.call);
        }
    }
}
