//! Which tickets are asked for: by a person, and by a gateway that has room for some.

use std::collections::BTreeMap;

use crate::state::State;
use crate::ticket::{Ticket, TicketId, Timestamp};

/// Every part that is said must hold. The newest come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// One of these; any when empty.
    pub states: Vec<State>,
    /// "gallery.v1.Gallery/Thumbnail", or "gallery.v1.Gallery/" for all of a service.
    pub method: Option<String>,
    /// Whose.
    pub tenant: Option<String>,
    /// All of these.
    pub labels: BTreeMap<String, String>,
    /// Submitted then or later.
    pub since: Option<Timestamp>,
    /// Submitted before.
    pub before: Option<Timestamp>,
    /// Only what comes behind this one: the last of the page before.
    pub after: Option<TicketId>,
    /// At most so many; the store may answer fewer. At least 1.
    pub most: u32,
}

impl Query {
    /// Whether only states are wanted that are so.
    pub(crate) fn wants_only(&self, is_so: fn(State) -> bool) -> bool {
        !self.states.is_empty() && self.states.iter().all(|state| is_so(*state))
    }
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The newest first.
    pub tickets: Vec<Ticket>,
    /// More follow: ask again, `after` the last.
    pub has_more: bool,
}

/// The tickets of one tenant for one method.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Whose.
    pub tenant: String,
    /// "gallery.v1.Gallery/Thumbnail"
    pub method: String,
}

impl Queue {
    /// Stands before every other: a method has a name.
    pub(crate) fn before_all() -> Self {
        Self { tenant: String::new(), method: String::new() }
    }
}

/// What a gateway has room for.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    /// At most so many tickets.
    pub tickets: usize,
    /// With requests of so many bytes together.
    pub bytes: u64,
    /// None of these: they have what they may have. While there are any, the others take turns.
    pub full: Vec<Queue>,
    /// Nor of these methods: nobody would run them. What a lost gateway had of them is given all the same, for it says that
    /// it runs, and may be to be cancelled.
    pub unserved: Vec<String>,
}

impl Room {
    /// For so many tickets of any kind and size.
    #[must_use]
    pub fn of(tickets: usize) -> Self {
        Self { tickets, bytes: u64::MAX, full: Vec::new(), unserved: Vec::new() }
    }
}
