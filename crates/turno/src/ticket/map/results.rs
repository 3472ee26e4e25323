//! Results as they are read: in the order in which they were stored, each once, by one gateway after another if need be.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt as _, stream};
use turno_proto::v1::{MapResponse, ReadMapRequest};

use crate::map::{Answers, Summary};
use crate::rpc::Unary;
use crate::ticket::claim::Claim;
use crate::ticket::rpcs;
use crate::ticket::standing::Standing;

/// A stream of what has come of a map's requests, each with the number of its request, from 0 on: what is on disk, then
/// what comes until the map has ended. A request that failed has its own error beside its number.
///
/// An error of the stream itself is its end: `ABORTED` when failures have stopped the map, `CANCELLED` when somebody has,
/// what the last attempt said when the map is dead; `NOT_FOUND` when there is no such ticket, `FAILED_PRECONDITION` when it
/// is one of another method or none of a map; `UNAVAILABLE` when no gateway was there, or had room, for as long as the
/// ticket's patience lasts: the ticket goes on, and can be read on from [`position`](Self::position).
///
/// Who stops reading, or drops it, holds nothing up.
pub struct Results<R> {
    answers: Answers<R>,
    position: u64,
}

impl<R> Results<R> {
    pub(super) fn new(claim: Claim, position: u64) -> Self {
        let standing = Standing::new(claim.clone());
        let reading = Reading { claim, standing, position, is_known: false, over: false };
        let messages = stream::unfold(reading, async |mut reading| {
            let message = reading.next().await?;
            Some((message, reading))
        });
        Self { answers: Answers::new(messages), position }
    }

    /// How many results were read by now, with those before this stream: where
    /// [`results_from`](crate::MapTicket::results_from) goes on, in any process. It is not the number of a request.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What became of the map; known once the stream has ended, if the map is done or its failures have stopped it.
    pub fn summary(&self) -> Option<Summary> {
        self.answers.summary()
    }
}

impl<R: Unary> Stream for Results<R> {
    type Item = crate::Result<(u64, crate::Result<R::Response>)>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.answers.poll_next_unpin(cx));
        self.position += u64::from(matches!(next, Some(Ok(_))));
        Poll::Ready(next)
    }
}

impl<R> fmt::Debug for Results<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("position", &self.position).finish_non_exhaustive()
    }
}

/// The messages of gateways.
struct Reading {
    claim: Claim,
    standing: Standing<rpcs::ReadMap>,
    /// Results that have come.
    position: u64,
    /// It is the ticket that it has to be: results do not say what they are results of.
    is_known: bool,
    over: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<crate::Result<MapResponse>> {
        if self.over {
            return None;
        }
        let message = self.message().await;
        self.over = message.as_ref().map_or(true, |message| message.summary.is_some());
        if self.over {
            self.standing.end();
        }
        Some(message)
    }

    async fn message(&mut self) -> crate::Result<MapResponse> {
        if !self.is_known {
            self.claim.snapshot().await?;
            self.is_known = true;
        }
        let question = || ReadMapRequest { name: self.claim.name.clone(), from: self.position };
        let message = self.standing.word(question).await?;
        self.position += message.results.len() as u64;
        Ok(message)
    }
}
