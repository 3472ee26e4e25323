//! Calls whose caller, when it wants them stopped, waits until they have, and hears how far they are: tickets, and chunks
//! of maps, which tell nothing.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use turno_proto::mesh::v1::{Invocation, Progress};
use turno_runtime::task;

use crate::link::Link;
use crate::link::frames::Down;
use crate::link::pending::{Answer, Hold, Lost, Reply};
use crate::map::gate::Pass;

/// The other end of a call that is heard of.
#[derive(Clone)]
pub(crate) struct Hearing {
    /// Its node is told to stop it.
    pub(crate) stop: CancellationToken,
    /// It is given up as long as it is at no node.
    pub(crate) recall: CancellationToken,
    /// The method's last word about how far it is.
    pub(crate) progress: watch::Sender<Progress>,
}

impl Link {
    /// As [`Link::unary`]; but a call that is to stop is waited for until it has, and what it answers then still counts.
    pub(crate) async fn heard(
        self: &Arc<Self>,
        invocation: Invocation,
        hold: Option<Hold>,
        hearing: &Hearing,
    ) -> Result<Answer, Lost> {
        let (invocation, progress) =
            (Invocation { tell_progress: true, ..invocation }, hearing.progress.clone());
        let reply = |answer| Reply::Heard(answer, progress);
        self.until_stopped(invocation, hold, &hearing.stop, reply).await
    }

    /// The same, for who does not hear how far it is, and may have a gate for what is large.
    pub(crate) async fn stoppable(
        self: &Arc<Self>,
        invocation: Invocation,
        hold: Option<Hold>,
        pass: Option<Arc<Pass>>,
        stop: &CancellationToken,
    ) -> Result<Answer, Lost> {
        let reply = |answer| Reply::Map(answer, pass);
        self.until_stopped(invocation, hold, stop, reply).await
    }

    async fn until_stopped(
        self: &Arc<Self>,
        invocation: Invocation,
        hold: Option<Hold>,
        stop: &CancellationToken,
        reply: impl FnOnce(oneshot::Sender<Result<Answer, Lost>>) -> Reply + Send,
    ) -> Result<Answer, Lost> {
        let room = self.room().await?;
        let (sender, mut answer) = oneshot::channel();
        let mut sent = self.send(room, invocation, reply(sender), hold, None, None)?;
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = stop.cancelled() => {
                self.tell_cancel(sent.call);
                answer.await
            }
        };
        sent.done = true;
        answered.unwrap_or(Err(Lost { may_have_run: true }))
    }

    /// A node says how far a call is.
    pub(crate) fn progress(&self, progress: Progress) {
        if let Some(Reply::Heard(_, heard)) =
            self.pending.lock().get(&progress.call).and_then(|pending| pending.reply.as_ref())
        {
            heard.send_replace(progress);
        }
    }

    /// Tells the node to stop a call.
    pub(super) fn tell_cancel(self: &Arc<Self>, call: u64) {
        if let Err(mpsc::error::TrySendError::Full(down)) = self.down.try_send(Down::Cancel(call)) {
            let link = self.clone();
            task::spawn("gateway.cancel", async move {
                // A link that is gone needs no cancelling.
                let _gone = link.down.send(down).await;
            });
        }
    }
}
