//! Items whose node was lost: one of them may have killed it. Each goes again alone, with nothing else of its map out:
//! if its node is lost again, the item is convicted, and no other was near. Where it would take long to run all of them
//! so, they go one by one but side by side at first, and only who goes down with a second node goes alone. Pure.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::quarantine::NodeKey;

/// Those that wait for their turn, and who of them is out.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    waiting: VecDeque<Suspect>,
    bytes: usize,
    /// One is out that goes alone.
    alone: bool,
}

#[derive(Debug)]
struct Suspect {
    index: u64,
    body: Bytes,
    accused: Accused,
}

/// What a suspect is accused of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accused {
    /// The node that was lost with it last.
    node: NodeKey,
    /// Nothing else of its map is out with it.
    alone: bool,
}

/// An item with which two nodes were lost.
#[derive(Debug)]
pub(crate) struct Convict {
    pub(crate) index: u64,
    pub(crate) body: Bytes,
    pub(crate) nodes: [NodeKey; 2],
}

/// Suspects whose work is less than this go alone at once: the guilty one then kills two nodes and no more.
const SOON_US: f64 = 2_000_000.0;

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
    pub(crate) fn next(&mut self, nothing_is_out: bool) -> Option<(u64, Bytes, Accused)> {
        if self.want_to_be_alone() && !nothing_is_out {
            return None;
        }
        let Suspect { index, body, accused } = self.waiting.pop_front()?;
        self.bytes -= body.len();
        self.alone = accused.alone;
        Some((index, body, accused))
    }

    /// It is out no more.
    pub(crate) fn is_back(&mut self, accused: &Accused) {
        // Who goes alone is the only one that is out.
        self.alone &= !accused.alone;
    }

    /// `node` was lost with these items, which were not suspected so far.
    pub(crate) fn add(
        &mut self,
        items: impl Iterator<Item = (u64, Bytes)>,
        node: NodeKey,
        service_us: Option<f64>,
    ) {
        let before = self.waiting.len();
        for (index, body) in items {
            self.put(index, body, Accused { node, alone: false });
        }
        let soon = service_us.is_some_and(|service| service * self.waiting.len() as f64 <= SOON_US);
        self.waiting.iter_mut().skip(before).for_each(|suspect| suspect.accused.alone = soon);
    }

    /// Nothing of it has run.
    pub(crate) fn again(&mut self, index: u64, body: Bytes, accused: Accused) {
        self.put(index, body, accused);
    }

    /// `node` was lost with a suspect.
    pub(crate) fn died(
        &mut self,
        index: u64,
        body: Bytes,
        accused: Accused,
        node: NodeKey,
    ) -> Option<Convict> {
        if accused.alone {
            return Some(Convict { index, body, nodes: [accused.node, node] });
        }
        self.put(index, body, Accused { node, alone: true });
        None
    }

    fn put(&mut self, index: u64, body: Bytes, accused: Accused) {
        self.bytes += body.len();
        self.waiting.push_back(Suspect { index, body, accused });
    }
}
