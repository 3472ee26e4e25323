//! The results of a map as a client reads them: what is on disk, and what comes.

use futures_util::stream::{self, Stream};
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, Status};
use turno_proto::google::longrunning::Operation;
use turno_proto::google::longrunning::operation::Result as Ending;
use turno_proto::v1::MapResponse;
use turno_store::{Inputs, Log, TicketId};

use super::attempt::head_of;
use super::results::Tally;
use crate::admission::Permit;
use crate::tickets::board::Watcher;
use crate::tickets::{Tickets, refusal};

/// Heads that are read at once.
const HEADS: u32 = 256;
/// The store is asked again after so long, whatever is heard.
const ASK_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// A client that reads.
struct Reading {
    tickets: Tickets,
    ticket: TicketId,
    inputs: Inputs,
    watcher: Watcher,
    /// Of the parts that it has read.
    tally: Tally,
    /// Results of the next part that it has already.
    skip: u64,
    ended: bool,
    _permit: Permit,
}

impl Tickets {
    /// The results from the one on that has `from` before it, until the map has ended.
    pub(crate) async fn read_map(
        &self,
        ticket: TicketId,
        from: u64,
    ) -> Result<impl Stream<Item = Result<MapResponse, Status>> + Send + use<>, Status> {
        let permit = self.0.around.admission.admit()?;
        let watcher = self.0.board.watch(ticket);
        let found = self.store().get(ticket).await.map_err(refusal::status)?;
        let inputs = found.inputs.ok_or_else(|| {
            Status::failed_precondition(format!(
                "ticket {ticket} is no map: it has one response, and no results"
            ))
        })?;
        let (tally, skip) = self.passed(ticket, from).await?;
        let reading = Reading {
            tickets: self.clone(),
            ticket,
            inputs,
            watcher,
            tally,
            skip,
            ended: false,
            _permit: permit,
        };
        Ok(stream::unfold(reading, async |mut reading| {
            let next = reading.next().await?;
            reading.ended |= next.is_err();
            Some((next, reading))
        }))
    }

    /// The parts that lie before a result, and how many results before it are in its part.
    async fn passed(&self, ticket: TicketId, from: u64) -> Result<(Tally, u64), Status> {
        let mut tally = Tally::default();
        loop {
            let heads = self.store().heads(ticket, Log::Results, tally.parts, HEADS).await;
            let heads = heads.map_err(refusal::status)?;
            let is_last = heads.is_empty();
            for head in heads {
                let head = head_of(head)?;
                if tally.done() + head.succeeded + head.failed > from {
                    let skip = from - tally.done();
                    return Ok((tally, skip));
                }
                tally.add(&head);
            }
            if is_last {
                let ahead = from - tally.done();
                return Ok((tally, ahead));
            }
        }
    }
}

impl Reading {
    /// What comes next; `None` behind the last.
    async fn next(&mut self) -> Option<Result<MapResponse, Status>> {
        while !self.ended {
            match self.part().await {
                Ok(Some(results)) if results.results.is_empty() => continue,
                Ok(Some(results)) => return Some(Ok(results)),
                Err(status) => return Some(Err(status)),
                Ok(None) => {}
            }
            match self.tickets.current(self.ticket).await {
                // What it had stored last was stored before it ended.
                Ok(now) if now.done => match self.part().await {
                    Ok(Some(results)) => return Some(Ok(results)),
                    Ok(None) => return Some(self.end(now)),
                    Err(status) => return Some(Err(status)),
                },
                Ok(_) => {}
                Err(status) => return Some(Err(status)),
            }
            self.tickets.change(&mut self.watcher, Instant::now() + ASK_EVERY).await;
            if self.tickets.0.closing.is_cancelled() {
                return Some(Err(Status::unavailable("the gateway is ending: read on when it is back")));
            }
        }
        None
    }

    /// The next part, if it is on disk.
    async fn part(&mut self) -> Result<Option<MapResponse>, Status> {
        let part = self.tickets.store().part(self.ticket, Log::Results, self.tally.parts).await;
        let Some(part) = part.map_err(refusal::status)? else { return Ok(None) };
        self.tally.add(&head_of(part.head)?);
        let mut response = MapResponse::decode(part.body)
            .map_err(|_| Status::data_loss("a part of the results cannot be read"))?;
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(response.results.len());
        response.results.drain(..skip);
        self.skip -= skip as u64;
        Ok(Some(response))
    }

    fn end(&mut self, now: Operation) -> Result<MapResponse, Status> {
        self.ended = true;
        match now.result {
            Some(Ending::Error(error)) => {
                let details = error.encode_to_vec().into();
                Err(Status::with_details(Code::from_i32(error.code), error.message, details))
            }
            _ => {
                Ok(MapResponse { results: Vec::new(), summary: Some(self.tally.summary(self.inputs.items)) })
            }
        }
    }
}
