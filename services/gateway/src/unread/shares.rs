//! How much of the room each connection has. None may have more than is left, so that whoever comes finds some: one alone
//! has half, who comes then half of the rest. The rule of queues of tickets (`tickets::shares`), but not its code: there a
//! queue is full or not before anybody knows what comes, which may go above it; here so many bytes are asked for, and fit
//! or do not.
//!
//! Who waits asks again by himself. So whoever has made room, it is found: there is no word of it that could be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::moving::Moving;

/// All that waits.
#[derive(Debug)]
pub(crate) struct Unread {
    bytes: AtomicUsize,
    pub(super) max_bytes: usize,
    /// What seconds are counted from.
    began: Instant,
}

/// Who reads at the other end of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(super) unread: Arc<Unread>,
    /// What he has not read. Locked while all that waits changes with it: of several who ask for one connection at once,
    /// each is answered by what the others have got.
    bytes: Mutex<usize>,
    /// Answers that he has not read, small ones too (`ready`).
    pub(super) answers: AtomicUsize,
    /// Those of them that are streams which he reads. Locked last.
    pub(super) moving: Mutex<Moving>,
}

impl Unread {
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), max_bytes, began: Instant::now() })
    }

    /// Of a connection that has come.
    pub(crate) fn reader(self: &Arc<Self>) -> Arc<Reader> {
        Arc::new(Reader {
            unread: self.clone(),
            bytes: Mutex::new(0),
            answers: AtomicUsize::new(0),
            moving: Mutex::default(),
        })
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a connection that has so much leaves as much, where so much is taken.
    fn leaves_as_much(&self, mine: usize, taken: usize) -> bool {
        mine <= self.max_bytes.saturating_sub(taken)
    }
}

impl Reader {
    /// The second that it is now.
    pub(super) fn second(&self) -> u64 {
        self.unread.began.elapsed().as_secs()
    }

    pub(super) fn bytes(&self) -> usize {
        *self.bytes.lock()
    }

    /// So much more, if its connection may have it. Where nothing waits but what asks, and has `held` until now, it may be
    /// larger than all the room there is.
    pub(super) fn try_grow(&self, more: usize, held: usize) -> bool {
        let mut mine = self.bytes.lock();
        let with = mine.saturating_add(more);
        let grow = |before: usize| {
            let taken = before.saturating_add(more);
            (before == held || self.unread.leaves_as_much(with, taken)).then_some(taken)
        };
        let has_room = self.unread.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_ok();
        if has_room {
            *mine = with;
        }
        has_room
    }

    /// So much more in any case.
    pub(super) fn grow(&self, more: usize) {
        let mut mine = self.bytes.lock();
        *mine += more;
        self.unread.bytes.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        let mut mine = self.bytes.lock();
        *mine -= bytes;
        self.unread.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Unread};
    use proptest::prelude::*;

    const MAX: usize = 1000;

    /// Byte by byte, until there is no room.
    fn fill(reader: &Reader) {
        while reader.try_grow(1, 0) {}
    }

    #[test]
    fn each_leaves_as_much_as_he_has() {
        let unread = Unread::new(MAX);
        let readers = [(); 4].map(|()| unread.reader());
        readers.iter().for_each(|reader| fill(reader));
        assert_eq!(readers.each_ref().map(|reader| reader.bytes()), [500, 250, 125, 62]);
        assert_eq!(unread.bytes(), 937);
        // Whoever was late gains by what is given back.
        readers[0].give_back(500);
        fill(&readers[3]);
        assert_eq!((readers[3].bytes(), unread.bytes()), (312, 687));
    }

    #[test]
    fn what_goes_out_in_any_case_is_of_the_share_too() {
        let unread = Unread::new(MAX);
        let (slow, other) = (unread.reader(), unread.reader());
        slow.grow(600);
        assert!(!slow.try_grow(1, 0));
        assert!(other.try_grow(200, 0) && !other.try_grow(1, 200));
        slow.grow(600);
        slow.give_back(600);
        assert!(!other.try_grow(1, 200), "two hundred are left, and no more");
    }

    #[test]
    fn those_who_ask_at_once_have_no_more_and_no_less() {
        for _ in 0..20 {
            let unread = Unread::new(MAX);
            let reader = &unread.reader();
            std::thread::scope(|threads| {
                for _ in 0..4 {
                    threads.spawn(move || fill(reader));
                }
            });
            assert_eq!((reader.bytes(), unread.bytes()), (MAX / 2, MAX / 2));
        }
    }

    #[test]
    fn connections_that_ask_at_once_stay_within_the_bound() {
        fn ask(reader: &Reader) {
            for bytes in (1..100).cycle().take(2000) {
                if reader.try_grow(bytes, 0) {
                    assert!(reader.unread.bytes() <= MAX);
                    reader.give_back(bytes);
                }
            }
            fill(reader);
        }
        let unread = Unread::new(MAX);
        let readers = &[(); 3].map(|()| unread.reader());
        std::thread::scope(|threads| {
            for reader in readers.iter().chain(readers) {
                threads.spawn(move || ask(reader));
            }
        });
        let taken = unread.bytes();
        assert_eq!(taken, readers.iter().map(|reader| reader.bytes()).sum::<usize>());
        assert!(taken <= MAX);
    }

    proptest! {
        /// Whatever comes and goes: who has got something leaves as much, unless there is nothing else; all is counted once;
        /// and of those who wait nobody may have what he asks for, whoever has made room.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0_usize..4, 0_usize..3, 1_usize..400), 0..200)) {
            let unread = Unread::new(MAX);
            let readers = [(); 3].map(|()| unread.reader());
            let (mut held, mut waiting) = (Vec::<(usize, usize)>::new(), Vec::<(usize, usize)>::new());
            let sums = |held: &[(usize, usize)], reader: usize| {
                let mine = held.iter().filter(|(of, _)| *of == reader);
                (mine.map(|(_, bytes)| bytes).sum::<usize>(), held.iter().map(|(_, bytes)| bytes).sum::<usize>())
            };
            let may_have = |held: &[(usize, usize)], (reader, bytes): (usize, usize)| {
                let (mine, taken) = sums(held, reader);
                taken == 0 || mine + bytes + taken + bytes <= MAX
            };
            for (step, reader, bytes) in steps {
                match step {
                    0 | 1 => waiting.push((reader, bytes)),
                    2 if !held.is_empty() => {
                        let (reader, bytes) = held.swap_remove(bytes % held.len());
                        readers[reader].give_back(bytes);
                    }
                    _ if !waiting.is_empty() => {
                        let _gone = waiting.swap_remove(bytes % waiting.len());
                    }
                    _ => {}
                }
                // All of them ask again.
                for asked @ (reader, bytes) in std::mem::take(&mut waiting) {
                    let expected = may_have(&held, asked);
                    prop_assert_eq!(readers[reader].try_grow(bytes, 0), expected);
                    if expected { held.push(asked) } else { waiting.push(asked) }
                }
                prop_assert!(!waiting.iter().any(|asked| may_have(&held, *asked)));
                for (number, reader) in readers.iter().enumerate() {
                    prop_assert_eq!((reader.bytes(), unread.bytes()), sums(&held, number));
                }
                prop_assert!(unread.bytes() <= MAX);
            }
            for (reader, bytes) in held {
                readers[reader].give_back(bytes);
            }
            prop_assert_eq!(unread.bytes(), 0);
        }
    }
}
