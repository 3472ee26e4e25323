//! What a store must be like, in memory: tickets, their attempts, whose gateways live.

use std::collections::HashMap;

use turno_store::{Attempt, Event, GatewayId, State, TicketId};

/// A ticket, as it must be.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) id: TicketId,
    pub(crate) state: State,
    pub(crate) request: &'static str,
    pub(crate) response: bool,
    pub(crate) attempts: u32,
    pub(crate) failures: u32,
    pub(crate) held: Option<Attempt>,
    pub(crate) due: bool,
    pub(crate) cancel: bool,
    pub(crate) delete: bool,
    pub(crate) brief: bool,
    pub(crate) redriven: Option<TicketId>,
    /// Out of the store, swept or not.
    pub(crate) gone: bool,
}

pub(crate) struct Model {
    pub(crate) tickets: Vec<Kept>,
    pub(crate) given: Vec<Attempt>,
    pub(crate) keys: HashMap<u8, (usize, &'static str)>,
    pub(crate) alive: [bool; 2],
    pub(crate) gateways: [GatewayId; 2],
}

impl Model {
    pub(crate) fn new() -> Self {
        let gateways = [(); 2].map(|()| GatewayId(TicketId::new().0));
        Self { tickets: Vec::new(), given: Vec::new(), keys: HashMap::new(), alive: [false; 2], gateways }
    }

    pub(crate) fn lives(&self, attempt: Attempt) -> bool {
        let at = self.gateways.iter().position(|gateway| *gateway == attempt.gateway);
        at.is_some_and(|at| self.alive[at])
    }

    pub(crate) fn begin(&mut self, at: usize, attempt: Attempt) {
        let ticket = &mut self.tickets[at];
        assert_eq!(attempt.number, ticket.attempts + 1, "no number is given twice");
        ticket.state = ticket.state.after(Event::Begin).expect("it can begin");
        (ticket.attempts, ticket.held, ticket.due) = (attempt.number, Some(attempt), false);
        self.given.push(attempt);
    }

    pub(crate) fn end(&mut self, at: usize, event: Event) {
        let ticket = &mut self.tickets[at];
        ticket.state = ticket.state.after(event).expect("it can end so");
        (ticket.held, ticket.due) = (None, false);
        ticket.gone |= ticket.delete || ticket.brief;
    }

    /// The ticket that `attempt` holds.
    pub(crate) fn current(&self, attempt: Attempt) -> Option<usize> {
        self.tickets.iter().position(|ticket| !ticket.gone && ticket.held == Some(attempt))
    }

    pub(crate) fn claimable(&self) -> usize {
        let free = |ticket: &&Kept| match ticket.held {
            Some(held) => !self.lives(held),
            None => ticket.due,
        };
        self.tickets.iter().filter(|ticket| !ticket.gone && !ticket.state.is_final()).filter(free).count()
    }
}

pub(crate) fn kept(id: TicketId, request: &'static str, brief: bool) -> Kept {
    Kept {
        id,
        state: State::Waiting,
        request,
        response: false,
        attempts: 0,
        failures: 0,
        held: None,
        due: true,
        cancel: false,
        delete: false,
        brief,
        redriven: None,
        gone: false,
    }
}
