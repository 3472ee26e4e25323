//! Items whose node was lost: one of them may have killed it. Each goes again alone, with nothing else of its map out:
//! if another node is lost then, the item is convicted, and no other was near. Where it would take long to run all of them
//! so, they go one by one but side by side at first, and only who goes down with a second node goes alone.
//!
//! What is evidence is as with tickets (`tickets/weigh.rs`): a node is one however often its links break, and none when it
//! lives; and before two of them convict an item, both have had time to come again. Pure: whoever asks says who lives.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::quarantine::{DEATHS, NodeKey};

/// Those that wait for their turn, and who of them is out.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    waiting: VecDeque<Suspect>,
    /// Of those that wait, or are weighed.
    bytes: usize,
    /// One is out that goes alone.
    alone: bool,
}

/// An item that may have killed its node.
#[derive(Debug)]
pub(crate) struct Suspect {
    pub(crate) index: u64,
    pub(crate) body: Bytes,
    pub(super) handed_back: u8,
    pub(super) accused: Accused,
}

/// What a suspect is accused of.
#[derive(Debug)]
pub(crate) struct Accused {
    /// The nodes that were lost with it, the last one last, but for those that have lived.
    nodes: Vec<NodeKey>,
    /// So often a node that had it was lost, whatever became of it.
    losses: u8,
    /// Nothing else of its map is out with it.
    alone: bool,
}

/// What a lost node comes to for a suspect that does not just go again.
#[derive(Debug)]
pub(crate) enum Loss {
    /// It is convicted unless a node comes again: it is to be weighed once they have had time for that.
    ToWeigh(Suspect),
    /// Two nodes were lost with it.
    Convicted(Suspect),
    /// It was lost as often as it may be, and nothing says that it has killed two nodes.
    GivenUp(Suspect),
}

/// So often an item goes whose nodes are lost.
pub(crate) const MOST_LOSSES: u8 = 3;
/// Suspects whose work is less than this go alone at once: the guilty one then kills two nodes and no more.
const SOON_US: f64 = 2_000_000.0;

impl Suspect {
    /// The nodes that were lost with it.
    pub(crate) fn nodes(&self) -> &[NodeKey] {
        &self.accused.nodes
    }

    /// Whether it is to be convicted, where these live.
    pub(crate) fn is_grave(&self, lives: impl Fn(NodeKey) -> bool) -> bool {
        self.is_grave_with(&self.dead(lives))
    }

    fn dead(&self, lives: impl Fn(NodeKey) -> bool) -> Vec<NodeKey> {
        self.nodes().iter().copied().filter(|node| !lives(*node)).collect()
    }

    /// The last one was lost when it was alone: the others had its neighbours too.
    fn is_grave_with(&self, dead: &[NodeKey]) -> bool {
        self.accused.alone && dead.len() >= DEATHS as usize && dead.last() == self.nodes().last()
    }
}

impl Suspects {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// One is out, or is to go next, with which nothing else may be out.
    pub(crate) fn want_to_be_alone(&self) -> bool {
        self.alone || self.waiting.front().is_some_and(|first| first.accused.alone)
    }

    /// The next that may go, where `nothing_is_out` or something is.
    pub(crate) fn next(&mut self, nothing_is_out: bool) -> Option<Suspect> {
        if self.want_to_be_alone() && !nothing_is_out {
            return None;
        }
        let suspect = self.waiting.pop_front()?;
        self.bytes -= suspect.body.len();
        self.alone = suspect.accused.alone;
        Some(suspect)
    }

    /// It is out no more.
    pub(crate) fn is_back(&mut self, accused: &Accused) {
        // Who goes alone is the only one that is out.
        self.alone &= !accused.alone;
    }

    /// These items did not come back, after one loss or none, and `node` speaks against them, if one does; they were not
    /// suspected so far.
    pub(crate) fn add(
        &mut self,
        items: impl Iterator<Item = (u64, Bytes)>,
        losses: u8,
        node: Option<NodeKey>,
        service_us: Option<f64>,
    ) {
        let before = self.waiting.len();
        for (index, body) in items {
            let accused = Accused { nodes: node.into_iter().collect(), losses, alone: false };
            self.again(Suspect { index, body, handed_back: 0, accused });
        }
        let soon = service_us.is_some_and(|service| service * self.waiting.len() as f64 <= SOON_US);
        self.waiting.iter_mut().skip(before).for_each(|suspect| suspect.accused.alone = soon);
    }

    /// It waits for its turn.
    pub(crate) fn again(&mut self, suspect: Suspect) {
        self.bytes += suspect.body.len();
        self.waiting.push_back(suspect);
    }

    /// `node` was lost with a suspect.
    pub(crate) fn died(
        &mut self,
        mut suspect: Suspect,
        node: NodeKey,
        lives: impl Fn(NodeKey) -> bool,
    ) -> Option<Loss> {
        let accused = &mut suspect.accused;
        accused.nodes.retain(|other| *other != node);
        accused.nodes.push(node);
        accused.losses += 1;
        let loss = self.judge(suspect, Loss::ToWeigh, lives);
        if let Some(Loss::ToWeigh(suspect)) = &loss {
            self.bytes += suspect.body.len();
        }
        loss
    }

    /// The nodes that were lost with a suspect have had time to come again.
    pub(crate) fn weighed(&mut self, suspect: Suspect, lives: impl Fn(NodeKey) -> bool) -> Option<Loss> {
        self.bytes -= suspect.body.len();
        self.judge(suspect, Loss::Convicted, lives)
    }

    fn judge(
        &mut self,
        mut suspect: Suspect,
        if_grave: fn(Suspect) -> Loss,
        lives: impl Fn(NodeKey) -> bool,
    ) -> Option<Loss> {
        let dead = suspect.dead(lives);
        let is_grave = suspect.is_grave_with(&dead);
        suspect.accused.nodes = dead;
        if is_grave {
            return Some(if_grave(suspect));
        }
        if suspect.accused.losses >= MOST_LOSSES {
            return Some(Loss::GivenUp(suspect));
        }
        suspect.accused.alone = true;
        self.again(suspect);
        None
    }
}
