//! What must not lose a ticket, nor hold anybody up for ever: processes killed or stopped, disks that fill or fail, files
//! that are cut short, changed or deleted, clocks that are set back, servers that refuse what they took.

mod child;
mod clock;
mod damaged;
mod deleted;
mod disk;
mod hanging;
mod killed;
mod locked;
mod refused;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use turno_store::{
    Failure, GatewayId, Log, NewTicket, Outcome, Part, Query, Room, State, Store, Ticket, TicketId,
};

use crate::suite::new;

/// A ticket whose request and outcome follow from its name, so that whoever knows the name knows what must be there.
pub(crate) fn telling(id: TicketId, begin_at: Option<GatewayId>) -> NewTicket {
    NewTicket { id, request: request_of(id), begin_at, ..new() }
}

pub(crate) fn request_of(id: TicketId) -> Bytes {
    let bytes = id.0.as_bytes();
    // One of eight is long enough to lie beside its row.
    let length = if bytes[15].is_multiple_of(8) {
        20_000 + usize::from(bytes[14]) * 1000
    } else {
        usize::from(bytes[14])
    };
    (0..length).map(|at| bytes[at % 16] ^ (at / 16) as u8).collect::<Vec<_>>().into()
}

pub(crate) fn response_of(id: TicketId) -> Bytes {
    let mut response = request_of(id).to_vec();
    response.reverse();
    response.push(7);
    response.into()
}

pub(crate) fn failure_of(id: TicketId) -> Failure {
    Failure { code: 14, message: format!("burnt: {id}"), details: Bytes::copy_from_slice(id.0.as_bytes()) }
}

/// How it ends: one of eight fails, and one is dead.
pub(crate) fn outcome_of(id: TicketId) -> Outcome {
    match id.0.as_bytes()[13] % 8 {
        0 => Outcome::Failed(failure_of(id)),
        1 => Outcome::Dead(failure_of(id)),
        _ => Outcome::Done(response_of(id)),
    }
}

/// How it has ended, as the store tells it; `None` of one that has not.
pub(crate) fn told((ticket, response): (Ticket, Option<Bytes>)) -> Option<Outcome> {
    match ticket.state {
        State::Waiting | State::Running => None,
        State::Done => Some(Outcome::Done(response.unwrap_or_default())),
        State::Failed => Some(Outcome::Failed(ticket.failure.unwrap_or_default())),
        State::Dead => Some(Outcome::Dead(ticket.failure.unwrap_or_default())),
        State::Cancelled => Some(Outcome::Cancelled),
    }
}

/// What is in a map's log, by its name too.
pub(crate) fn part_of(id: TicketId, log: Log) -> Part {
    let body = if log == Log::Inputs { request_of(id) } else { response_of(id) };
    Part { head: Bytes::copy_from_slice(id.0.as_bytes()), body }
}

/// What a process has said that is on disk.
#[derive(Default)]
pub(crate) struct Acknowledged {
    pub(crate) stored: HashSet<TicketId>,
    pub(crate) done: HashSet<TicketId>,
    /// Maps with a result.
    pub(crate) results: HashSet<TicketId>,
}

impl Acknowledged {
    /// A line of the child's: "S id" or "D id".
    pub(crate) fn hear(&mut self, line: &str) {
        let Some((word, id)) = line.trim().split_once(' ') else { return };
        let Ok(id) = id.parse() else { return };
        match word {
            "S" => self.stored.insert(id),
            "R" => self.results.insert(id),
            "D" => self.done.insert(id),
            _ => false,
        };
    }

    /// All of it is there, and nothing of it or of anything else is there by half.
    pub(crate) async fn must_be_in(&self, store: &dyn Store) {
        for id in &self.stored {
            let ticket = store.get(*id).await.unwrap_or_else(|error| panic!("acknowledged, and now {error}"));
            assert_eq!(ticket.method, new().method);
            let states = [State::Waiting, State::Running, outcome_of(*id).state()];
            assert!(states.contains(&ticket.state), "{ticket:?}");
            assert_eq!(store.request(*id).await.unwrap(), request_of(*id), "{id}");
            if ticket.inputs.is_some() {
                let input = store.part(*id, Log::Inputs, 0).await.unwrap();
                assert_eq!(input, Some(part_of(*id, Log::Inputs)), "{id}");
            }
        }
        for id in &self.done {
            assert_eq!(told(store.whole(*id).await.unwrap()), Some(outcome_of(*id)), "{id}");
        }
        for id in &self.results {
            let result = store.part(*id, Log::Results, 0).await.unwrap();
            assert_eq!(result, Some(part_of(*id, Log::Results)), "{id}");
        }
        self.nothing_by_half(store).await;
    }

    async fn nothing_by_half(&self, store: &dyn Store) {
        let mut seen: HashMap<State, u64> = HashMap::new();
        let mut query = Query { most: 1000, ..Query::default() };
        loop {
            let page = store.list(&query).await.unwrap();
            for ticket in &page.tickets {
                *seen.entry(ticket.state).or_default() += 1;
                if ticket.state == State::Done {
                    assert_eq!(ticket.response_bytes, response_of(ticket.id).len() as u64);
                }
            }
            query.after = page.tickets.last().map(|ticket| ticket.id);
            if !page.has_more {
                break;
            }
        }
        let counts = store.counts().await.unwrap();
        let count = |state| seen.get(&state).copied().unwrap_or_default();
        assert_eq!(counts.waiting, count(State::Waiting));
        assert_eq!(counts.running, count(State::Running));
        assert_eq!(counts.done, count(State::Done));
        assert_eq!(counts.failed, count(State::Failed));
        assert_eq!(counts.dead, count(State::Dead));
    }
}

/// Claims and ends everything that is due; answers how many.
pub(crate) async fn finish_all(store: &dyn Store) -> usize {
    let gateway = crate::suite::gateway(store).await;
    let mut finished = 0;
    loop {
        let claimed = store.claim(gateway, Room::of(200)).await.unwrap();
        if claimed.is_empty() {
            store.renew(gateway, Duration::ZERO).await.unwrap();
            return finished;
        }
        for one in claimed {
            let id = one.attempt.ticket;
            assert_eq!(one.request, request_of(id));
            store.finish(one.attempt, outcome_of(id)).await.unwrap();
            finished += 1;
        }
    }
}
