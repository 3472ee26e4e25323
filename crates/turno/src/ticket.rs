//! Tickets: any unary method, submitted instead of called. The gateway answers once the ticket is on disk, and the method
//! runs when its turn has come, again if need be, whatever is killed meanwhile.
//!
//! ```no_run
//! use std::time::Duration;
//! use turno::cpu::v1::{InfoRequest, images};
//!
//! # async fn example(client: turno::Client, data: bytes::Bytes) -> turno::Result<()> {
//! let ticket = client
//!     .submit::<images::Info>(InfoRequest { data })
//!     .key("cat.jpg")
//!     .label("shop", "bakery")
//!     .retries(5)
//!     .keep_result_for(Duration::from_secs(86_400))
//!     .await?;                                     // it is on disk
//! println!("{}", ticket.name());                   // to be kept: client.ticket::<images::Info>(name) picks it up again
//! let info = ticket.await?;                        // waits until the method has answered
//! # Ok(()) }
//! ```
//!
//! `submit` hands a request in, `wait` and `watch` follow what becomes of it, as `claim` wants it; `map` does the same for
//! many requests. `desk` finds a gateway for them, and `standing` another one when it is gone.

mod claim;
mod desk;
mod map;
mod rpcs;
mod snapshot;
mod standing;
mod submit;
mod wait;
mod watch;

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use crate::client::Client;
use crate::context::Context;
use crate::rpc::{Rpc, Unary};
use crate::ticket::claim::{Claim, Sort};
use crate::ticket::desk::{Desk, Way};

pub use map::{MapTicket, Results, SubmitMap};
pub use snapshot::{Progress, Snapshot, State};
pub use submit::Submit;
pub use watch::Changes;

/// What `.await` makes of a [`Submit`] and of a [`Ticket`].
type Answer<T> = Pin<Box<dyn Future<Output = crate::Result<T>> + Send>>;

/// A call that was submitted: it goes on by itself, whether anybody waits for it or not. Cheap to clone.
///
/// Awaiting it, or [`response`](Self::response), waits for the method's answer. Dropping a ticket, or a future that
/// waits for one, changes nothing; [`cancel`](Self::cancel) does.
///
/// ```no_run
/// # use turno::cpu::v1::{InfoRequest, images};
/// # async fn example(client: turno::Client) -> turno::Result<()> {
/// let ticket = client.submit::<images::Info>(InfoRequest::default()).await?;
/// let mut changes = ticket.watch();
/// while let Some(seen) = changes.next().await.transpose()? {
///     println!("{} after {} attempts", seen.state, seen.attempts);
/// }
/// let info = ticket.await?;
/// # Ok(()) }
/// ```
///
/// Gateways may come and go meanwhile: what waits or watches asks again until one is back, and gives up only when none
/// was there for as long as [`patience`](Self::patience) says.
pub struct Ticket<R> {
    claim: Claim,
    rpc: PhantomData<fn() -> R>,
}

impl<R: Unary> Ticket<R> {
    fn new(desk: Desk, name: String) -> Self {
        Self { claim: Claim::new(Sort::call::<R>(), desk, name), rpc: PhantomData }
    }

    /// "operations/0198…": what [`Client::ticket`] takes, and what generic clients of `google.longrunning` do.
    pub fn name(&self) -> &str {
        &self.claim.name
    }

    /// "0198…": the name without its first part. Later tickets sort behind earlier ones.
    pub fn id(&self) -> &str {
        self.claim.id()
    }

    /// How long [`response`](Self::response), [`watch`](Self::watch) and the others go on without a gateway; 60 s unless
    /// told otherwise. While gateways answer they wait for as long as it takes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.claim.patience = patience;
        self
    }

    /// Waits until the method has answered, for as long as it takes.
    ///
    /// # Errors
    /// The method's own, with its code, message and details, if that is how the ticket has ended: `failed`, or `dead` when
    /// every attempt has failed. `CANCELLED`: somebody has cancelled it. `NOT_FOUND`: there is no such ticket, or it is
    /// forgotten. `FAILED_PRECONDITION`: it is one of another method. `UNAVAILABLE`: no gateway for as long as the
    /// [patience](Ticket::patience) lasts; the ticket goes on.
    pub async fn response(&self) -> crate::Result<R::Response> {
        self.claim.response().await
    }

    /// Follows it to its end. Nothing is asked before the stream is.
    pub fn watch(&self) -> Changes {
        self.claim.watch()
    }

    /// Wants it cancelled. What waits is cancelled at once; a method that runs is told, and the ticket has ended once it
    /// has stopped: `CANCELLED`, or with its answer, if that was quicker. Of a ticket that has ended it changes nothing.
    ///
    /// # Errors
    /// `NOT_FOUND`: there is no such ticket, or it is forgotten. `UNAVAILABLE`: no gateway for as long as the patience
    /// lasts.
    pub async fn cancel(&self) -> crate::Result<()> {
        self.claim.cancel().await
    }

    /// Where it stands.
    ///
    /// # Errors
    /// As [`Ticket::snapshot`].
    pub async fn state(&self) -> crate::Result<State> {
        Ok(self.snapshot().await?.state)
    }

    /// What is known of it. Of a ticket that is done, the response travels along: to follow one, [`watch`](Self::watch).
    ///
    /// # Errors
    /// `NOT_FOUND`: there is no such ticket, or it is forgotten. `FAILED_PRECONDITION`: it is one of another method.
    /// `UNAVAILABLE`: no gateway for as long as the patience lasts.
    pub async fn snapshot(&self) -> crate::Result<Snapshot> {
        self.claim.snapshot().await
    }
}

impl<R: Unary> IntoFuture for Ticket<R> {
    type Output = crate::Result<R::Response>;
    type IntoFuture = Answer<R::Response>;

    /// As [`Ticket::response`].
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.response().await })
    }
}

impl<R> Clone for Ticket<R> {
    fn clone(&self) -> Self {
        Self { claim: self.claim.clone(), rpc: PhantomData }
    }
}

impl<R: Rpc> fmt::Debug for Ticket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("name", &self.claim.name)
            .field("method", &R::NAME)
            .finish_non_exhaustive()
    }
}

/// Its [name](Ticket::name).
impl<R> fmt::Display for Ticket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.claim.name)
    }
}

impl Client {
    /// Submits a call: the answer is a [`Ticket`], once it is on disk. See [`Submit`] for what can be asked of it.
    ///
    /// ```no_run
    /// # use turno::cpu::v1::{InfoRequest, images};
    /// # async fn example(client: turno::Client, request: InfoRequest) -> turno::Result<()> {
    /// let ticket = client.submit::<images::Info>(request).key("cat.jpg").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Metadata of the request goes along: `turno-tenant` says whose ticket it is, in at most 256 bytes.
    pub fn submit<R: Unary>(&self, request: impl tonic::IntoRequest<R::Request>) -> Submit<R> {
        Submit::new(Way::Client(self.clone()), request.into_request())
    }

    /// Picks up a ticket again by its name, with or without "operations/". Nothing is asked yet.
    ///
    /// ```no_run
    /// # use turno::cpu::v1::images;
    /// # async fn example(client: turno::Client, name: &str) -> turno::Result<()> {
    /// let info = client.ticket::<images::Info>(name).await?;
    /// # Ok(()) }
    /// ```
    pub fn ticket<R: Unary>(&self, name: impl Into<String>) -> Ticket<R> {
        Ticket::new(Desk::plain(Way::Client(self.clone())), name.into())
    }
}

impl Context {
    /// Submits a call of another method: the answer is a [`Ticket`], once it is on disk. The ticket goes on when this method
    /// has ended, been cancelled or run out of time: of the deadline it knows nothing. `turno-tenant` and the W3C trace
    /// headers go with it, and it says in whose name it is submitted.
    ///
    /// ```no_run
    /// # use turno::cpu::v1::{InfoRequest, images};
    /// # async fn example(ctx: turno::Context, request: InfoRequest) -> turno::Result<()> {
    /// let later = ctx.submit::<images::Info>(request).await?;
    /// # Ok(()) }
    /// ```
    pub fn submit<R: Unary>(&self, request: impl tonic::IntoRequest<R::Request>) -> Submit<R> {
        Submit::new(Way::Method(self.clone()), request.into_request())
    }

    /// Picks up a ticket again by its name, with or without "operations/". Nothing is asked yet.
    pub fn ticket<R: Unary>(&self, name: impl Into<String>) -> Ticket<R> {
        Ticket::new(Desk::plain(Way::Method(self.clone())), name.into())
    }
}

#[cfg(test)]
mod tests;
