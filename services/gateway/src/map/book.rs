//! Where each item of a map is: waiting here, out with a chunk, or under suspicion after its node was lost. Each leaves
//! the book once, with its one outcome. Pure: knows no clock.
//!
//! When a node is lost with a chunk whose items may be repeated, one of them may be what killed it. They all become
//! suspects (`suspects`), and go again one by one, so that a bad item does not take its neighbours with it. The retry
//! budget has no say in that: it is there to keep repetitions from adding to the load of a mesh that fails, and here they
//! add nothing, since they take the place of items that would have gone instead; and no item is run more than three times
//! because nodes were lost, or their links. A node that was leaving speaks against nothing that it had: its items just go
//! again.
//!
//! Near the end a chunk that is out for much longer than its like is issued again elsewhere, once, as its twin: the
//! first answer counts for what it has run, and what becomes of the other is nobody's business.

mod chunk;
mod suspects;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use turno_proto::mesh::v1::ItemOutcome;

use crate::quarantine::NodeKey;
use crate::scheduler::WorkerId;
use chunk::{decoded, encoded};
use suspects::Suspects;

pub(crate) use chunk::{Chunk, Settled};
pub(crate) use suspects::{Loss, MOST_LOSSES, Suspect};

/// The items of one map that have no outcome yet.
#[derive(Debug)]
pub(crate) struct Book {
    next_index: u64,
    next_chunk: u64,
    ended: bool,
    waiting: VecDeque<Item>,
    waiting_bytes: usize,
    out: HashMap<u64, Out>,
    suspects: Suspects,
    /// Items that are out or suspected.
    open: usize,
    /// Bytes of the chunks that are out; twins have the same ones.
    out_bytes: usize,
    /// The largest body of a chunk with more than one item.
    most_bytes: usize,
}

#[derive(Debug)]
struct Item {
    index: u64,
    body: Bytes,
    handed_back: u8,
}

/// A chunk that is on its way, or at a node.
#[derive(Debug)]
struct Out {
    indexes: Vec<u64>,
    body: Bytes,
    handed_back: u8,
    /// Of a suspect, which has no other beside it.
    accused: Option<suspects::Accused>,
    twin: Option<u64>,
    /// When it went to which node.
    sent: Option<(u64, WorkerId)>,
    /// Not before then is it issued again.
    patient_until_us: u64,
}

impl Out {
    /// In order, what others wait for. What is back is put before others in the order in which it comes back.
    fn first(&self) -> u64 {
        self.indexes.iter().copied().min().expect("a chunk has an item")
    }
}

/// When a chunk is out for too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late {
    pub(crate) now_us: u64,
    /// Of one item.
    pub(crate) service_us: f64,
}

/// A node that cannot be given work is soon known to be gone; this bounds what happens until then.
const MOST_HANDED_BACK: u8 = 100;
/// A chunk is late after so many times of what it should have taken, and after this at least.
const LATE_TIMES: f64 = 4.0;
const LATE_LEAST_US: f64 = 100_000.0;
/// When there was no other node for it, one may have come by then.
const ASK_AGAIN_US: u64 = 100_000;
/// Beside its bytes, what an item takes while it waits: a million empty ones are not nothing.
const ITEM: usize = size_of::<Item>();
/// Beside its bytes, what an item takes in a chunk at most: its field's number and its length.
const ENVELOPE: usize = 6;

impl Book {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            next_index: 0,
            next_chunk: 0,
            ended: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            out: HashMap::new(),
            suspects: Suspects::default(),
            open: 0,
            out_bytes: 0,
            most_bytes,
        }
    }

    /// Gives an item its number.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_index += 1;
        self.next_index - 1
    }

    /// So many numbers are nobody's here.
    pub(crate) fn pass(&mut self, count: u64) {
        self.next_index += count;
    }

    /// An item that is to be run.
    pub(crate) fn wait(&mut self, index: u64, body: Bytes) {
        self.waiting_bytes += body.len() + ITEM;
        self.waiting.push_back(Item { index, body, handed_back: 0 });
    }

    /// No more items come.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Items that were taken.
    pub(crate) fn items(&self) -> u64 {
        self.next_index
    }

    /// Items that wait here, and the bytes that they take.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.waiting_bytes)
    }

    /// Items that are out or suspected.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Bytes of items that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting_bytes + self.out_bytes + self.suspects.bytes()
    }

    /// Chunks that are out.
    pub(crate) fn chunks(&self) -> usize {
        self.out.len()
    }

    /// Every item that was taken has its outcome.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open == 0
    }

    /// Every item has its outcome.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.is_empty()
    }

    /// All that is left is out.
    pub(crate) fn is_at_the_end(&self) -> bool {
        self.ended && self.waiting.is_empty() && self.suspects.is_empty() && !self.out.is_empty()
    }

    /// The next chunk, of so many items at most, a suspect first; `None` when nothing may go.
    pub(crate) fn next(&mut self, most: usize) -> Option<Chunk> {
        if let Some(suspect) = self.suspects.next(self.out.is_empty()) {
            let Suspect { index, body, handed_back, accused } = suspect;
            let body = encoded(std::iter::once(body));
            return Some(self.send(vec![index], body, handed_back, Some(accused)));
        }
        if self.suspects.want_to_be_alone() {
            return None;
        }
        self.next_waiting(most)
    }

    fn next_waiting(&mut self, most: usize) -> Option<Chunk> {
        let handed_back = self.waiting.front()?.handed_back;
        let (mut bytes, mut count) = (0, 0);
        // What comes back again and again does not take with it what has just come.
        for item in self.waiting.iter().take(most).take_while(|item| item.handed_back == handed_back) {
            bytes += item.body.len() + ENVELOPE;
            if count > 0 && bytes > self.most_bytes {
                break;
            }
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let indexes = self.waiting.iter().take(count).map(|item| item.index).collect();
        // One buffer of the chunk's own: what came with the client's message is freed with its last item.
        let body = encoded(self.waiting.drain(..count).map(|item| item.body).inspect(|body| {
            self.waiting_bytes -= body.len() + ITEM;
        }));
        self.open += count;
        Some(self.send(indexes, body, handed_back, None))
    }

    fn send(
        &mut self,
        indexes: Vec<u64>,
        body: Bytes,
        handed_back: u8,
        accused: Option<suspects::Accused>,
    ) -> Chunk {
        let out = Out { indexes, body, handed_back, accused, twin: None, sent: None, patient_until_us: 0 };
        self.put_out(out, None)
    }

    fn put_out(&mut self, out: Out, avoid: Option<WorkerId>) -> Chunk {
        self.next_chunk += 1;
        let (id, first, body, handed_back) =
            (self.next_chunk, out.first(), out.body.clone(), out.handed_back);
        let items = u32::try_from(out.indexes.len()).expect("a chunk has at most 4096 items");
        if out.twin.is_none() {
            self.out_bytes += body.len();
        }
        self.out.insert(id, out);
        Chunk { id, first, items, body, handed_back, avoid }
    }

    fn take_back(&mut self, id: u64) -> Option<Out> {
        let out = self.out.remove(&id)?;
        match out.twin.and_then(|twin| self.out.get_mut(&twin)) {
            Some(twin) => twin.twin = None,
            None => self.out_bytes -= out.body.len(),
        }
        if let Some(accused) = &out.accused {
            self.suspects.is_back(accused);
        }
        Some(out)
    }

    /// It has gone to a node.
    pub(crate) fn sent(&mut self, id: u64, now_us: u64, node: WorkerId) {
        if let Some(out) = self.out.get_mut(&id) {
            out.sent = Some((now_us, node));
        }
    }

    /// A node has answered the first of its items, or all of them.
    pub(crate) fn answered(&mut self, id: u64, outcomes: Vec<ItemOutcome>) -> Settled {
        let Some(out) = self.take_back(id) else { return Settled::default() };
        let whole = outcomes.len() >= out.indexes.len();
        let mut obsolete = None;
        if let Some(twin) = out.twin {
            if outcomes.is_empty() {
                // Its twin answers.
                return Settled::default();
            }
            self.take_back(twin);
            obsolete = Some(twin);
        }
        if outcomes.is_empty() {
            return self.again(out, true);
        }
        let outcomes: Vec<_> = out.indexes.iter().copied().zip(outcomes).collect();
        self.open -= outcomes.len();
        if !whole {
            self.wait_again(&out, outcomes.len());
        }
        Settled { outcomes, obsolete }
    }

    /// Nothing of it has run: it goes again, unless it has come back too often.
    pub(crate) fn handed_back(&mut self, id: u64) -> Settled {
        self.is_back(id, true)
    }

    /// Its node had no time left to end it, and its items may be repeated: they go again, and none is suspected.
    pub(crate) fn left(&mut self, id: u64) -> Settled {
        self.is_back(id, false)
    }

    fn is_back(&mut self, id: u64, counts: bool) -> Settled {
        match self.take_back(id) {
            Some(out) if out.twin.is_none() => self.again(out, counts),
            _ => Settled::default(),
        }
    }

    fn again(&mut self, mut out: Out, counts: bool) -> Settled {
        out.handed_back += u8::from(counts);
        if out.handed_back > MOST_HANDED_BACK {
            let code = turno_proto::status::code_number(tonic::Code::Unavailable);
            let message = format!("it was handed back unstarted {MOST_HANDED_BACK} times");
            return self.settle(out, &ItemOutcome { code, message, ..ItemOutcome::default() });
        }
        match out.accused.take() {
            Some(accused) => self.suspects.again(suspect_in(&out, accused)),
            None => self.wait_again(&out, 0),
        }
        Settled::default()
    }

    /// Puts its items, but for the first ones, where they are the next to go.
    fn wait_again(&mut self, out: &Out, but: usize) {
        let bodies = decoded(&out.body);
        for (index, body) in out.indexes.iter().zip(bodies).skip(but).rev() {
            self.waiting_bytes += body.len() + ITEM;
            self.waiting.push_front(Item { index: *index, body, handed_back: out.handed_back });
            self.open -= 1;
        }
    }

    /// All of its items have the same outcome.
    pub(crate) fn failed(&mut self, id: u64, outcome: &ItemOutcome) -> Settled {
        match self.take_back(id) {
            Some(out) if out.twin.is_none() => self.settle(out, outcome),
            _ => Settled::default(),
        }
    }

    fn settle(&mut self, out: Out, outcome: &ItemOutcome) -> Settled {
        self.open -= out.indexes.len();
        let outcomes = out.indexes.into_iter().map(|index| (index, outcome.clone())).collect();
        Settled { outcomes, obsolete: None }
    }

    /// Its node was lost, and its items may be repeated. Answers a suspect that does not just go again: unless it is to be
    /// weighed, it has left the book, and is owed its outcome.
    pub(crate) fn lost(
        &mut self,
        id: u64,
        node: NodeKey,
        service_us: Option<f64>,
        lives: impl Fn(NodeKey) -> bool,
    ) -> Option<Loss> {
        let mut out = self.take_back(id).filter(|out| out.twin.is_none())?;
        let Some(accused) = out.accused.take() else {
            self.suspect(out, 1, Some(node).filter(|node| !lives(*node)), service_us);
            return None;
        };
        let loss = self.suspects.died(suspect_in(&out, accused), node, lives);
        self.judged(loss)
    }

    /// The nodes that were lost with it have had time to come again. Answers as [`Book::lost`].
    pub(crate) fn weighed(&mut self, suspect: Suspect, lives: impl Fn(NodeKey) -> bool) -> Option<Loss> {
        let loss = self.suspects.weighed(suspect, lives);
        self.judged(loss)
    }

    fn judged(&mut self, loss: Option<Loss>) -> Option<Loss> {
        if let Some(Loss::Convicted(_) | Loss::GivenUp(_)) = &loss {
            self.open -= 1;
        }
        loss
    }

    /// Its items go again one by one, unless there is only one.
    pub(crate) fn goes_singly(&mut self, id: u64) -> bool {
        if self.out.get(&id).is_none_or(|out| out.indexes.len() < 2) {
            return false;
        }
        // No node was lost with them, and they need not go alone.
        if let Some(out) = self.take_back(id).filter(|out| out.twin.is_none()) {
            self.suspect(out, 0, None, None);
        }
        true
    }

    fn suspect(&mut self, out: Out, losses: u8, node: Option<NodeKey>, service_us: Option<f64>) {
        let items = out.indexes.into_iter().zip(decoded(&out.body));
        self.suspects.add(items, losses, node, service_us);
    }

    /// A chunk that is out for much longer than its like, to be issued again. One that `has_run` waits for room.
    pub(crate) fn straggler(&mut self, late: Late, has_run: impl Fn(u64) -> bool) -> Option<Chunk> {
        if !self.is_at_the_end() {
            return None;
        }
        let is_late = |out: &Out| {
            let expected = late.service_us * out.indexes.len() as f64;
            let most = (LATE_TIMES * expected).max(LATE_LEAST_US);
            out.twin.is_none()
                && out.accused.is_none()
                && late.now_us >= out.patient_until_us
                && out.sent.is_some_and(|(at, _)| late.now_us.saturating_sub(at) as f64 > most)
        };
        let (&id, out) = self
            .out
            .iter()
            .filter(|(id, out)| is_late(out) && !has_run(**id))
            .min_by_key(|(_, out)| out.sent)?;
        let (indexes, body) = (out.indexes.clone(), out.body.clone());
        let twin = Out { indexes, body, accused: None, twin: Some(id), ..*out };
        let (avoid, twin) = (out.sent.map(|(_, node)| node), Out { sent: None, ..twin });
        let chunk = self.put_out(twin, avoid);
        self.out.get_mut(&id).expect("it was just looked at").twin = Some(chunk.id);
        Some(chunk)
    }

    /// There was no other node for a twin. If the first of the two is not out any more, its items go again anywhere.
    pub(crate) fn has_no_other_node(&mut self, id: u64, now_us: u64) {
        let Some(twin) = self.take_back(id) else { return };
        match twin.twin.and_then(|first| self.out.get_mut(&first)) {
            Some(first) => first.patient_until_us = now_us + ASK_AGAIN_US,
            None => self.wait_again(&twin, 0),
        }
    }
}

/// The one item of a suspect's chunk.
fn suspect_in(out: &Out, accused: suspects::Accused) -> Suspect {
    let body = decoded(&out.body).pop().unwrap_or_default();
    Suspect { index: out.indexes[0], body, handed_back: out.handed_back, accused }
}

#[cfg(test)]
mod tests;
