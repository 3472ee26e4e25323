//! What this gateway has in hand: places for attempts, and memory for their requests. A table.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places and memory of one gateway.
pub(crate) struct Hand {
    all: usize,
    places: Arc<Semaphore>,
    /// In kibibytes: of a semaphore no more than 2³² can be had at a time.
    memory: Arc<Semaphore>,
    all_memory: u32,
}

/// One attempt's place; given back when it is dropped.
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    /// `None` until there is some for its request.
    memory: Option<OwnedSemaphorePermit>,
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
        }
    }

    /// Places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.all - self.places.available_permits()
    }

    /// A place with room for a request of so many bytes, if there is one now.
    pub(crate) fn at_once(&self, bytes: usize) -> Option<Place> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let memory = self.memory.clone().try_acquire_many_owned(self.of(bytes)).ok()?;
        Some(Place { _place: place, memory: Some(memory) })
    }

    /// At least one place, at most so many, as soon as there is memory too; and how many bytes there are for all of them.
    pub(crate) async fn places(&self, most: usize) -> (Vec<Place>, u64) {
        let first = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        // Behind those who wait for theirs.
        drop(self.memory.acquire().await);
        let free = self.memory.available_permits() * KIB;
        let others = std::iter::from_fn(|| self.places.clone().try_acquire_owned().ok());
        let places = std::iter::once(first).chain(others.take(most - 1));
        (places.map(|place| Place { _place: place, memory: None }).collect(), free as u64)
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

fn kibs(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{Hand, KIB};

    #[tokio::test]
    async fn requests_have_no_more_memory_than_there_is() {
        let hand = Hand::new(10, 8 * KIB);
        let large = hand.at_once(6 * KIB).unwrap();
        assert!(hand.at_once(3 * KIB).is_none());
        assert_eq!(hand.taken(), 1);
        let (mut places, bytes) = hand.places(4).await;
        assert_eq!((places.len(), bytes), (4, 2 * KIB as u64));
        // Larger than all there is: it waits for all.
        let mut huge = places.pop().unwrap();
        {
            let mut room = std::pin::pin!(hand.make_room(&mut huge, 100 * KIB));
            assert!(room.as_mut().now_or_never().is_none());
            assert!(hand.places(1).now_or_never().is_none(), "nobody passes it");
            drop(large);
            room.await;
        }
        assert!(hand.at_once(1).is_none());
        drop((huge, places));
        assert_eq!(hand.taken(), 0);
        assert!(hand.at_once(8 * KIB).is_some());
    }
}
