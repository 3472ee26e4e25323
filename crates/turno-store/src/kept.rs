//! The store that both databases are behind: what needs no database is done here, on the caller's task (checksums, large
//! bodies), and what changes something goes to the writer.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future;
use uuid::Uuid;

use crate::body::{Body, Granted, PIECE};
use crate::change::{Answer, Answered, Change, Ending, Submission};
use crate::error::Error;
use crate::failures::DAMAGED;
use crate::group::Writer;
use crate::part::{Log, Parcel, Part};
use crate::query::{Page, Query, Queue, Room};
use crate::seal::Seal;
use crate::state::State;
use crate::store::{Cancelled, Claimed, Counts, News, Store, Submitted};
use crate::ticket::{
    Attempt, AttemptRecord, Failure, GatewayId, NewTicket, Outcome, Progress, Ticket, TicketId,
};

/// What is damaged and cannot be put down as dead is due again after so long.
const PUT_OFF: Duration = Duration::from_secs(5);

/// What is only read. The promises are those of [`Store`]'s methods of the same names.
pub(crate) trait Read: Clone + Send + Sync + 'static {
    fn get(&self, ticket: TicketId) -> impl Future<Output = Result<Ticket, Error>> + Send;
    fn request(&self, ticket: TicketId) -> impl Future<Output = Result<Bytes, Error>> + Send;
    fn whole(&self, ticket: TicketId) -> impl Future<Output = Result<(Ticket, Option<Bytes>), Error>> + Send;
    fn attempts(&self, ticket: TicketId) -> impl Future<Output = Result<Vec<AttemptRecord>, Error>> + Send;
    fn list(&self, query: &Query) -> impl Future<Output = Result<Page, Error>> + Send;
    fn counts(&self) -> impl Future<Output = Result<Counts, Error>> + Send;
    fn knows_method(&self, method: &str) -> impl Future<Output = Result<bool, Error>> + Send;
    fn changed(&self) -> impl Future<Output = News> + Send;
    fn part(
        &self,
        ticket: TicketId,
        log: Log,
        number: u32,
    ) -> impl Future<Output = Result<Option<Part>, Error>> + Send;
    fn heads(
        &self,
        ticket: TicketId,
        log: Log,
        from: u32,
        most: u32,
    ) -> impl Future<Output = Result<Vec<Bytes>, Error>> + Send;
    /// The request of a ticket that was claimed, looked at.
    fn claimed(&self, granted: Granted) -> impl Future<Output = Result<Claimed, Error>> + Send;
}

/// A store over a writer and a reader.
pub(crate) struct Kept<R> {
    pub(crate) writer: Writer,
    pub(crate) reader: R,
}

#[async_trait]
impl<R: Read> Store for Kept<R> {
    async fn submit(&self, ticket: NewTicket) -> Result<Submitted, Error> {
        let request = &ticket.request;
        let seal = Seal::of_request(ticket.id, &ticket.method, &ticket.tenant, &ticket.metadata, request);
        let demand = Seal::of_demand(&ticket.method, request);
        let labels = (!ticket.labels.is_empty()).then(|| serde_json::json!(ticket.labels).to_string());
        let request = self.ahead(Body::of(request.clone()), false).await?;
        let written = request.clone();
        let submission = Box::new(Submission { ticket, labels, seal, demand, request });
        match self.order(Change::Submit(submission), &written).await? {
            Answer::Submitted(submitted @ Submitted::Stored { .. }) => Ok(submitted),
            answer => {
                self.discard(&written).await;
                match answer {
                    Answer::Submitted(known) => Ok(known),
                    _ => Err(misplaced()),
                }
            }
        }
    }

    async fn put_input(&self, ticket: TicketId, number: u32, part: Part) -> Result<(), Error> {
        let (parcel, written) = self.packed(ticket, Log::Inputs, number, part).await?;
        self.order(Change::Input { ticket, number, parcel }, &written).await.map(|_| ())
    }

    async fn drop_inputs(&self, ticket: TicketId) -> Result<(), Error> {
        self.writer.order(Change::DropInputs(ticket)).await.map(|_| ())
    }

    async fn append_results(
        &self,
        attempt: Attempt,
        number: u32,
        part: Part,
        done: u64,
    ) -> Result<(), Error> {
        let (parcel, written) = self.packed(attempt.ticket, Log::Results, number, part).await?;
        self.order(Change::Results { attempt, number, parcel, done }, &written).await.map(|_| ())
    }

    async fn part(&self, ticket: TicketId, log: Log, number: u32) -> Result<Option<Part>, Error> {
        self.reader.part(ticket, log, number).await
    }

    async fn heads(&self, ticket: TicketId, log: Log, from: u32, most: u32) -> Result<Vec<Bytes>, Error> {
        self.reader.heads(ticket, log, from, most).await
    }

    async fn claim(&self, gateway: GatewayId, room: Room) -> Result<Vec<Claimed>, Error> {
        let Answer::Claimed(granted) = self.writer.order(Change::Claim { gateway, room }).await? else {
            return Err(misplaced());
        };
        let mut unclaimed = Unclaimed::new(&self.writer, &granted);
        let claimed = future::join_all(granted.into_iter().map(|granted| self.look(granted))).await;
        let claimed = claimed.into_iter().collect::<Result<Vec<_>, _>>()?;
        unclaimed.attempts.clear();
        Ok(claimed.into_iter().flatten().collect())
    }

    async fn next_due(&self, full: Vec<Queue>, unserved: Vec<String>) -> Result<Option<Duration>, Error> {
        let (mut soonest, mut round) = (None, None);
        // What else waits goes in between.
        loop {
            let part = Change::NextDue { full: full.clone(), unserved: unserved.clone(), round };
            let Answer::Due(next, further) = self.writer.order(part).await? else {
                return Err(misplaced());
            };
            soonest = soonest.into_iter().chain(next).min();
            if further.is_none() {
                return Ok(soonest);
            }
            round = further;
        }
    }

    async fn finish(&self, attempt: Attempt, outcome: Outcome) -> Result<(), Error> {
        let state = outcome.state();
        let (failure, response) = match outcome {
            Outcome::Done(response) => {
                let seal = Seal::of_response(attempt.ticket, &response);
                (None, Some((self.ahead(Body::of(response), true).await?, seal)))
            }
            Outcome::Failed(failure) | Outcome::Dead(failure) => (Some(failure), None),
            Outcome::Cancelled => (None, None),
        };
        let written = response.as_ref().map(|(body, _)| body.clone());
        let ending = Box::new(Ending { state, failure, response });
        let finish = Change::Finish { attempt, ending };
        let answered = match written {
            Some(written) => self.order(finish, &written).await,
            None => self.writer.order(finish).await,
        };
        answered.map(|_| ())
    }

    async fn retry(&self, attempt: Attempt, failure: Failure, pause: Duration) -> Result<State, Error> {
        match self.writer.order(Change::Retry { attempt, failure, pause }).await? {
            Answer::State(state) => Ok(state),
            _ => Err(misplaced()),
        }
    }

    async fn release(&self, attempt: Attempt, pause: Duration) -> Result<(), Error> {
        self.writer.order(Change::Release { attempt, pause }).await.map(|_| ())
    }

    async fn progress(&self, attempt: Attempt, progress: Progress) -> Result<(), Error> {
        self.writer.order(Change::Progress(attempt, progress)).await.map(|_| ())
    }

    async fn cancel(&self, ticket: TicketId) -> Result<Cancelled, Error> {
        match self.writer.order(Change::Cancel(ticket)).await? {
            Answer::Cancelled(cancelled) => Ok(cancelled),
            _ => Err(misplaced()),
        }
    }

    async fn delete(&self, ticket: TicketId) -> Result<(), Error> {
        self.writer.order(Change::Delete(ticket)).await.map(|_| ())
    }

    async fn edit(
        &self,
        ticket: TicketId,
        request: Option<Bytes>,
        retries: Option<u32>,
    ) -> Result<Ticket, Error> {
        one(self.writer.order(Change::Edit { ticket, request, retries }).await?)
    }

    async fn redrive(&self, dead: TicketId, new: TicketId) -> Result<Ticket, Error> {
        one(self.writer.order(Change::Redrive { dead, new }).await?)
    }

    async fn get(&self, ticket: TicketId) -> Result<Ticket, Error> {
        self.reader.get(ticket).await
    }

    async fn request(&self, ticket: TicketId) -> Result<Bytes, Error> {
        self.reader.request(ticket).await
    }

    async fn whole(&self, ticket: TicketId) -> Result<(Ticket, Option<Bytes>), Error> {
        self.reader.whole(ticket).await
    }

    async fn attempts(&self, ticket: TicketId) -> Result<Vec<AttemptRecord>, Error> {
        self.reader.attempts(ticket).await
    }

    async fn list(&self, query: &Query) -> Result<Page, Error> {
        self.reader.list(query).await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.reader.counts().await
    }

    async fn knows_method(&self, method: &str) -> Result<bool, Error> {
        self.reader.knows_method(method).await
    }

    async fn expire(&self, most: u32) -> Result<u64, Error> {
        match self.writer.order(Change::Expire(most)).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(misplaced()),
        }
    }

    async fn renew(&self, gateway: GatewayId, lease: Duration) -> Result<(), Error> {
        self.writer.order(Change::Renew { gateway, lease }).await.map(|_| ())
    }

    async fn last_ends(&self) -> Result<(), Error> {
        self.writer.order(Change::LastEnds).await.map(|_| ())
    }

    async fn resign(&self, gateway: GatewayId) -> Result<(), Error> {
        self.writer.order(Change::Resign(gateway)).await.map(|_| ())
    }

    async fn disown(&self, gateway: GatewayId, known: Vec<TicketId>, after: Duration) -> Result<u64, Error> {
        match self.writer.order(Change::Disown { gateway, known, after }).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(misplaced()),
        }
    }

    async fn changed(&self) -> News {
        self.reader.changed().await
    }
}

impl<R: Read> Kept<R> {
    /// A part, sealed; what is too long for one transaction is written already.
    async fn packed(
        &self,
        ticket: TicketId,
        log: Log,
        number: u32,
        Part { head, body }: Part,
    ) -> Result<(Box<Parcel>, Body), Error> {
        let lies = self.ahead(Body::of_part(body.clone()), false).await?;
        let parcel = Box::new(Parcel::new(ticket, log, number, head, &body, lies.clone()));
        Ok((parcel, lies))
    }

    /// Makes a change that needs what was written ahead of it. If it was not made, that is taken back. Where nobody knows
    /// whether it was, the change may need it: then it stays, and if it was not made, the sweep finds it.
    async fn order(&self, change: Change, written: &Body) -> Answered {
        let answered = self.writer.order(change).await;
        if let Err(error) = &answered {
            self.take_back(written, error).await;
        }
        answered
    }

    /// Writes a long body before the change that needs it. Where there is no space for that, it goes with its change: one that
    /// adds nothing after all, as of a key that is known, is made, and the others are refused.
    async fn ahead(&self, body: Body, is_of_end: bool) -> Result<Body, Error> {
        if !body.is_long() {
            return Ok(body);
        }
        let Body::Beside(name, bytes) = &body else { return Ok(body) };
        let written = Body::Ahead(*name, body.length());
        for (number, start) in (0..).zip((0..bytes.len()).step_by(PIECE)) {
            let data = bytes.slice(start..bytes.len().min(start + PIECE));
            let piece = Change::Piece { body: *name, number, data, is_of_end };
            if let Err(error) = self.writer.order(piece).await {
                self.take_back(&written, &error).await;
                if matches!(error, Error::Full) {
                    // Under another name: what cannot be taken back keeps this one.
                    return Ok(Body::Beside(Uuid::now_v7(), bytes.clone()));
                }
                return Err(error);
            }
        }
        Ok(written)
    }

    /// Takes back what was written ahead of what has failed, unless the store is silent: whoever is to hear of that would wait
    /// for it once more.
    async fn take_back(&self, body: &Body, error: &Error) {
        if !error.is_silence() {
            self.discard(body).await;
        }
    }

    /// Takes back what was written ahead. If that fails too, the sweep will find it.
    async fn discard(&self, body: &Body) {
        if let Body::Ahead(name, _) = body
            && let Err(error) = self.writer.order(Change::Discard(*name)).await
        {
            tracing::debug!(%error, "a body that nobody needs stays for the sweep");
        }
    }

    /// A ticket that was claimed, if it can be run; a damaged one is dead from here on.
    async fn look(&self, granted: Granted) -> Result<Option<Claimed>, Error> {
        let attempt = granted.claimed.attempt;
        match self.reader.claimed(granted).await {
            Ok(claimed) => Ok(Some(claimed)),
            Err(Error::Damaged(_)) => {
                self.condemn(attempt).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Where that finds no space, it is due again later: the others that were claimed with it run all the same.
    async fn condemn(&self, attempt: Attempt) {
        let failure = Some(DAMAGED.clone());
        let ending = Box::new(Ending { state: State::Dead, failure, response: None });
        let Err(error) = self.writer.order(Change::Finish { attempt, ending }).await else {
            tracing::error!(ticket = %attempt.ticket, "it is dead: its request is damaged");
            return;
        };
        tracing::warn!(ticket = %attempt.ticket, %error, "its request is damaged, and it cannot be put down as dead yet");
        if let Err(error) = self.writer.order(Change::Release { attempt, pause: PUT_OFF }).await {
            // Whoever compares what it has with what is on record finds it.
            tracing::warn!(ticket = %attempt.ticket, %error, "nor can it be put off");
        }
    }
}

/// Attempts that have begun and that nobody has heard of yet: if this is dropped, they are given back.
struct Unclaimed {
    writer: Writer,
    attempts: Vec<Attempt>,
}

impl Unclaimed {
    fn new(writer: &Writer, granted: &[Granted]) -> Self {
        let attempts = granted.iter().map(|granted| granted.claimed.attempt).collect();
        Self { writer: writer.clone(), attempts }
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let attempts = std::mem::take(&mut self.attempts);
        if attempts.is_empty() {
            return;
        }
        let writer = self.writer.clone();
        turno_runtime::task::spawn("turno.store.release", async move {
            for attempt in attempts {
                if let Err(error) = writer.order(Change::given_back(attempt)).await {
                    tracing::warn!(%error, "an attempt that nobody heard of is not given back");
                }
            }
        });
    }
}

/// A page does not fail for one damaged row: who asks for that one is told.
pub(crate) fn readable(tickets: impl Iterator<Item = Result<Ticket, Error>>) -> impl Iterator<Item = Ticket> {
    tickets.filter_map(|ticket| {
        ticket.inspect_err(|error| tracing::error!(%error, "a ticket is left out of a listing")).ok()
    })
}

fn one(answer: Answer) -> Result<Ticket, Error> {
    match answer {
        Answer::Ticket(ticket) => Ok(*ticket),
        Answer::NoSpace => Err(Error::Full),
        _ => Err(misplaced()),
    }
}

/// Each change has its own kind of answer; a ledger that mixes them up is broken.
fn misplaced() -> Error {
    Error::Unavailable("the writer has answered something else".into())
}

#[cfg(test)]
mod tests;
