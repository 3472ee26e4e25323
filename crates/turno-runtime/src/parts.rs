//! A frame that brings many things is taken in parts, and between two parts the other tasks have their turn: what was
//! begun is sent on while the rest is still looked at. Taken in one go, all calls of a busy client travel as one convoy,
//! and whoever it has not reached yet has nothing to do.

/// Where one stands in a frame.
#[derive(Debug)]
pub struct Parts {
    each: usize,
    taken: usize,
}

/// Each part costs its receivers a frame of their own.
const MOST_PARTS: usize = 3;
const SMALLEST: usize = 32;

impl Parts {
    /// Of a frame with so many things in it.
    pub fn of(things: usize) -> Self {
        Self { each: things.div_ceil(MOST_PARTS).max(SMALLEST), taken: 0 }
    }

    /// Before each thing. Answers whether others have had their turn, so that the world may have changed.
    pub async fn step(&mut self) -> bool {
        let pauses = self.taken == self.each;
        if pauses {
            self.taken = 0;
            tokio::task::yield_now().await;
        }
        self.taken += 1;
        pauses
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_PARTS, Parts, SMALLEST};
    use crate::task;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How far one was at each turn that another task had meanwhile.
    async fn turns(things: usize) -> Vec<usize> {
        let at = Arc::new(AtomicUsize::new(0));
        let seen = at.clone();
        let other = task::spawn("other", async move {
            let mut turns = Vec::new();
            loop {
                turns.push(seen.load(Ordering::Relaxed));
                if turns.last() == Some(&things) {
                    return turns;
                }
                tokio::task::yield_now().await;
            }
        });
        let mut parts = Parts::of(things);
        for _ in 0..things {
            parts.step().await;
            at.fetch_add(1, Ordering::Relaxed);
        }
        other.await.unwrap()
    }

    #[tokio::test]
    async fn what_is_small_is_taken_in_one_go() {
        assert_eq!(turns(SMALLEST).await, [SMALLEST]);
    }

    #[tokio::test]
    async fn others_have_their_turn_between_the_parts() {
        assert_eq!(turns(MOST_PARTS * SMALLEST).await, [32, 64, 96]);
        assert_eq!(turns(256).await, [86, 172, 256]);
        assert_eq!(turns(40).await, [32, 40]);
    }
}
