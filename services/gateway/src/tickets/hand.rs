//! What this gateway has in hand: places for attempts, and memory for their requests. A table.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use turno_store::{Queue, Room};

use crate::tickets::shares::Shares;

/// Places and memory of one gateway.
pub(crate) struct Hand {
    all: usize,
    places: Arc<Semaphore>,
    /// In kibibytes: of a semaphore no more than 2³² can be had at a time.
    memory: Arc<Semaphore>,
    all_memory: u32,
    table: Arc<Table>,
}

/// Which queue has how much of it.
struct Table {
    shares: Mutex<Shares>,
    /// A queue that was full has room again.
    eased: Notify,
}

/// One attempt's place; given back when it is dropped.
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    /// `None` until there is some for its request.
    memory: Option<OwnedSemaphorePermit>,
    /// `None` until it is known whose it is.
    seat: Option<Seat>,
}

/// What a queue has by one place.
struct Seat {
    table: Arc<Table>,
    queue: Queue,
    memory: usize,
}

const KIB: usize = 1024;

impl Hand {
    /// So many attempts, whose requests have so many bytes together.
    pub(crate) fn new(places: usize, bytes: usize) -> Self {
        let all_memory = kibs(bytes);
        Self {
            all: places,
            places: Arc::new(Semaphore::new(places)),
            memory: Arc::new(Semaphore::new(all_memory as usize)),
            all_memory,
            table: Arc::new(Table {
                shares: Mutex::new(Shares::new(places, all_memory as usize)),
                eased: Notify::new(),
            }),
        }
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.all - self.places.available_permits()
    }

    /// A place with room for a request of so many bytes, if there is one now that its queue may have.
    pub(crate) fn at_once(&self, queue: Queue, bytes: usize) -> Option<Place> {
        if !self.table.shares.lock().has_room(&queue) {
            return None;
        }
        let place = self.places.clone().try_acquire_owned().ok()?;
        let memory = self.memory.clone().try_acquire_many_owned(self.of(bytes)).ok()?;
        Some(Place { _place: place, memory: Some(memory), seat: Some(self.seat(queue, bytes)) })
    }

    /// At least one place, at most so many, as soon as there is memory too; and what may be claimed for them: no more than
    /// half of what is left, so that one queue cannot have all of it at one go.
    pub(crate) async fn places(&self, most: usize) -> (Vec<Place>, Room) {
        let first = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        // Behind those who wait for theirs.
        drop(self.memory.acquire().await);
        let others = most.min(self.places.available_permits().div_ceil(2).max(1)) - 1;
        let others = std::iter::from_fn(|| self.places.clone().try_acquire_owned().ok()).take(others);
        let permits = std::iter::once(first).chain(others);
        let places: Vec<_> = permits.map(|place| Place { _place: place, memory: None, seat: None }).collect();
        let bytes = (self.memory.available_permits() * KIB / 2) as u64;
        let full = self.table.shares.lock().pass_over();
        let room = Room { tickets: places.len(), bytes, full, unserved: Vec::new() };
        (places, room)
    }

    /// The place is that queue's, for a request of so many bytes.
    pub(crate) fn give(&self, place: &mut Place, queue: Queue, bytes: usize) {
        debug_assert!(place.seat.is_none(), "a place is given once");
        place.seat = Some(self.seat(queue, bytes));
    }

    /// A ticket of the queue waits in the store. Answers whether it will be claimed without anybody being told: its queue
    /// is full, and has a claim when it is not.
    pub(crate) fn wait(&self, queue: &Queue) -> bool {
        self.table.shares.lock().wait(queue)
    }

    /// Until a queue has room again that something waits of.
    pub(crate) async fn eased(&self) {
        self.table.eased.notified().await;
    }

    fn seat(&self, queue: Queue, bytes: usize) -> Seat {
        let memory = self.of(bytes) as usize;
        self.table.shares.lock().take(&queue, memory);
        Seat { table: self.table.clone(), queue, memory }
    }

    /// Waits until there is room for a request of so many bytes, if `place` has none yet. One that is larger than all the
    /// room there is has it for itself.
    pub(crate) async fn make_room(&self, place: &mut Place, bytes: usize) {
        if place.memory.is_none() {
            let memory = self.memory.clone().acquire_many_owned(self.of(bytes)).await;
            place.memory = Some(memory.expect("the semaphore is never closed"));
        }
    }

    fn of(&self, bytes: usize) -> u32 {
        kibs(bytes).min(self.all_memory)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.table.shares.lock().give_back(&self.queue, self.memory) {
            self.table.eased.notify_one();
        }
    }
}

fn kibs(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use turno_store::Queue;

    use super::{Hand, KIB};

    fn queue(method: &str) -> Queue {
        Queue { tenant: "me".into(), method: method.into() }
    }

    #[tokio::test]
    async fn requests_have_no_more_memory_than_there_is() {
        let hand = Hand::new(10, 8 * KIB);
        let large = hand.at_once(queue("a"), 6 * KIB).unwrap();
        assert!(hand.at_once(queue("b"), 3 * KIB).is_none());
        assert_eq!(hand.taken(), 1);
        let (mut places, room) = hand.places(4).await;
        assert_eq!((places.len(), room.tickets, room.bytes), (4, 4, KIB as u64));
        assert_eq!(room.full, [queue("a")]);
        // Larger than all there is: it waits for all.
        let mut huge = places.pop().unwrap();
        hand.give(&mut huge, queue("b"), 100 * KIB);
        {
            let mut room = std::pin::pin!(hand.make_room(&mut huge, 100 * KIB));
            assert!(room.as_mut().now_or_never().is_none());
            assert!(hand.places(1).now_or_never().is_none(), "nobody passes it");
            drop(large);
            room.await;
        }
        assert!(hand.at_once(queue("c"), 1).is_none());
        drop((huge, places));
        assert_eq!(hand.taken(), 0);
        assert!(hand.at_once(queue("c"), 8 * KIB).is_some());
    }

    #[tokio::test]
    async fn a_queue_has_no_more_than_it_leaves_to_others() {
        let hand = Hand::new(10, KIB);
        let mut long: Vec<_> = std::iter::from_fn(|| hand.at_once(queue("long"), 0)).collect();
        assert_eq!(long.len(), 5);
        let other = hand.at_once(queue("other"), 0).unwrap();
        let (places, room) = hand.places(64).await;
        assert_eq!((places.len(), room.full), (2, vec![queue("long")]), "half of what is left");
        drop(places);
        assert!(hand.eased().now_or_never().is_none());
        drop((long.pop(), long.pop()));
        hand.eased().await;
        assert!(hand.at_once(queue("long"), 0).is_none(), "what waits comes first");
        let (places, room) = hand.places(64).await;
        assert_eq!((places.len(), room.full), (3, vec![]));
        drop((other, long, places));
        assert!(hand.eased().now_or_never().is_none(), "nobody waits");
    }

    #[tokio::test]
    async fn a_queue_that_no_claim_has_passed_over_is_eased_too() {
        let hand = Hand::new(2, KIB);
        let first = hand.at_once(queue("a"), 0).unwrap();
        assert!(hand.at_once(queue("a"), 0).is_none());
        assert!(hand.wait(&queue("a")) && !hand.wait(&queue("b")));
        drop(first);
        hand.eased().await;
    }
}
