//! A question that a gateway answers for as long as it stands: asked again by another gateway when one is gone.

use std::sync::Arc;
use std::time::Instant;

use tonic::{Status, Streaming};

use crate::client::streams::Place;
use crate::client::trouble::Trouble;
use crate::rpc::ServerStreaming;
use crate::ticket::claim::Claim;
use crate::ticket::desk::{is_gone, no_room};

/// Of one ticket.
pub(super) struct Standing<Q: ServerStreaming> {
    claim: Claim,
    trouble: Trouble,
    /// Among the streams of its client.
    place: Option<Arc<Place>>,
    source: Option<Streaming<Q::Response>>,
}

impl<Q: ServerStreaming> Standing<Q> {
    pub(super) fn new(claim: Claim) -> Self {
        let trouble = Trouble::new(claim.patience);
        Self { claim, trouble, place: None, source: None }
    }

    /// What a gateway says next. A new one is asked what `question` says by then.
    pub(super) async fn word(&mut self, question: impl Fn() -> Q::Request) -> crate::Result<Q::Response> {
        let word = self.next(question).await;
        if word.is_err() {
            self.end();
        }
        word
    }

    /// That was the last word: its place is for others.
    pub(super) fn end(&mut self) {
        (self.source, self.place) = (None, None);
    }

    async fn next(&mut self, question: impl Fn() -> Q::Request) -> crate::Result<Q::Response> {
        loop {
            match self.ask(&question).await? {
                Ok(word) => {
                    self.trouble.over();
                    return Ok(word);
                }
                Err(status) if is_gone(&status) && !is_told(&status) => {
                    self.source = None;
                    self.trouble.pause(status).await.map_err(|status| self.claim.lost(status))?;
                }
                Err(status) => return Err(status),
            }
        }
    }

    /// What the gateway says next, or that it is gone.
    ///
    /// # Errors
    /// There is none to be asked.
    async fn ask(&mut self, question: impl Fn() -> Q::Request) -> crate::Result<Result<Q::Response, Status>> {
        let source = match &mut self.source {
            Some(source) => source,
            empty => {
                let desk = &self.claim.desk;
                let mesh = desk.stream_mesh_within(self.trouble.left(), &mut self.place).await;
                let mesh = mesh.map_err(|status| self.claim.lost(status))?;
                let (asked, question) = (Instant::now(), desk.request(question()));
                let begun = mesh.server_streaming::<Q>(question);
                let begun = tokio::time::timeout(self.claim.longest_answer, begun).await;
                match self.trouble.heard(asked, begun) {
                    Ok(source) => empty.insert(source),
                    Err(status) => return Ok(Err(no_room(status))),
                }
            }
        };
        let asked = Instant::now();
        let word = source.message().await;
        self.trouble.over_if_it_stood(asked.elapsed());
        Ok(word.and_then(|word| word.ok_or_else(|| Status::unavailable("the gateway is ending"))))
    }
}

/// What a ticket has ended with has details, whatever its code; a gateway that is not there has none to give.
fn is_told(status: &Status) -> bool {
    !status.details().is_empty()
}
