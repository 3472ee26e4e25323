//! What becomes of a chunk that is back: its items have their outcomes, go again, or are suspected.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use tonic::{Code, Status};
use turno_proto::mesh::v1::{ItemOutcome, ItemOutcomes};
use turno_proto::status;
use turno_runtime::units::{Rounded, micros};

use super::{Away, Running};
use crate::account::Account;
use crate::link::Link;
use crate::link::pending::Answer;
use crate::map::book::{Loss, MOST_LOSSES, Settled, Suspect};
use crate::map::errand::{Back, Errands};
use crate::map::sizes::Told;
use crate::quarantine::NodeKey;
use crate::trouble::COMES_AGAIN;

/// Up to so many bytes.
const COPIED: usize = 64 * 1024;

impl Running {
    /// One that is obsolete is nobody's business. An error breaks the map.
    pub(super) fn take_back(&mut self, id: u64, back: Back) -> Result<(), Status> {
        if self.away.remove(&id).is_none() {
            return Ok(());
        }
        match back {
            Back::Answered(answer) => self.answered(id, answer),
            Back::Unstarted => {
                let settled = self.book.handed_back(id);
                self.settle(settled);
            }
            Back::Lost(link) => self.lost(id, &link),
            Back::Weighed(suspect) => self.weighed(id, suspect),
            Back::Late(most) => self.late(id, most),
            Back::NoOther => self.book.has_no_other_node(id, self.at_us(Instant::now())),
            Back::Nobody(status) => return Err(status),
        }
        Ok(())
    }

    fn answered(&mut self, id: u64, Answer { outcome, away }: Answer) {
        if status::code_of(outcome.code) != Code::Ok {
            return self.fail(id, &status::from_outcome(outcome));
        }
        // A copy, so that what waits for the client does not keep all that came in the same frame. What is large came alone.
        let is_small = outcome.body.len() <= COPIED;
        let body = if is_small { Bytes::copy_from_slice(&outcome.body) } else { outcome.body };
        let bytes = body.len();
        let Ok(ItemOutcomes { outcomes }) = ItemOutcomes::decode(body) else {
            return self.fail(id, &Status::internal("a node answered a chunk with what is none"));
        };
        let cost = outcome.cost.unwrap_or_default();
        let away_us = micros(away);
        let way_us = away_us.saturating_sub(cost.queue_us.saturating_add(cost.run_us));
        self.sizes.observe(Told { items: outcomes.len(), run_us: cost.run_us, way_us, bytes });
        let settled = self.book.answered(id, outcomes);
        self.settle(settled);
    }

    fn lost(&mut self, id: u64, link: &Link) {
        let Errands { method, router, .. } = &self.errands;
        let (name, node, went) = (method.name(), &link.hello.name, link.parting());
        if !method.served().repeatable && !self.is_ticket() {
            let what = format!(
                "node {node} {went} while {name} was there: it may have run; it was not tried again, since its \
                 idempotency_level does not say that it may be repeated"
            );
            return self.fail(id, &Status::unavailable(what));
        }
        tracing::info!(method = name, node, "node {went}: running a map's items again elsewhere");
        if link.is_leaving() {
            let settled = self.book.left(id);
            return self.settle(settled);
        }
        let lost = router.trouble.node(link);
        let lives = |node: NodeKey| (node == lost && link.is_no_death()) || router.nodes.lives(node);
        let loss = self.book.lost(id, lost, self.sizes.service_us(), lives);
        self.follow(id, loss);
    }

    fn weighed(&mut self, id: u64, suspect: Suspect) {
        let nodes = &self.errands.router.nodes;
        let loss = self.book.weighed(suspect, |node| nodes.lives(node));
        self.follow(id, loss);
    }

    /// Does what is to be done about a suspect that does not just go again.
    fn follow(&mut self, id: u64, loss: Option<Loss>) {
        let Errands { method, router, .. } = &self.errands;
        let name = method.name();
        let (index, refused) = match loss {
            None => return,
            Some(Loss::ToWeigh(suspect)) => return self.weigh(id, suspect),
            Some(Loss::Convicted(suspect)) => {
                (suspect.index, router.trouble.convict(name, &suspect.body, suspect.nodes()))
            }
            Some(Loss::GivenUp(suspect)) => (suspect.index, given_up(name)),
        };
        let outcomes = vec![(index, status::to_item(&refused))];
        self.settle(Settled { outcomes, obsolete: None });
    }

    /// Gives the nodes that were lost with a suspect time to come again; meanwhile the other items go on.
    fn weigh(&mut self, id: u64, suspect: Suspect) {
        // The gateway's end does not wait for that: then the item has no result here.
        let stop = self.closing.child_token();
        self.away.insert(id, Away { stop: stop.clone(), pass: None });
        let router = self.errands.router.clone();
        self.out.push(Box::pin(async move {
            let has_come = || !suspect.is_grave(|node| router.nodes.lives(node));
            let coming = router.nodes.come_until(has_come, COMES_AGAIN);
            let is_weighed = stop.run_until_cancelled(coming).await.is_some();
            let back = if is_weighed { Back::Weighed(suspect) } else { Back::Unstarted };
            (id, (back, Account::default()))
        }));
    }

    /// One item of the chunk was: which, they show when they go again one by one, if they may.
    fn late(&mut self, id: u64, most: Duration) {
        let method = &self.errands.method;
        if method.served().repeatable && self.book.goes_singly(id) {
            return;
        }
        let (name, most) = (method.name(), Rounded(most));
        let what = format!("{name} was not done within {most}, or another item of its chunk");
        self.fail(id, &Status::deadline_exceeded(what));
    }

    fn fail(&mut self, id: u64, status: &Status) {
        let settled = self.book.failed(id, &status::to_item(status));
        self.settle(settled);
    }

    fn settle(&mut self, settled: Settled) {
        if let Some(away) = settled.obsolete.and_then(|obsolete| self.away.remove(&obsolete)) {
            away.stop.cancel();
        }
        let mut succeeded = 0;
        for (index, outcome) in settled.outcomes {
            self.count(&outcome, &mut succeeded);
            self.outbox.put(index, outcome);
        }
        self.errands.method.succeeded.increment(succeeded);
    }

    fn count(&self, outcome: &ItemOutcome, succeeded: &mut u64) {
        match status::code_of(outcome.code) {
            Code::Ok => *succeeded += 1,
            code => self.errands.method.ended(code),
        }
    }
}

/// Why an item has no more runs.
fn given_up(name: &str) -> Status {
    Status::unavailable(format!(
        "{name} was lost with its node, or the link to it, {MOST_LOSSES} times: it may have run, and is not tried again"
    ))
}
