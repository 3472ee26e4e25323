//! The promises of a store, in words. One suite of tests holds every store to them.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Error;
use crate::part::{Inputs, Log, Part};
use crate::query::{Page, Query, Queue, Room};
use crate::state::State;
use crate::ticket::{
    Attempt, AttemptRecord, Failure, GatewayId, NewTicket, Outcome, Progress, Ticket, TicketId, Timestamp,
};

/// Keeps tickets. Every method that changes something answers when the change is on disk (fsync) and not before; what
/// gathers while a change is being written goes with the next one, together. A method whose future is dropped may have
/// happened or not; nothing happens by half.
///
/// Time is the store's own: of SQLite this machine's clock, of PostgreSQL the database's, so that gateways need not agree.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores a ticket. With an idempotency key that is known already nothing is stored and the known ticket is answered,
    /// even if it is [forgotten](Ticket::forgotten) but for its key. One that was deleted and has not ended stays: the delete
    /// is taken back.
    ///
    /// # Errors
    /// [`Error::KeyTaken`], [`Error::Full`], [`Error::Exists`], [`Error::Incomplete`].
    async fn submit(&self, ticket: NewTicket) -> Result<Submitted, Error>;

    /// Puts a part of the inputs of a map under the name of the ticket that is to be submitted with them. The same number
    /// again is no other part: it stays as it was. Inputs for which nobody has put a part, or submitted a ticket, for an
    /// hour are forgotten.
    ///
    /// # Errors
    /// [`Error::Full`].
    async fn put_input(&self, ticket: TicketId, number: u32, part: Part) -> Result<(), Error>;

    /// No ticket will be submitted with these inputs. If one was, nothing happens.
    async fn drop_inputs(&self, ticket: TicketId) -> Result<(), Error>;

    /// Adds the part of that number to the results of a map; with it `done` of its items have theirs. The same number
    /// again is no other part: who does not know what became of this asks again.
    ///
    /// # Errors
    /// As [`Store::finish`].
    async fn append_results(&self, attempt: Attempt, number: u32, part: Part, done: u64)
    -> Result<(), Error>;

    /// A part of a map's log; `None` of one that is not there. Its checksums have been looked at.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn part(&self, ticket: TicketId, log: Log, number: u32) -> Result<Option<Part>, Error>;

    /// The heads of up to `most` parts, from the one of that number on. Their checksums have been looked at.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    async fn heads(&self, ticket: TicketId, log: Log, from: u32, most: u32) -> Result<Vec<Bytes>, Error>;

    /// Gives `gateway` tickets whose time has come and that nobody holds, as many as it has `room` for: first those whose
    /// gateway's lease has run out, then those that wait and those whose next attempt is due, the longest due first, or by
    /// turns if some queues are passed over. One is given even if its request has more bytes than there is room
    /// for. Each is held until its attempt is finished, retried or released, or the lease of `gateway` runs out. The attempt
    /// is on record when this answers. Without a lease it gives nothing. What is claimed by a future that was dropped is
    /// released.
    ///
    /// # Errors
    /// [`Error::Full`]: an attempt that cannot be put on record does not begin.
    async fn claim(&self, gateway: GatewayId, room: Room) -> Result<Vec<Claimed>, Error>;

    /// When the next ticket that nobody holds becomes due and is of no `full` queue, nor of an `unserved` method, as far as is
    /// known: in zero time when some are.
    async fn next_due(&self, full: Vec<Queue>, unserved: Vec<String>) -> Result<Option<Duration>, Error>;

    /// Ends a ticket, once and for all.
    ///
    /// # Errors
    /// [`Error::Superseded`]: somebody else answers for it now, and the outcome is not wanted. [`Error::Full`]: not
    /// stored; try again, the attempt is still held.
    async fn finish(&self, attempt: Attempt, outcome: Outcome) -> Result<(), Error>;

    /// The attempt has failed, and the next one is due after `pause`: [`State::Running`]. Answers [`State::Cancelled`] if it
    /// was cancelled meanwhile: then it has ended.
    ///
    /// # Errors
    /// As [`Store::finish`].
    async fn retry(&self, attempt: Attempt, failure: Failure, pause: Duration) -> Result<State, Error>;

    /// Gives back an attempt that no node has had: the ticket is due again after `pause`, as when its method's nodes are away
    /// just now. It keeps its number, and does not count against the retries. If the ticket was cancelled meanwhile, it has
    /// ended.
    ///
    /// # Errors
    /// As [`Store::finish`].
    async fn release(&self, attempt: Attempt, pause: Duration) -> Result<(), Error>;

    /// Notes how far an attempt is. Need not survive a crash.
    ///
    /// # Errors
    /// [`Error::Superseded`].
    async fn progress(&self, attempt: Attempt, progress: Progress) -> Result<(), Error>;

    /// Wants a ticket cancelled. One that nobody holds is cancelled then and there.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    async fn cancel(&self, ticket: TicketId) -> Result<Cancelled, Error>;

    /// Forgets a ticket: at once if it has ended, else when it does, unless somebody asks for it anew until then: by its
    /// key, or by redriving again what it was redriven from.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    async fn delete(&self, ticket: TicketId) -> Result<(), Error>;

    /// Replaces the request of a dead ticket, or its retries, before it is redriven.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`], also of a map; [`Error::Damaged`].
    async fn edit(
        &self,
        ticket: TicketId,
        request: Option<Bytes>,
        retries: Option<u32>,
    ) -> Result<Ticket, Error>;

    /// Submits what a dead ticket asked for as a new one, with its method, request, labels and limits. Twice is once: a
    /// dead ticket that was redriven answers the same new one, which stays as by a submit with its key.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`], also of a map, and when the new one is gone; [`Error::Full`].
    async fn redrive(&self, dead: TicketId, new: TicketId) -> Result<Ticket, Error>;

    /// A ticket, without request and response. If it has failed, or is dead, the checksum of its failure has been looked at.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`].
    async fn get(&self, ticket: TicketId) -> Result<Ticket, Error>;

    /// The request of a ticket. Its checksum has been looked at.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`].
    async fn request(&self, ticket: TicketId) -> Result<Bytes, Error>;

    /// A ticket, with its response if it is done. The checksum of its response, or of its failure, has been looked at.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`].
    async fn whole(&self, ticket: TicketId) -> Result<(Ticket, Option<Bytes>), Error>;

    /// The attempts of a ticket that have failed. Their checksums have been looked at: one that is damaged stands in its
    /// place, with `DATA_LOSS` for what it has failed with.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`].
    async fn attempts(&self, ticket: TicketId) -> Result<Vec<AttemptRecord>, Error>;

    /// A page of tickets.
    async fn list(&self, query: &Query) -> Result<Page, Error>;

    /// How many there are of each state.
    async fn counts(&self) -> Result<Counts, Error>;

    /// Whether a ticket was ever submitted for `method`, be it that it is forgotten by now. A gateway of an older version that
    /// still runs while the tables have been changed puts down no methods: one that it alone takes tickets of is not known.
    async fn knows_method(&self, method: &str) -> Result<bool, Error>;

    /// Forgets up to `most` tickets whose time is over, with what lies beside them; answers how many.
    async fn expire(&self, most: u32) -> Result<u64, Error>;

    /// `gateway` is alive for `lease` from now on. Until the first word it holds nothing.
    async fn renew(&self, gateway: GatewayId, lease: Duration) -> Result<(), Error>;

    /// This process is about to end: where nobody else has the store, what its attempts end with may take the space that is
    /// kept for what makes room.
    async fn last_ends(&self) -> Result<(), Error>;

    /// `gateway` ends in order: its lease is over.
    async fn resign(&self, gateway: GatewayId) -> Result<(), Error>;

    /// Gives up what `gateway` is said to hold and knows nothing of, because it never heard that it was to begin it, or has
    /// given it up: attempts that began longer than `after` ago, but for those of `known` tickets. They are due, as if its
    /// lease had run out. Answers how many.
    async fn disown(&self, gateway: GatewayId, known: Vec<TicketId>, after: Duration) -> Result<u64, Error>;

    /// The next ticket that has changed its state, has become due, or is to be cancelled, as far as this process did not
    /// do it itself: another gateway's word. With a store of one gateway it never completes. Some may be missed, so that
    /// who waits for one asks for it from time to time as well.
    async fn changed(&self) -> News;
}

/// Another gateway's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// What has changed.
    pub ticket: TicketId,
    /// There may be something to claim, or will be: this ticket, or another one that has changed with it.
    pub is_due: bool,
}

/// What became of a submit.
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// It is on disk. If it was to begin at once, this is its first attempt.
    Stored {
        /// When.
        at: Timestamp,
        /// Present if it was wanted, was due, and was not known already.
        attempt: Option<Attempt>,
    },
    /// The key is known: this is the ticket.
    Known(Box<Ticket>),
}

/// A ticket to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// To report by.
    pub attempt: Attempt,
    /// "gallery.v1.Gallery/Thumbnail"
    pub method: String,
    /// Its checksum has been looked at: a damaged one is dead, and not claimed.
    pub request: Bytes,
    /// Of a map.
    pub inputs: Option<Inputs>,
    /// As submitted.
    pub tenant: String,
    /// As submitted.
    pub metadata: Bytes,
    /// As submitted.
    pub timeout: Option<Duration>,
    /// Attempts after the first that it may have.
    pub retries: u32,
    /// Attempts that have failed so far.
    pub failures: u32,
    /// Somebody wants it cancelled: it is to be finished as [`Outcome::Cancelled`].
    pub cancel_requested: bool,
    /// How long it had been due. What was lost with its gateway has been since that attempt began.
    pub waited: Duration,
    /// The gateway that was lost with the attempt before, if it ended so.
    pub lost_by: Option<GatewayId>,
}

impl Claimed {
    /// Which queue it stood in.
    #[must_use]
    pub fn queue(&self) -> Queue {
        Queue { tenant: self.tenant.clone(), method: self.method.clone() }
    }
}

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It had ended already.
    Ended(State),
    /// Nobody held it: it is cancelled.
    Now,
    /// It runs at this gateway, which finishes it as [`Outcome::Cancelled`] when its attempt has stopped.
    Asked(GatewayId),
}

/// How many tickets there are of each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`State::Waiting`].
    pub waiting: u64,
    /// [`State::Running`].
    pub running: u64,
    /// [`State::Done`].
    pub done: u64,
    /// [`State::Failed`].
    pub failed: u64,
    /// [`State::Cancelled`].
    pub cancelled: u64,
    /// [`State::Dead`].
    pub dead: u64,
}
