//! Where tickets are asked for: a gateway of a client, or the one that a method's call came from. A gateway that is gone
//! is asked again once it, or another one, is there.

use std::error::Error as _;
use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;
use tokio::time::error::Elapsed;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use turno_proto::headers;

use crate::calls::Mesh;
use crate::client::Client;
use crate::client::call::asked;
use crate::context::Context;
use crate::node::dialer::{LONGEST_WAIT, waits};
use crate::rpc::Unary;

/// The way to a mesh's tickets, and the metadata that goes with every question about one.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(super) way: Way,
    pub(super) metadata: MetadataMap,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// A program.
    Client(Client),
    /// A method, in whose name it is asked.
    Method(Context),
}

/// How long a method waits for its gateway to store a ticket.
const PATIENCE_OF_A_METHOD: Duration = Duration::from_secs(5);

impl Desk {
    pub(super) fn plain(way: Way) -> Self {
        Self { way, metadata: MetadataMap::default() }
    }

    /// For a submit with this metadata, and until when it may take: a deadline is the submit's own, and none of the ticket.
    ///
    /// # Errors
    /// A deadline that is none, or a method that nobody waits for any more.
    pub(super) fn to_submit(way: Way, mut metadata: MetadataMap) -> crate::Result<(Self, Option<Instant>)> {
        let mut deadline = asked(&metadata)?;
        metadata.remove(headers::GRPC_TIMEOUT);
        if let Way::Method(ctx) = &way {
            ctx.checkpoint()?;
            deadline = deadline.into_iter().chain(ctx.deadline()).min();
        }
        Ok((Self { way, metadata }, deadline))
    }

    /// How long a submit waits for a gateway.
    pub(super) fn patience(&self) -> Duration {
        match &self.way {
            Way::Client(client) => client.patience(),
            Way::Method(_) => PATIENCE_OF_A_METHOD,
        }
    }

    /// A place to wait for the end of a ticket in: waits may not take all the streams of a connection.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        match &self.way {
            Way::Client(client) => client.place_to_wait().await,
            Way::Method(_) => None,
        }
    }

    /// A gateway, as soon as one is there, for what is left of patience.
    pub(super) async fn mesh_within(&self, left: Duration) -> crate::Result<Mesh> {
        match &self.way {
            Way::Client(client) => client.mesh_within(left).await,
            Way::Method(ctx) => Ok(ctx.mesh().clone()),
        }
    }

    /// A question in the name of who asks. No deadline of a method goes with it: a ticket outlives its method.
    pub(super) fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::from_parts(self.metadata.clone(), Default::default(), message);
        if let Way::Method(ctx) = &self.way {
            ctx.mesh().sign(&mut request, ctx);
        }
        request
    }

    /// Asks until a gateway answers, each for `longest` at most. What it answers when it is gone comes back only if none is
    /// there for so long as `patience` says; so does what `refused` makes to be told so.
    pub(super) async fn ask<R: Unary>(
        &self,
        message: R::Request,
        patience: Duration,
        longest: Duration,
        refused: fn(Status) -> Status,
    ) -> crate::Result<R::Response>
    where
        R::Request: Clone,
    {
        let mut trouble = Trouble::new(patience);
        loop {
            let mesh = self.mesh_within(trouble.left()).await?;
            let asked = Instant::now();
            let answered =
                tokio::time::timeout(longest, mesh.unary::<R>(self.request(message.clone()))).await;
            match trouble.heard(asked, answered).map_err(refused) {
                Err(status) if is_gone(&status) => trouble.pause(status).await?,
                answered => return answered,
            }
        }
    }
}

/// Counts the time without a gateway, from the first question on that was not answered.
pub(super) struct Trouble {
    patience: Duration,
    since: Option<Instant>,
    waits: Waits,
}

type Waits = Box<dyn Iterator<Item = Duration> + Send>;

/// A question that has stood for so long had a gateway to stand at: what dials gives up sooner.
const STOOD: Duration = Duration::from_secs(3);

impl Trouble {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, since: None, waits: Box::new(waits()) }
    }

    /// A gateway was there.
    pub(super) fn over(&mut self) {
        *self = Self::new(self.patience);
    }

    /// A question has ended without an answer after so long.
    pub(super) fn over_if_it_stood(&mut self, so_long: Duration) {
        if so_long >= STOOD {
            self.over();
        }
    }

    /// What is left of patience, for a gateway to come.
    pub(super) fn left(&self) -> Duration {
        self.left_at(Instant::now())
    }

    fn left_at(&self, now: Instant) -> Duration {
        let without = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.patience.saturating_sub(without)
    }

    /// What came of a question that had its time. A gateway that has said nothing by then has fallen silent, and was none
    /// from when it was asked.
    pub(super) fn heard<T>(
        &mut self,
        asked: Instant,
        answered: Result<crate::Result<T>, Elapsed>,
    ) -> crate::Result<T> {
        answered.unwrap_or_else(|_| {
            self.since = self.since.or(Some(asked));
            Err(Status::unavailable("the gateway has fallen silent"))
        })
    }

    /// Waits before a gateway is asked again, a little longer each time.
    ///
    /// # Errors
    /// What the last one said, when this has gone on for too long.
    pub(super) async fn pause(&mut self, status: Status) -> crate::Result<()> {
        let Some(pause) = self.next(Instant::now()) else { return Err(status) };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The next pause; `None` when patience is at its end.
    fn next(&mut self, now: Instant) -> Option<Duration> {
        self.since = self.since.or(Some(now));
        let left = self.left_at(now);
        let pause = self.waits.next().unwrap_or(LONGEST_WAIT);
        (!left.is_zero()).then(|| pause.min(left))
    }
}

/// Nobody has answered: the gateway says that it is not available, or the connection broke.
pub(super) fn is_gone(status: &Status) -> bool {
    // Only what this end of the connection has made up has a source.
    status.code() == Code::Unavailable || status.source().is_some()
}

/// A gateway that has no room for one question more is none that could be asked, for now. What a ticket has ended with is
/// never told so: it comes in an answer.
pub(super) fn no_room(refused: Status) -> Status {
    match refused.code() {
        Code::ResourceExhausted => Status::unavailable(refused.message()),
        _ => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, STOOD, Status, Trouble, is_gone};

    #[test]
    fn an_answer_is_told_from_none() {
        assert!(is_gone(&Status::unavailable("the gateway is ending")));
        assert!(is_gone(&Status::from_error(Box::new(std::io::Error::other("broken pipe")))));
        assert!(!is_gone(&Status::unknown("what a method says")));
        assert!(!is_gone(&Status::not_found("no such ticket")));
    }

    /// When patience is at its end, and how often it was asked until then.
    fn exhaust(trouble: &mut Trouble, mut now: Instant) -> (Instant, u32) {
        let mut asked = 1;
        while let Some(pause) = trouble.next(now) {
            (now, asked) = (now + pause, asked + 1);
        }
        (now, asked)
    }

    const PATIENCE: Duration = Duration::from_secs(3);

    #[test]
    fn patience_has_an_end() {
        let mut trouble = Trouble::new(PATIENCE);
        let began = Instant::now();
        let (ended, asked) = exhaust(&mut trouble, began);
        assert_eq!(ended - began, PATIENCE);
        assert!(asked > 4, "asked {asked} times");
    }

    #[test]
    fn what_waits_for_a_gateway_has_what_is_left_of_patience() {
        let (mut trouble, began) = (Trouble::new(PATIENCE), Instant::now());
        assert_eq!(trouble.left_at(began + PATIENCE), PATIENCE, "every gateway has answered so far");
        trouble.next(began).unwrap();
        assert_eq!(trouble.left_at(began + PATIENCE / 3), PATIENCE - PATIENCE / 3);
        assert_eq!(trouble.left_at(began + 2 * PATIENCE), Duration::ZERO);
        trouble.over();
        assert_eq!(trouble.left_at(began + 2 * PATIENCE), PATIENCE);
    }

    #[tokio::test]
    async fn silence_counts_from_the_question_on() {
        let (mut trouble, asked) = (Trouble::new(PATIENCE), Instant::now());
        let silent = tokio::time::timeout(Duration::ZERO, std::future::pending::<Result<(), Status>>()).await;
        assert!(is_gone(&trouble.heard(asked, silent).unwrap_err()));
        assert_eq!(trouble.left_at(asked + PATIENCE / 3), PATIENCE - PATIENCE / 3);
        assert_eq!(trouble.next(asked + PATIENCE), None);
    }

    #[test]
    fn a_question_that_stood_begins_it_anew() {
        let mut trouble = Trouble::new(PATIENCE);
        let (now, _) = exhaust(&mut trouble, Instant::now());
        trouble.over_if_it_stood(Duration::ZERO);
        assert_eq!(trouble.next(now), None);
        trouble.over_if_it_stood(STOOD);
        assert_eq!(exhaust(&mut trouble, now).0 - now, PATIENCE);
    }
}
