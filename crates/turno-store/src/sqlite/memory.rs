//! What the writer knows by heart: which attempts are under way, and whose leases last. With one process at a time it
//! need not be on disk: when the process ends, nothing is under way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::batch::{Held, Overlay};
use crate::ticket::{GatewayId, Progress, TicketId};

/// How far attempts are, for who reads tickets.
pub(super) type Notes = Arc<Mutex<HashMap<TicketId, Progress>>>;

/// Attempts and leases.
#[derive(Default)]
pub(super) struct Memory {
    held: HashMap<TicketId, Held>,
    /// How many of them each gateway has.
    holding: HashMap<GatewayId, usize>,
    leases: HashMap<GatewayId, Instant>,
    notes: Notes,
}

impl Memory {
    /// Nothing is under way.
    pub(super) fn new(notes: Notes) -> Self {
        Self { notes, ..Self::default() }
    }

    /// The attempt that holds `ticket`, as the transaction sees it.
    pub(super) fn held<'a>(&'a self, overlay: &'a Overlay, ticket: TicketId) -> Option<&'a Held> {
        match overlay.get(&ticket) {
            Some(changed) => changed.as_ref(),
            None => self.held.get(&ticket),
        }
    }

    /// The transaction is on disk.
    pub(super) fn merge(&mut self, overlay: Overlay) {
        for (ticket, held) in overlay {
            if let Some(held) = &held {
                *self.holding.entry(held.attempt.gateway).or_default() += 1;
            } else {
                self.notes.lock().remove(&ticket);
            }
            let before = match held {
                Some(held) => self.held.insert(ticket, held),
                None => self.held.remove(&ticket),
            };
            if let Some(before) = before {
                self.let_go(before.attempt.gateway);
            }
        }
    }

    fn let_go(&mut self, gateway: GatewayId) {
        let Some(held) = self.holding.get_mut(&gateway) else { return };
        *held -= 1;
        if *held == 0 {
            self.holding.remove(&gateway);
        }
    }

    /// `gateway` is alive until then.
    pub(super) fn renew(&mut self, gateway: GatewayId, now: Instant, until: Instant) {
        self.leases.retain(|_, until| *until > now);
        self.leases.insert(gateway, until);
    }

    /// `gateway` has ended.
    pub(super) fn resign(&mut self, gateway: GatewayId) {
        self.leases.remove(&gateway);
    }

    /// Whether the lease of `gateway` lasts.
    pub(super) fn is_alive(&self, gateway: GatewayId, now: Instant) -> bool {
        self.leases.get(&gateway).is_some_and(|until| *until > now)
    }

    /// Attempts whose gateway's lease is over, the longest begun first, at most so many.
    pub(super) fn lapsed(&self, overlay: &Overlay, now: Instant, most: usize) -> Vec<Held> {
        // Mostly there is one gateway, whose lease lasts: then nothing is looked through.
        if self.holding.keys().all(|gateway| self.is_alive(*gateway, now)) {
            return Vec::new();
        }
        let standing = self.held.keys().filter_map(|ticket| self.held(overlay, *ticket));
        let mut lapsed: Vec<_> =
            standing.filter(|held| !self.is_alive(held.attempt.gateway, now)).cloned().collect();
        lapsed.sort_by_key(|held| held.began_at);
        lapsed.truncate(most);
        lapsed
    }

    /// What `gateway` has held since then and does not know, as nobody's.
    pub(super) fn disowned(
        &self,
        overlay: &Overlay,
        gateway: GatewayId,
        known: &[TicketId],
        began_before: i64,
    ) -> Vec<Held> {
        let known: HashSet<_> = known.iter().collect();
        let standing = self.held.keys().filter_map(|ticket| self.held(overlay, *ticket));
        let old = standing.filter(|held| held.attempt.gateway == gateway && held.began_at < began_before);
        let unknown = old.filter(|held| !known.contains(&held.attempt.ticket)).cloned();
        let nobodys = |mut held: Held| {
            held.attempt.gateway = GatewayId::NOBODY;
            held
        };
        unknown.map(nobodys).collect()
    }

    /// `attempt` has said how far it is.
    pub(super) fn note(&self, ticket: TicketId, progress: Progress) {
        self.notes.lock().insert(ticket, progress);
    }

    /// What the attempt of `ticket` has said last.
    pub(super) fn noted(&self, ticket: TicketId) -> Option<Progress> {
        self.notes.lock().get(&ticket).cloned()
    }
}
