//! What a store may answer instead of what was asked for. Variants by what the caller can do next.

use crate::ticket::TicketId;

/// A store's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such ticket, or it has expired.
    #[error("there is no ticket {0}")]
    NotFound(TicketId),
    /// A ticket of that id is stored already: the same submit has been made before.
    #[error("there is a ticket {0} already")]
    Exists(TicketId),
    /// The idempotency key stands for another method or another request.
    #[error(
        "the idempotency key {key:?} stands for ticket {ticket}, which was submitted with another method or request"
    )]
    KeyTaken {
        /// As submitted.
        key: String,
        /// Whose it is.
        ticket: TicketId,
    },
    /// The ticket is not in a state for that.
    #[error("ticket {ticket} is {state}: {hint}")]
    WrongState {
        /// Which.
        ticket: TicketId,
        /// Its state's name.
        state: &'static str,
        /// What can be done instead.
        hint: String,
    },
    /// The attempt is not the ticket's current one: another gateway has taken it over, or it has ended.
    #[error("the attempt of ticket {0} is not its current one any more")]
    Superseded(TicketId),
    /// Not all of the inputs that the submit names are there: they were dropped, or nobody came back for them in an hour.
    /// Put them again, under another name.
    #[error("the inputs of ticket {0} are not all there")]
    Incomplete(TicketId),
    /// Nothing was stored: the disk, or somebody's quota, is full, or so nearly that what adds nothing would find no space
    /// either. Comes again when there is space.
    #[error("the store is full: nothing was stored")]
    Full,
    /// Others changed the same tickets at the same time, again and again. Nothing was stored: ask again.
    #[error("others change the same tickets at the same time")]
    Contended,
    /// Somebody has locked what it is about, or it is more than the database does in the time that a change may take. Nothing
    /// was stored: ask again.
    #[error("the store could not do it in time: {0}")]
    Late(String),
    /// The database answers, and has failed at it, for a reason of its own: memory, a disk, a person's trigger. Nothing was
    /// stored: ask again, for it may pass.
    #[error("the store has failed at it, and nothing was stored: {0}")]
    Failed(String),
    /// There is something in it that the database cannot keep. Nothing was stored.
    #[error("the store cannot keep this: {0}")]
    Unfit(String),
    /// What is stored of this ticket is damaged: its checksum does not fit.
    #[error("what is stored of ticket {0} is damaged")]
    Damaged(TicketId),
    /// The store cannot be opened as it is: a person has to look.
    #[error("{0}")]
    Unusable(String),
    /// The store does not answer now, and nothing was stored: it had not come to that. Ask again.
    #[error("the store does not answer, and nothing was stored: {0}")]
    Away(String),
    /// The store does not answer now; nothing is known of what was asked. Safe to ask again where it says so.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
}

impl Error {
    /// Whether the store is well, and has only said no to this one request.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::NotFound(_)
            | Self::KeyTaken { .. }
            | Self::WrongState { .. }
            | Self::Superseded(_)
            | Self::Incomplete(_)
            | Self::Damaged(_) => true,
            // Noticed when rows are written: nothing else of that transaction is sure then.
            Self::Exists(_)
            | Self::Contended
            | Self::Late(_)
            | Self::Failed(_)
            | Self::Unfit(_)
            | Self::Full
            | Self::Unusable(_)
            | Self::Away(_)
            | Self::Unavailable(_) => false,
        }
    }

    /// Whether who asks the store for more would only wait as long again.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Unavailable(_))
    }
}
