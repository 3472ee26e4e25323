//! Inputs that kill nodes. A call that was lost with its node is remembered by what it asked; once two nodes have
//! gone down with the same method and the same bytes, such calls are refused for ten minutes, and then may try
//! again: a poison message, as queues have it ("maximum receives" of Amazon SQS, a dead letter exchange of RabbitMQ).
//! One gateway remembers it, as long as it runs, and a node's part in it until the node comes again, whose link has only broken
//! then. How many nodes were lost with a ticket, its record says (`tickets/losses.rs`).
//! Knows no clock and draws no random numbers: the hash's key is given.
//!
//! Others go down with a poison call. So one lost node is one death however many calls with these bytes were on it,
//! and an input that is answered, by any node, in any call, is innocent and forgotten. What uses it asks, in this
//! order: [`Quarantine::is_empty`], which is one load and nearly always true; [`Quarantine::suspect`], which hashes
//! the bytes only if their method and length are remembered; [`Quarantine::refused_for_us`] before the call goes
//! out, [`Quarantine::answered`] when it is back.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, DefaultHasher, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// So many nodes lost, and an input is not tried again.
pub(crate) const DEATHS: u32 = 2;

/// A method and the bytes of its request, by keyed hashes: who does not know the key cannot make two of them meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Of method and length.
    shape: u64,
    /// Of the bytes too.
    whole: u64,
}

/// A node, whichever link it has, by a hash of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeKey(pub(crate) u64);

/// So many may have had an input at once before it was known; of more nodes than that nobody asks.
const MOST_NODES: usize = 8;

/// The inputs with which nodes went down of late.
#[derive(Debug)]
pub(crate) struct Quarantine {
    random: RandomState,
    capacity: usize,
    time_to_live_us: u64,
    empty: AtomicBool,
    deaths: Mutex<Deaths>,
}

#[derive(Debug, Default)]
struct Deaths {
    known: HashMap<Key, Death>,
    /// The same keys, the one that died longest ago first.
    order: BTreeMap<u64, Key>,
    /// How many keys have this shape.
    shapes: HashMap<u64, u32>,
    next: u64,
    now_us: u64,
}

#[derive(Debug)]
struct Death {
    /// At most [`MOST_NODES`].
    nodes: Vec<NodeKey>,
    at_us: u64,
    order: u64,
}

impl Quarantine {
    /// Remembers `capacity` inputs, each for `time_to_live_us` from its last death.
    pub(crate) fn new(capacity: usize, time_to_live_us: u64, random: RandomState) -> Self {
        Self { random, capacity, time_to_live_us, empty: AtomicBool::new(true), deaths: Mutex::default() }
    }

    /// Nothing is remembered: no input needs to be looked at.
    pub(crate) fn is_empty(&self) -> bool {
        self.empty.load(Ordering::Relaxed)
    }

    /// What `died` wants. Reads all of `body`.
    pub(crate) fn key(&self, path: &str, body: &[u8]) -> Key {
        let mut hasher = self.shape(path, body.len());
        let shape = hasher.finish();
        hasher.write(body);
        Key { shape, whole: hasher.finish() }
    }

    /// What `died` and `lives` want.
    pub(crate) fn node(&self, id: &str) -> NodeKey {
        NodeKey(self.random.hash_one(id))
    }

    /// The key, if an input of this method and length is remembered. Nearly always none, and then cheap.
    pub(crate) fn suspect(&self, path: &str, body: &[u8], now_us: u64) -> Option<Key> {
        // Not under the lock: a body may be long.
        self.knows_of(path, body.len(), now_us).then(|| self.key(path, body))
    }

    /// Whether an input of this method and so many bytes is remembered.
    pub(crate) fn knows_of(&self, path: &str, bytes: usize, now_us: u64) -> bool {
        if self.is_empty() {
            return false;
        }
        let shape = self.shape(path, bytes).finish();
        self.with_deaths(now_us, |deaths| deaths.shapes.contains_key(&shape))
    }

    /// The call was lost with its node. Answers how many nodes have gone down with such calls.
    pub(crate) fn died(&self, key: Key, node: NodeKey, now_us: u64) -> u32 {
        self.with_deaths(now_us, |deaths| {
            let count = deaths.record(key, node);
            while deaths.known.len() > self.capacity {
                deaths.forget_oldest();
            }
            count
        })
    }

    /// Such a call was answered: it was another one that killed the node.
    pub(crate) fn answered(&self, key: Key) {
        self.with_deaths(0, |deaths| deaths.forget(key));
    }

    /// The node has come again: it went down with nothing.
    pub(crate) fn lives(&self, node: NodeKey) {
        self.with_deaths(0, |deaths| deaths.forget_node(node));
    }

    /// Whether such a call is to be refused; and then for how long no node has gone down with one.
    pub(crate) fn refused_for_us(&self, key: Key, now_us: u64) -> Option<u64> {
        self.with_deaths(now_us, |deaths| {
            let death = deaths.known.get(&key).filter(|death| death.nodes.len() as u32 >= DEATHS)?;
            Some(deaths.now_us - death.at_us)
        })
    }

    /// Has taken in the method and the length, and may go on with the bytes.
    fn shape(&self, path: &str, bytes: usize) -> DefaultHasher {
        let mut hasher = self.random.build_hasher();
        hasher.write_usize(path.len());
        hasher.write(path.as_bytes());
        hasher.write_usize(bytes);
        hasher
    }

    /// With those that have not expired.
    fn with_deaths<T>(&self, now_us: u64, look: impl FnOnce(&mut Deaths) -> T) -> T {
        let mut deaths = self.deaths.lock();
        // Threads read the clock before they have the lock.
        deaths.now_us = deaths.now_us.max(now_us);
        deaths.expire(self.time_to_live_us);
        let answer = look(&mut deaths);
        self.empty.store(deaths.known.is_empty(), Ordering::Relaxed);
        answer
    }
}

impl Deaths {
    fn record(&mut self, key: Key, node: NodeKey) -> u32 {
        let mut nodes = self.forget(key).map_or_else(Vec::new, |before| before.nodes);
        if !nodes.contains(&node) && nodes.len() < MOST_NODES {
            nodes.push(node);
        }
        let count = nodes.len() as u32;
        let order = self.next;
        self.next += 1;
        self.known.insert(key, Death { nodes, at_us: self.now_us, order });
        self.order.insert(order, key);
        *self.shapes.entry(key.shape).or_default() += 1;
        count
    }

    fn forget(&mut self, key: Key) -> Option<Death> {
        let death = self.known.remove(&key)?;
        self.order.remove(&death.order);
        if let Some(count) = self.shapes.get_mut(&key.shape) {
            *count -= 1;
            if *count == 0 {
                self.shapes.remove(&key.shape);
            }
        }
        Some(death)
    }

    fn forget_node(&mut self, node: NodeKey) {
        self.known.values_mut().for_each(|death| death.nodes.retain(|other| *other != node));
        let acquitted = self.known.iter().filter(|(_, death)| death.nodes.is_empty());
        let acquitted: Vec<Key> = acquitted.map(|(key, _)| *key).collect();
        for key in acquitted {
            self.forget(key);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.order.first_entry().map(|oldest| *oldest.get()) {
            self.forget(key);
        }
    }

    fn expire(&mut self, time_to_live_us: u64) {
        let expired = |death: &Death, now_us: u64| now_us - death.at_us >= time_to_live_us;
        while let Some((_, key)) = self.order.first_key_value()
            && self.known.get(key).is_some_and(|death| expired(death, self.now_us))
        {
            self.forget_oldest();
        }
    }
}

#[cfg(test)]
mod tests;
