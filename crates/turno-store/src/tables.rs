//! What a transaction wants of a database. What is decided (`book.rs`) is the same for all of them; how it is read and
//! written is not.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::batch::{Asked, Batch, Broken, Due, Held, KnownKey, Standing};
use crate::body::Body;
use crate::change::Change;
use crate::error::Error;
use crate::part::{Log, Parcel};
use crate::query::Queue;
use crate::seal::Seal;
use crate::state::State;
use crate::ticket::{Attempt, GatewayId, Progress, Ticket, TicketId};

/// What somebody wants of a ticket that has not ended.
#[derive(Clone, Copy)]
pub(crate) enum Wish {
    Cancel,
    Delete,
}

/// The tables of one database, in one transaction after another.
pub(crate) trait Tables: Send + 'static {
    /// What time it is, which keys of the changes are known, and who holds what they are about.
    fn begin<'a>(&mut self, changes: &'a [Change]) -> impl Future<Output = Result<Batch<'a>, Error>> + Send;

    /// What is known of a key by now.
    fn known(
        &mut self,
        tenant: &str,
        key: &str,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Option<KnownKey>, Error>> + Send;

    /// All is on disk when this answers.
    fn commit(&mut self, batch: Batch<'_>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Nothing of what was begun has happened, and `why`.
    fn roll_back(&mut self, why: &Error) -> impl Future<Output = ()> + Send;

    /// Writes the rows that wait.
    fn flush(&mut self, batch: &mut Batch<'_>) -> impl Future<Output = Result<(), Error>> + Send;

    /// A ticket was submitted for `method`, perhaps not the first.
    fn keep_method(
        &mut self,
        method: &str,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// A number for a new ticket.
    fn reserve(&mut self) -> i64;

    /// The attempt that holds `ticket`.
    fn held(&self, batch: &Batch<'_>, ticket: TicketId) -> Option<Held>;

    /// Whether the lease of `gateway` lasts.
    fn is_alive(&self, batch: &Batch<'_>, gateway: GatewayId) -> bool;

    fn renew(
        &mut self,
        gateway: GatewayId,
        lease: Duration,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    fn resign(
        &mut self,
        gateway: GatewayId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whatever `gateway` holds for longer than that is nobody's, but for what is `known`; answers how many.
    fn disown(
        &mut self,
        gateway: GatewayId,
        known: &[TicketId],
        after: Duration,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// How far an attempt is.
    fn note(
        &mut self,
        attempt: Attempt,
        progress: &Progress,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// How far the attempt of `ticket` is, where that is not on disk.
    fn noted(&self, ticket: TicketId) -> Option<Progress>;

    /// Rows of no `full` queue that a dead gateway held, to be held by `gateway` from now on.
    fn lapsed(
        &mut self,
        gateway: GatewayId,
        most: usize,
        full: &[Queue],
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Vec<Result<Due, Broken>>, Error>> + Send;

    /// Rows that are due, to be held by `gateway` from now on: the longest due first.
    fn due(
        &mut self,
        gateway: GatewayId,
        most: usize,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Vec<Result<Due, Broken>>, Error>> + Send;

    /// The same of some queues, up to `each` of each.
    fn due_of(
        &mut self,
        queues: &[Queue],
        gateway: GatewayId,
        each: usize,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Vec<Result<Due, Broken>>, Error>> + Send;

    /// Queues in their order, from behind that one on: with when their first ticket is due.
    fn queues(
        &mut self,
        after: Option<&Queue>,
        most: usize,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Vec<(Queue, i64)>, Error>> + Send;

    fn next_due(
        &mut self,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Option<Duration>, Error>> + Send;

    /// A ticket that has not expired.
    fn ticket(
        &mut self,
        ticket: TicketId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Ticket, Error>> + Send;

    /// The same in short, and nobody else changes it meanwhile; `expired` ones too if wanted.
    fn standing(
        &mut self,
        ticket: TicketId,
        expired: bool,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Standing, Error>> + Send;

    /// What it was submitted with.
    fn asked(
        &mut self,
        ticket: TicketId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Asked, Error>> + Send;

    /// The pieces of a body, in their order.
    fn pieces(
        &mut self,
        body: Uuid,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Vec<Bytes>, Error>> + Send;

    fn wish(
        &mut self,
        standing: &Standing,
        wish: Wish,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// A ticket is not to be deleted at its end after all; answers whether it was to be.
    fn undelete(
        &mut self,
        ticket: TicketId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Takes a ticket out, with its body and attempts; what is left of it with its key is `ended`.
    fn remove(
        &mut self,
        standing: &Standing,
        ended: State,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    fn allow(
        &mut self,
        standing: &Standing,
        retries: u32,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Gives a ticket another request, whose pieces are written already.
    fn replace(
        &mut self,
        ticket: TicketId,
        request: &Body,
        seal: Seal,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// A new ticket like `dead`, without its request.
    fn repeat(
        &mut self,
        dead: &Standing,
        new: TicketId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Takes out tickets whose time is over, with their bodies and attempts; answers in which states they were.
    fn expire(
        &mut self,
        most: u32,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<Vec<State>, Error>> + Send;

    /// Forgets keys whose time is over, and bodies that were begun before `since` and never finished.
    fn sweep(
        &mut self,
        most: u32,
        since: i64,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Lists a body as one that may never be finished.
    fn begin_body(
        &mut self,
        body: Uuid,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    fn end_body(
        &mut self,
        body: Uuid,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    fn piece(
        &mut self,
        body: Uuid,
        number: u32,
        data: &[u8],
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Parts of the inputs of a ticket that is still to come, which nobody sweeps meanwhile; none if they are not listed
    /// as unfinished.
    fn inputs(
        &mut self,
        ticket: TicketId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<u32, Error>> + Send;

    /// Writes a part of a log, if there is none of that number; answers whether it has.
    fn part(
        &mut self,
        ticket: TicketId,
        log: Log,
        number: u32,
        parcel: &Parcel,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// So many items of a map have their results.
    fn done(
        &mut self,
        ticket: TicketId,
        done: u64,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Lists the inputs of a ticket that is still to come as what may never be finished, gone on with now.
    fn begin_inputs(
        &mut self,
        ticket: TicketId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// What is listed as unfinished under this name is nobody's: the sweep takes it out bit by bit.
    fn give_up(
        &mut self,
        ticket: TicketId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The logs of a map that is about to be taken out are nobody's from then on.
    fn leave_logs(
        &mut self,
        ticket: TicketId,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Takes out a body's pieces.
    fn discard(
        &mut self,
        body: Uuid,
        batch: &mut Batch<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}
