//! Calls that have an HTTP/2 stream of their own: for a large body, in or out, and for the messages of a stream.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Code, Status};
use turno_proto::mesh::v1::{Kind, Outcome};
use turno_proto::status;
use turno_runtime::task;

use super::{Call, Link};
use crate::dispatch::Ends;
use crate::node::carry::Carry;
use crate::service::Handler;
use crate::sink::Said;
use crate::source::Source;

const MESSAGES_WAITING: usize = 4;

impl Link {
    /// Opens the call's own stream first: for its body, for its answer, or for both.
    pub(super) fn begin_carried(self: &Arc<Self>, call: Call, handler: &Handler, fetch: bool, body: Bytes) {
        let (kind, takes_stream) = (handler.kind(), handler.takes_stream());
        let (link, token) = (self.clone(), self.tracker.token());
        task::spawn("node.carry", async move {
            match link.open_carry(&call, fetch, body).await {
                Ok((carry, body)) if kind == Kind::Stream => {
                    link.start_stream(call, body, carry, takes_stream);
                }
                Ok((_, body)) => link.start(call, body, None, None),
                Err(status) => return link.answer(not_fetched(call.call, &status), Some(token)).ring(),
            }
            drop(token);
        });
    }

    async fn open_carry(&self, call: &Call, fetch: bool, body: Bytes) -> crate::Result<(Carry, Bytes)> {
        let cancelled = call.ctx.cancelled();
        let opening = async {
            let carry = self.carrier.open(call.call, 0).await?;
            let body = if fetch { carry.receive().await? } else { body };
            Ok((carry, body))
        };
        tokio::select! {
            opened = opening => opened,
            () = cancelled => Err(Status::cancelled("the caller has gone away")),
        }
    }

    /// Pumps what the method says into its carry, then the outcome behind it. What the method takes, it reads from the
    /// carry itself.
    fn start_stream(self: &Arc<Self>, call: Call, body: Bytes, carry: Carry, takes_stream: bool) {
        let (sink, mut said) = mpsc::channel(MESSAGES_WAITING);
        let source = takes_stream.then(|| Box::pin(carry.messages()) as Source);
        let (done, outcome) = tokio::sync::oneshot::channel();
        let (id, link, token) = (call.call, self.clone(), self.tracker.token());
        self.start(call, body, Some(Ends { source, sink }), Some(done));
        task::spawn("node.stream", async move {
            if pump(&mut said, &carry).await.is_err()
                && let Some((_, cancel)) = link.running.remove(&id)
            {
                // Nobody can read on: the method ends, and the link brings the outcome.
                cancel.cancel();
            }
            said.close();
            let Ok(outcome) = outcome.await else { return };
            if link.over.is_cancelled() {
                // The carry may outlive the link, but that the method was cancelled is not its caller's doing.
                return carry.abandon();
            }
            match carry.finish(outcome).await {
                Ok(()) => drop(link.running.remove(&id)),
                // The carry's connection may break while the link stands: then the link brings the end.
                Err(status) => {
                    let broken =
                        Status::unavailable(format!("the stream could not be carried: {}", status.message()));
                    link.answer(status::to_outcome(id, broken), Some(token)).ring();
                }
            }
        });
    }

    /// Sends an outcome whose body is too large for the link.
    pub(super) fn carry_answer(self: &Arc<Self>, mut outcome: Outcome, token: Option<TaskTrackerToken>) {
        if self.up.is_closed() {
            // The gateway that asked is gone, and has dealt with the call itself.
            return;
        }
        let link = self.clone();
        task::spawn("node.carry", async move {
            let (call, cost, body) = (outcome.call, outcome.cost, std::mem::take(&mut outcome.body));
            let sent = async {
                let carry = link.carrier.open(call, body.len()).await?;
                carry.send(body).await?;
                carry.finish(outcome).await
            };
            let Some(sent) = link.over.run_until_cancelled(sent).await else { return };
            if let Err(error) = sent {
                tracing::debug!(call, %error, "a large answer could not be delivered");
                let status =
                    Status::unavailable("the answer could not be carried to the gateway; the method has run");
                link.answers.leave(Outcome { cost, ..status::to_outcome(call, status) }, None).ring();
            }
            link.running.remove(&call);
            drop(token);
        });
    }
}

/// Until the method says no more; an error once its carry is broken, at once and not at the next message.
async fn pump(said: &mut mpsc::Receiver<Said>, carry: &Carry) -> crate::Result<()> {
    loop {
        let next = tokio::select! {
            next = said.recv() => next,
            () = carry.broken() => return Err(Status::unavailable("the stream's carry broke")),
        };
        match next {
            Some(Said::Begun) => carry.begin().await?,
            Some(Said::Message(message)) => carry.send(message).await?,
            None => return Ok(()),
        }
    }
}

/// Nothing of the call has run, and another node may fare better; unless its caller has gone.
fn not_fetched(call: u64, status: &Status) -> Outcome {
    let code = if status.code() == Code::Cancelled { Code::Cancelled } else { Code::Unavailable };
    let status = Status::new(code, format!("the request could not be fetched: {}", status.message()));
    status::not_started(call, status)
}
