//! The inputs and the results of a map that is submitted as a ticket: logs of parts beside the ticket's row. What is in a
//! part is its writer's business; here it has a number, a head that is read without the rest, and checksums over both.

use bytes::Bytes;

use crate::body::{Body, Stored, unsealed};
use crate::error::Error;
use crate::seal::Seal;
use crate::ticket::TicketId;

/// A part above so many bytes lies in pieces: meant for a single item that is larger.
pub const PART: usize = 1024 * 1024;

/// Which of a ticket's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Log {
    /// What is to be done: written before the ticket is submitted.
    Inputs,
    /// What has come of it: written by the ticket's attempts.
    Results,
}

impl Log {
    /// As databases write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inputs => "input",
            Self::Results => "result",
        }
    }
}

/// A part of a log. The first has number 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What is in it, in a few bytes: heads are read many at a time.
    pub head: Bytes,
    /// Meant to be at most [`PART`].
    pub body: Bytes,
}

/// What a ticket has to do, where that is more than its request: a map's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Parts of [`Log::Inputs`].
    pub parts: u32,
    /// Items in them all.
    pub items: u64,
}

/// A part on its way into a store.
pub(crate) struct Parcel {
    pub(crate) head: Bytes,
    pub(crate) body: Body,
    /// Of the head, and of the body.
    pub(crate) seal: [u8; 32],
}

impl Parcel {
    pub(crate) fn new(
        ticket: TicketId,
        log: Log,
        number: u32,
        head: Bytes,
        body: &Bytes,
        lies: Body,
    ) -> Self {
        let mut seal = [0; 32];
        seal[..16].copy_from_slice(&Seal::of_head(ticket, log.name(), number, &head).0);
        seal[16..].copy_from_slice(&Seal::of_part(ticket, log.name(), number, body).0);
        Self { head, body: lies, seal }
    }
}

/// A part as a store has it, not looked at yet.
pub(crate) struct StoredPart {
    pub(crate) head: Bytes,
    /// Its seal is that of both.
    pub(crate) body: Stored,
}

/// A head, looked at.
pub(crate) fn head(
    ticket: TicketId,
    log: Log,
    number: u32,
    head: Bytes,
    seal: &[u8],
) -> Result<Bytes, Error> {
    let seal = seal.get(..16).ok_or(Error::Damaged(ticket))?;
    let expected = Seal::of_head(ticket, log.name(), number, &head);
    unsealed(ticket, head, seal, expected)
}

/// A part's body, looked at.
pub(crate) fn body(
    ticket: TicketId,
    log: Log,
    number: u32,
    body: Bytes,
    seal: &[u8],
) -> Result<Bytes, Error> {
    let seal = seal.get(16..).ok_or(Error::Damaged(ticket))?;
    let expected = Seal::of_part(ticket, log.name(), number, &body);
    unsealed(ticket, body, seal, expected)
}
