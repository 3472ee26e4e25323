//! What the gateway remembers of what went wrong: how many repetitions it can still afford, which inputs have killed
//! nodes, which nodes are slow. The budget of the runtime, `quarantine` and `outliers` decide; here is their clock, and
//! their words.

use std::hash::RandomState;
use std::time::{Duration, Instant};

use tonic::Status;
use turno_runtime::budget::{Budget, SHARE};
use turno_runtime::units::micros;

use crate::calls::Call;
use crate::link::Link;
use crate::quarantine::{DEATHS, Key, NodeKey, Quarantine};

/// The memory of one gateway.
pub(crate) struct Trouble {
    since: Instant,
    budget: Budget,
    quarantine: Quarantine,
}

/// Inputs remembered at once.
const MOST_INPUTS: usize = 10_000;
/// For so long an input that has killed two nodes is not tried again.
const QUARANTINE: Duration = Duration::from_secs(600);
/// A node that lives has a link again by then: it notices within 3 s that the old one is broken, and dials every 0.8 s.
pub(crate) const COMES_AGAIN: Duration = Duration::from_secs(4);

impl Trouble {
    pub(crate) fn new() -> Self {
        let quarantine = Quarantine::new(MOST_INPUTS, micros(QUARANTINE), RandomState::new());
        Self { since: Instant::now(), budget: Budget::new(SHARE), quarantine }
    }

    /// Lets a call pass, unless its input is in quarantine.
    pub(crate) fn admit(&self, call: &Call) -> Result<(), Status> {
        self.budget.deposit();
        self.refusal(call.method.name(), &call.body).map_or(Ok(()), Err)
    }

    /// Whether a call that was refused would be later too: its nodes have had the time to come again.
    pub(crate) fn stays_refused(&self, call: &Call) -> bool {
        self.refused_for(call.method.name(), &call.body).is_some_and(|since| since >= COMES_AGAIN)
    }

    /// Why an item of a map is not run, if its input is in quarantine.
    pub(crate) fn refusal(&self, method: &str, item: &[u8]) -> Option<Status> {
        self.refused_for(method, item).map(|_| in_quarantine(method))
    }

    fn refused_for(&self, method: &str, body: &[u8]) -> Option<Duration> {
        if self.quarantine.is_empty() {
            return None;
        }
        let now_us = self.now_us();
        let suspect = self.quarantine.suspect(method, body, now_us)?;
        self.quarantine.refused_for_us(suspect, now_us).map(Duration::from_micros)
    }

    /// These nodes were lost with this item of a map, two at least, and no other item of it was near the last time.
    pub(crate) fn convict(&self, method: &str, item: &[u8], nodes: &[NodeKey]) -> Status {
        let key = self.quarantine.key(method, item);
        for node in nodes {
            self.quarantine.died(key, *node, self.now_us());
        }
        tracing::error!(
            method,
            bytes = item.len(),
            "two nodes were lost with the same item: it is in quarantine"
        );
        in_quarantine(method)
    }

    /// Whether a call may pass without being looked at.
    pub(crate) fn is_calm(&self) -> bool {
        self.quarantine.is_empty()
    }

    /// Such a call has passed.
    pub(crate) fn passed(&self) {
        self.budget.deposit();
    }

    /// The node that had the call was lost. An input that has now gone down with two is not tried again. A node that was
    /// leaving has not gone down: its time to drain was over.
    pub(crate) fn died(&self, call: &Call, link: &Link) -> Result<(), Status> {
        if link.is_no_death() {
            return Ok(());
        }
        let key = self.accuse(call, link);
        if self.is_quarantined(key) { Err(in_quarantine(call.method.name())) } else { Ok(()) }
    }

    /// The same of a node that was not leaving, for who looks further: what the input is remembered by.
    pub(crate) fn accuse(&self, call: &Call, link: &Link) -> Key {
        let (method, bytes) = (call.method.name(), call.body.len());
        let key = self.quarantine.key(method, &call.body);
        if self.quarantine.died(key, self.node(link), self.now_us()) >= DEATHS {
            tracing::error!(method, bytes, "two nodes were lost with the same request: it is in quarantine");
        }
        key
    }

    /// Whether such an input is refused now.
    pub(crate) fn is_quarantined(&self, key: Key) -> bool {
        self.quarantine.refused_for_us(key, self.now_us()).is_some()
    }

    /// What a node is remembered by: a link of one that does not say who it is, by itself.
    pub(crate) fn node(&self, link: &Link) -> NodeKey {
        match link.hello.node_id.as_str() {
            "" => NodeKey(link.id.0),
            id => self.node_of(id),
        }
    }

    /// The same by its id; by an empty one nobody is known.
    pub(crate) fn node_of(&self, id: &str) -> NodeKey {
        self.quarantine.node(id)
    }

    /// The node that seemed to be lost lives.
    pub(crate) fn lives(&self, node_id: &str) {
        if !self.quarantine.is_empty() {
            self.quarantine.lives(self.node_of(node_id));
        }
    }

    /// The call was answered, after so long away at a node: its input is innocent.
    pub(crate) fn answered(&self, call: &Call, link: &Link, away: Duration) {
        self.acquit(call);
        call.method.observe(link.id, away);
    }

    /// Its node has lived through it.
    pub(crate) fn acquit(&self, call: &Call) {
        self.forget(call.method.name(), &call.body);
    }

    /// Such a request is innocent, or somebody holds it to be.
    pub(crate) fn forget(&self, method: &str, body: &[u8]) {
        if !self.quarantine.is_empty()
            && let Some(key) = self.quarantine.suspect(method, body, self.now_us())
        {
            self.quarantine.answered(key);
        }
    }

    /// Whether there may be something to forget of a request with so many bytes, which need not be read to know that.
    pub(crate) fn knows_of(&self, method: &str, bytes: u64) -> bool {
        usize::try_from(bytes).is_ok_and(|bytes| self.quarantine.knows_of(method, bytes, self.now_us()))
    }

    /// Whether the budget has room for a repetition, before it is known whether there will be one.
    pub(crate) fn could_repeat(&self) -> bool {
        self.budget.has_room(self.now_us())
    }

    /// Whether the budget has room for one repetition; it is taken.
    pub(crate) fn may_repeat(&self) -> bool {
        self.budget.withdraw(self.now_us())
    }

    /// Once a second, so that the budget knows which calls are recent.
    pub(crate) fn tick(&self) {
        self.budget.tick(self.now_us());
    }

    fn now_us(&self) -> u64 {
        micros(self.since.elapsed())
    }
}

fn in_quarantine(name: &str) -> Status {
    Status::failed_precondition(format!(
        "this very request to {name} was running on two nodes when they were lost: it is not tried again for {} minutes",
        QUARANTINE.as_secs() / 60
    ))
}
