//! Requests and responses as they lie in a store: small ones in the ticket's row, larger ones in pieces beside it.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::error::Error;
use crate::part::PART;
use crate::seal::Seal;
use crate::store::Claimed;
use crate::ticket::{INLINE, TicketId};

/// One row of a body that lies beside its ticket.
pub(crate) const PIECE: usize = 256 * 1024;

/// Larger ones are written before the change that needs them, piece by piece, so that what else waits goes in between.
const TOGETHER: usize = 1024 * 1024;

/// A body on its way into a store.
#[derive(Clone)]
pub(crate) enum Body {
    /// In the row.
    Inline(Bytes),
    /// Beside it, written in the same transaction.
    Beside(Uuid, Bytes),
    /// Beside it, and written already.
    Ahead(Uuid, u64),
}

impl Body {
    /// Where bytes of this length belong.
    pub(crate) fn of(bytes: Bytes) -> Self {
        if bytes.len() <= INLINE { Self::Inline(bytes) } else { Self::Beside(Uuid::now_v7(), bytes) }
    }

    /// The same of a part of a map's log, whose row is written once.
    pub(crate) fn of_part(bytes: Bytes) -> Self {
        if bytes.len() <= PART { Self::Inline(bytes) } else { Self::Beside(Uuid::now_v7(), bytes) }
    }

    /// What is too large for one transaction: to be written ahead.
    pub(crate) fn is_long(&self) -> bool {
        matches!(self, Self::Beside(_, bytes) if bytes.len() > TOGETHER)
    }

    /// In bytes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Inline(bytes) | Self::Beside(_, bytes) => bytes.len() as u64,
            Self::Ahead(_, length) => *length,
        }
    }

    /// Bytes that are still to be written.
    pub(crate) fn unwritten(&self) -> u64 {
        match self {
            Self::Inline(bytes) | Self::Beside(_, bytes) => bytes.len() as u64,
            Self::Ahead(..) => 0,
        }
    }

    /// The name under which its pieces lie, if they lie beside the row.
    pub(crate) fn name(&self) -> Option<Uuid> {
        match self {
            Self::Inline(_) => None,
            Self::Beside(name, _) | Self::Ahead(name, _) => Some(*name),
        }
    }

    /// What goes into the row.
    pub(crate) fn inline(&self) -> Option<&Bytes> {
        match self {
            Self::Inline(bytes) => Some(bytes),
            Self::Beside(..) | Self::Ahead(..) => None,
        }
    }
}

/// A body as a store has it, not looked at yet.
pub(crate) struct Stored {
    pub(crate) length: u64,
    pub(crate) seal: Bytes,
    pub(crate) inline: Option<Bytes>,
    pub(crate) beside: Option<Uuid>,
}

/// A ticket that is claimed, whose request has not been looked at yet.
pub(crate) struct Granted {
    /// With an empty request.
    pub(crate) claimed: Claimed,
    pub(crate) request: Stored,
}

/// Pieces on their way to be one again.
pub(crate) struct Gathered {
    ticket: TicketId,
    expected: u64,
    bytes: BytesMut,
}

impl Gathered {
    /// None yet, of `expected` bytes in all.
    pub(crate) fn new(ticket: TicketId, expected: u64) -> Self {
        // A length that was damaged must not become an allocation.
        let capacity = usize::try_from(expected).unwrap_or(usize::MAX).min(64 * 1024 * 1024);
        Self { ticket, expected, bytes: BytesMut::with_capacity(capacity) }
    }

    /// The next one.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        if (self.bytes.len() + piece.len()) as u64 > self.expected {
            return Err(Error::Damaged(self.ticket));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// All are there.
    pub(crate) fn whole(self) -> Result<Bytes, Error> {
        if self.bytes.len() as u64 == self.expected {
            Ok(self.bytes.freeze())
        } else {
            Err(Error::Damaged(self.ticket))
        }
    }
}

/// `bytes` if `seal` is what was stored beside them.
pub(crate) fn unsealed(ticket: TicketId, bytes: Bytes, stored: &[u8], seal: Seal) -> Result<Bytes, Error> {
    if Seal::stored(stored) == Some(seal) { Ok(bytes) } else { Err(Error::Damaged(ticket)) }
}
