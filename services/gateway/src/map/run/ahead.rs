//! What goes out of a map next: as many chunks, of as many items, as slots, the window and what is known of answers allow.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use turno_proto::mesh::v1::Kind;

use super::{Away, Running};
use crate::map::book::{Chunk, Late};
use crate::map::errand::Errands;
use crate::map::sizes::Ahead;
use crate::map::window::Answers;

/// Chunks of one `async fn` at a node, when there are not enough items to fill them.
const AWAITED_CHUNKS: usize = 4;

struct Slots {
    count: usize,
    most_chunks: usize,
    most_items: usize,
    /// Items that may be out.
    most_out: usize,
    /// Bytes that each answer is expected to have, where nothing else bounds how many come at once.
    answer: f64,
}

impl Running {
    pub(super) fn send_chunks(&mut self) {
        if self.leaving {
            return;
        }
        let (slots, left) = (self.slots(), self.room.left_to_results());
        let answers = Answers { each: slots.answer, most_out: slots.most_out, left };
        let mut brief = None;
        while self.book.chunks() < slots.most_chunks {
            let nothing_is_out = self.away.is_empty();
            let room = self.window.room(&self.book, &self.outbox, answers, nothing_is_out);
            let Some(room) = room else { return };
            let (waiting, _) = self.book.waiting();
            let brief = *brief.get_or_insert_with(|| self.is_to_be_brief());
            let ahead = Ahead { waiting, ended: self.book.has_ended(), slots: slots.count, brief };
            let most = self.sizes.next(ahead).min(room).min(slots.most_items);
            let Some(chunk) = self.book.next(most) else { return };
            self.send(chunk);
        }
    }

    fn send(&mut self, chunk: Chunk) {
        let Some(gate) = &self.gate else { return };
        let (id, stop) = (chunk.id, CancellationToken::new());
        // What is counted until its answer is here does not wait: nobody else would have its place.
        let is_counted = !self.is_awaited() || self.errands.method.served().policy.concurrency.is_some();
        let pass = (!is_counted).then(|| gate.pass(chunk.first, chunk.items));
        self.away.insert(id, Away { stop: stop.clone(), pass: pass.clone() });
        self.first_sent.get_or_insert_with(Instant::now);
        let errand = self.errands.clone().run(chunk, pass, stop);
        self.out.push(Box::pin(async move { (id, errand.await) }));
    }

    fn is_to_be_brief(&self) -> bool {
        let Errands { method, router, .. } = &self.errands;
        let served = method.served();
        served.kind == Kind::Job
            && (served.policy.concurrency.is_some() || router.queue.calls_wait(method.id))
    }

    /// Slots, and how many chunks may be out: those in them, as many that are on their way, and two that wait.
    fn slots(&self) -> Slots {
        let served = self.errands.method.served();
        if served.kind == Kind::Job {
            let slots = served.seats.iter().map(|seat| seat.link.slots() as usize);
            let count = slots.sum::<usize>().max(1);
            let most_chunks = 2 * count + 2;
            // The window holds as many whole chunks: else what comes back makes room for small ones.
            let most_items = (self.terms.in_flight / most_chunks).max(1);
            return Slots { count, most_chunks, most_items, most_out: usize::MAX, answer: 0.0 };
        }
        // What is awaited wants no slot; where calls are counted, each item is one.
        let most_items = if served.policy.concurrency.is_some() { 1 } else { usize::MAX };
        let (most_out, answer) = (self.most_out(), self.sizes.answer());
        let count = served.seats.len() * AWAITED_CHUNKS;
        Slots { count, most_chunks: usize::MAX, most_items, most_out, answer }
    }

    pub(super) fn look_for_stragglers(&mut self) {
        let (true, Some(service_us)) = (self.errands.method.served().repeatable, self.sizes.service_us())
        else {
            return;
        };
        let late = Late { now_us: self.at_us(Instant::now()), service_us };
        while let Some(twin) = self.book.straggler(late, |id| self.away.get(&id).is_some_and(Away::has_run)) {
            tracing::debug!(
                method = self.errands.method.name(),
                items = twin.items,
                "a straggler is issued again"
            );
            self.send(twin);
        }
    }

    /// More would go if it were known how large their answers are.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_awaited() && self.book.waiting().0 > 0 && self.book.open() >= self.most_out()
    }

    fn most_out(&self) -> usize {
        let since = self.first_sent.map_or(Duration::ZERO, |first| first.elapsed());
        self.sizes.most_out(since)
    }

    fn is_awaited(&self) -> bool {
        self.errands.method.served().kind != Kind::Job
    }
}
