//! Follows a ticket: a stream of what is known of it, that goes on by another gateway when one is gone.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _, stream};
use turno_proto::v1::{TicketMetadata, WatchRequest};

use crate::ticket::claim::Claim;
use crate::ticket::rpcs;
use crate::ticket::snapshot::Snapshot;
use crate::ticket::standing::Standing;

/// A ticket as it is now, and again at every change of its state, its attempts and its progress that is seen; the last
/// one is final. A reader that is slow may miss what came between, never the end. An error ends it too.
///
/// It is a [`Stream`], and has a [`next`](Self::next) of its own for who has no use for the trait.
pub struct Changes(Pin<Box<dyn Stream<Item = crate::Result<Snapshot>> + Send>>);

impl Changes {
    /// The next snapshot; `None` behind the final one, or behind an error.
    ///
    /// # Errors
    /// `NOT_FOUND`: there is no such ticket, or it is forgotten. `FAILED_PRECONDITION`: it is one of another method.
    /// `UNAVAILABLE`: no gateway for as long as the ticket's patience lasts; the ticket goes on.
    pub async fn next(&mut self) -> Option<crate::Result<Snapshot>> {
        self.0.next().await
    }
}

impl Stream for Changes {
    type Item = crate::Result<Snapshot>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

impl Claim {
    /// Follows it to its end. Nothing is asked before the stream is.
    pub(super) fn watch(&self) -> Changes {
        let (claim, standing) = (self.clone(), Standing::new(self.clone()));
        let following = Following { claim, standing, seen: None, over: false };
        Changes(Box::pin(stream::unfold(following, async |mut following| {
            let snapshot = following.next().await?;
            Some((snapshot, following))
        })))
    }
}

struct Following {
    claim: Claim,
    standing: Standing<rpcs::Follow>,
    /// What came last.
    seen: Option<TicketMetadata>,
    over: bool,
}

impl Following {
    async fn next(&mut self) -> Option<crate::Result<Snapshot>> {
        if self.over {
            return None;
        }
        let change = self.change().await;
        let read = change.and_then(|metadata| Snapshot::of(self.claim.name.clone(), metadata));
        self.over = read.as_ref().map_or(true, |snapshot| snapshot.state.is_final());
        if self.over {
            self.standing.end();
        }
        Some(read)
    }

    /// The ticket when it is not as it was.
    async fn change(&mut self) -> crate::Result<TicketMetadata> {
        loop {
            let question = || WatchRequest { name: self.claim.name.clone() };
            let operation = self.standing.word(question).await?;
            let metadata = self.claim.sort.checked(&operation)?;
            // A gateway begins with how it is, which the one before may have said.
            if self.seen.as_ref() != Some(&metadata) {
                self.seen = Some(metadata.clone());
                return Ok(metadata);
            }
        }
    }
}
