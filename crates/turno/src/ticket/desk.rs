//! Where tickets are asked for: a gateway of a client, or the one that a method's call came from. A gateway that is gone
//! is asked again once it, or another one, is there.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use turno_proto::headers;

use crate::calls::Mesh;
use crate::client::Client;
use crate::client::call::asked;
use crate::client::streams::Place;
use crate::client::trouble::Trouble;
use crate::context::Context;
use crate::rpc::Unary;
use crate::unsent::never_sent;

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

    /// The same for one question that is a stream, or is answered by one: those of a client are counted, and this one has its
    /// place for as long as it is kept.
    pub(super) async fn stream_mesh_within(
        &self,
        left: Duration,
        kept: &mut Option<Arc<Place>>,
    ) -> crate::Result<Mesh> {
        match &self.way {
            Way::Client(client) => client.stream_mesh_within(left, kept).await,
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
    /// there for so long as `patience` says; so does what `refused` makes to be told so. It hears of each try.
    pub(super) async fn ask<R: Unary>(
        &self,
        message: R::Request,
        patience: Duration,
        longest: Duration,
        mut refused: impl FnMut(Status) -> Status,
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
            match trouble.heard(asked, answered).map_err(&mut refused) {
                Err(status) if is_gone(&status) => trouble.pause(status).await?,
                answered => return answered,
            }
        }
    }
}

/// Nobody has answered: the gateway says that it is not available, or the connection broke.
pub(super) fn is_gone(status: &Status) -> bool {
    // Only what this end of the connection has made up has a source.
    status.code() == Code::Unavailable || status.source().is_some()
}

/// What has come of a submit's tries: once one has broken off, nobody knows whether the ticket is stored, and what later tries
/// say is of themselves alone. A gateway that is sure that it has stored nothing says when to come again, in details.
#[derive(Default)]
pub(super) struct Doubt(Option<Status>);

impl Doubt {
    /// Of each try.
    pub(super) fn hear(&mut self, status: Status) -> Status {
        let may_be_stored = is_gone(&status) && !never_sent(&status) && status.details().is_empty();
        if self.0.is_none() && may_be_stored {
            self.0 = Some(status.clone());
        }
        status
    }

    /// In place of the last word. One that says what is wrong with the submit would have been said the first time too.
    pub(super) fn told(self, last: Status) -> Status {
        let is_of_one_try = is_gone(&last) || last.code() == Code::ResourceExhausted;
        self.0.filter(|_| is_of_one_try).unwrap_or(last)
    }
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
    use super::{Code, Doubt, Status, is_gone};

    #[test]
    fn an_answer_is_told_from_none() {
        assert!(is_gone(&Status::unavailable("the gateway is ending")));
        assert!(is_gone(&Status::from_error(Box::new(std::io::Error::other("broken pipe")))));
        assert!(!is_gone(&Status::unknown("what a method says")));
        assert!(!is_gone(&Status::not_found("no such ticket")));
    }

    /// What a submit is told in the end.
    fn told(tries: impl IntoIterator<Item = Status>) -> Status {
        let mut doubt = Doubt::default();
        let last = tries.into_iter().map(|status| doubt.hear(status)).last().unwrap();
        doubt.told(last)
    }

    #[test]
    fn a_later_try_does_not_say_what_became_of_an_earlier_one() {
        let refused = || Status::from_error(Box::new(tonic::ConnectError("refused".into())));
        let lost = || Status::unavailable("it may be stored");
        let sure = || Status::with_details(Code::Unavailable, "nothing was stored", "in 5 s".into());
        for last in [sure(), Status::resource_exhausted("the store is full: nothing was stored"), refused()] {
            assert_eq!(told([refused(), sure(), lost(), last]).message(), "it may be stored");
        }
        assert_eq!(told([refused(), sure()]).message(), "nothing was stored");
        let taken = Status::already_exists("the key is another's");
        assert_eq!(told([lost(), taken]).code(), Code::AlreadyExists);
        assert_eq!(told([refused(), Status::resource_exhausted("full")]).code(), Code::ResourceExhausted);
    }
}
