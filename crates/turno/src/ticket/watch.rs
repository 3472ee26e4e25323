//! Follows a ticket: a stream of what is known of it, that goes on by another gateway when one is gone.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Status, Streaming};
use turno_proto::google::longrunning::Operation;
use turno_proto::v1::{TicketMetadata, WatchRequest};

use crate::calls::Mesh;
use crate::rpc::Unary;
use crate::ticket::desk::{Trouble, is_gone};
use crate::ticket::snapshot::Snapshot;
use crate::ticket::{Ticket, rpcs, wait};

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

impl<R: Unary> Ticket<R> {
    /// Follows it to its end. Nothing is asked before the stream is.
    pub fn watch(&self) -> Changes {
        let trouble = Trouble::new(self.patience);
        let following = Following { ticket: self.clone(), trouble, seen: None, over: false, source: None };
        Changes(Box::pin(stream::unfold(following, async |mut following| {
            let snapshot = following.next().await?;
            Some((snapshot, following))
        })))
    }
}

struct Following<R> {
    ticket: Ticket<R>,
    trouble: Trouble,
    /// What came last.
    seen: Option<TicketMetadata>,
    over: bool,
    source: Option<Streaming<Operation>>,
}

impl<R: Unary> Following<R> {
    async fn next(&mut self) -> Option<crate::Result<Snapshot>> {
        if self.over {
            return None;
        }
        let change = self.change().await.map_err(|status| self.ticket.lost(status));
        let read = change.and_then(|metadata| Snapshot::of(self.ticket.name.clone(), metadata));
        self.over = read.as_ref().map_or(true, |snapshot| snapshot.state.is_final());
        Some(read)
    }

    /// The ticket when it is not as it was.
    async fn change(&mut self) -> crate::Result<TicketMetadata> {
        loop {
            let new = match self.source {
                Some(_) => None,
                None => Some(self.ticket.desk.mesh_within(self.ticket.patience).await?),
            };
            match self.word(new).await {
                Ok(operation) => {
                    self.trouble.over();
                    let metadata = wait::checked::<R>(&operation)?;
                    // A gateway begins with how it is, which the one before may have said.
                    if self.seen.as_ref() != Some(&metadata) {
                        self.seen = Some(metadata.clone());
                        return Ok(metadata);
                    }
                }
                Err(status) if is_gone(&status) => {
                    self.source = None;
                    self.trouble.pause(status).await?;
                }
                Err(status) => return Err(status),
            }
        }
    }

    /// What a gateway says next, a new one or the one before.
    async fn word(&mut self, new: Option<Mesh>) -> crate::Result<Operation> {
        if let Some(mesh) = new {
            let request = self.ticket.desk.request(WatchRequest { name: self.ticket.name.clone() });
            self.source = Some(mesh.server_streaming::<rpcs::Follow>(request).await?);
        }
        let source = self.source.as_mut().expect("there is a new one if there is none");
        let asked = Instant::now();
        let word = source.message().await;
        self.trouble.over_if_it_stood(asked.elapsed());
        word?.ok_or_else(|| Status::unavailable("the gateway is ending"))
    }
}
