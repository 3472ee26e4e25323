//! Where tickets are kept. [`Store`] says what is promised; SQLite keeps the promises for one gateway, PostgreSQL for
//! several. What happens to a ticket is decided in `state.rs`, by a table without clock or disk; who runs tickets is the
//! gateway's business.

mod batch;
mod body;
mod book;
mod change;
mod error;
mod failures;
mod group;
mod kept;
mod open;
mod part;
mod postgres;
mod query;
mod refused;
mod rows;
mod seal;
mod space;
mod sqlite;
mod state;
mod store;
mod tables;
mod ticket;

pub use error::Error;
pub use open::open;
pub use part::{Inputs, Log, PART, Part};
pub use query::{Page, Query, Queue, Room};
pub use state::{Event, State};
pub use store::{Cancelled, Claimed, Counts, News, Store, Submitted};
pub use ticket::{
    Attempt, AttemptRecord, Failure, GatewayId, INLINE, IdempotencyKey, NewTicket, Outcome, Progress, Ticket,
    TicketId, Timestamp,
};
