//! Sending without waiting, for clients that are linked: the answer goes straight to where the client's answers gather.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use turno_proto::mesh::v1::Invocation;

use crate::clients::Answer;
use crate::link::frames::Down;
use crate::link::pending::{self, Hold, Pending, Reply};
use crate::link::{Link, Sent};
use crate::unread::Reader;

impl Link {
    /// Sends an invocation whose answer is one message; `None` when that cannot be done at once. Dropping what this
    /// answers cancels the call, unless it is said to be done.
    pub(crate) fn send_now(
        self: &Arc<Self>,
        mut invocation: Invocation,
        hold: Option<Hold>,
        answer: Answer,
        reader: Option<Arc<Reader>>,
    ) -> Option<Sent> {
        if invocation.body.len() > self.carry_above {
            return None;
        }
        let room = self.down.try_reserve().ok()?;
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        invocation.call = call;
        let reply = Some(Reply::Client(answer));
        let (method, since) = (pending::observed(&invocation), Instant::now());
        let bytes = invocation.body.len();
        let pending =
            Pending { reply, reader, method, hold, bytes, body: None, messages: None, sent_at: since };
        if !self.keep(call, pending) {
            return None;
        }
        room.send(Down::Invoke(invocation));
        Some(Sent { link: self.clone(), call, since, done: false })
    }
}

impl Sent {
    /// The link that it went by.
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}
