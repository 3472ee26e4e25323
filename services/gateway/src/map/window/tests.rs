//! Maps with little room.

use bytes::Bytes;
use proptest::prelude::*;
use turno_proto::mesh::v1::ItemOutcome;

use super::{Answers, Window};
use crate::admission::{Admission, RoomOfMap};
use crate::map::book::{Book, Chunk, Loss, Settled, Suspect};
use crate::map::outbox::{Earlier, Outbox};
use crate::map::terms::OnFailure;
use crate::quarantine::NodeKey;

fn fine() -> ItemOutcome {
    ItemOutcome { body: "fine".into(), ..ItemOutcome::default() }
}

/// A map and its mesh, which is a few chunks.
#[derive(Debug)]
struct Small {
    room: RoomOfMap,
    window: Window,
    /// Bytes that each is expected to have.
    answer: f64,
    /// Items that may be out.
    most_out: usize,
    book: Book,
    outbox: Outbox,
    out: Vec<Chunk>,
    weighed: Vec<Suspect>,
    read: Vec<u64>,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Answered(usize),
    HandedBack,
    Lost(u64),
    /// Its nodes have come again, or have not.
    Weighed(bool),
    Read,
}

impl Small {
    /// Alone in a large house.
    fn new(window: Window, ordered: bool) -> Self {
        Self::within(Admission::new(1, usize::MAX).room_of_map(), window, ordered)
    }

    fn within(room: RoomOfMap, window: Window, ordered: bool) -> Self {
        let outbox = Outbox::new(ordered, OnFailure::Collect, Earlier::default());
        let (out, weighed, read) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            room,
            window,
            answer: 0.0,
            most_out: usize::MAX,
            book: Book::new(1024),
            outbox,
            out,
            weighed,
            read,
        }
    }

    /// Items, and whether each is refused at once.
    fn take(&mut self, items: &[bool]) {
        for refused in items {
            let index = self.book.number();
            if *refused {
                self.outbox.put(index, fine());
            } else {
                self.book.wait(index, Bytes::from_static(b"item"));
            }
        }
        self.room.keep(self.book.bytes());
    }

    fn takes(&self) -> bool {
        self.window.takes(&self.book, &self.outbox, self.room.left())
    }

    fn room(&self) -> Option<usize> {
        let nothing_is_out = self.out.is_empty() && self.weighed.is_empty();
        let left = self.room.left_to_results();
        let answers = Answers { each: self.answer, most_out: self.most_out, left };
        self.window.room(&self.book, &self.outbox, answers, nothing_is_out)
    }

    /// As long as slots want chunks. Answers how many have gone.
    fn send(&mut self) -> usize {
        let before = self.out.len();
        while self.out.len() < 3
            && let Some(room) = self.room()
            && let Some(chunk) = self.book.next(room.min(2))
        {
            self.out.push(chunk);
        }
        self.room.keep(self.book.bytes());
        self.out.len() - before
    }

    fn meet(&mut self, which: usize, event: &Event) {
        match *event {
            Event::Read => {
                let results = self.outbox.message().results;
                self.read.extend(results.iter().map(|result| result.index));
            }
            Event::Weighed(lives) => {
                if let Some(suspect) = self.weighed.pop() {
                    let loss = self.book.weighed(suspect, |_| lives);
                    self.follow(loss);
                }
            }
            _ if self.out.is_empty() => {}
            _ => {
                let chunk = self.out.remove(which % self.out.len());
                self.come_back(&chunk, event);
            }
        }
        self.room.keep(self.book.bytes());
    }

    fn come_back(&mut self, chunk: &Chunk, event: &Event) {
        let settled = match *event {
            Event::Answered(most) => {
                self.book.answered(chunk.id, vec![fine(); most.min(chunk.items as usize)])
            }
            Event::Lost(node) => {
                let loss = self.book.lost(chunk.id, NodeKey(node), Some(1.0), |_| false);
                return self.follow(loss);
            }
            _ => self.book.handed_back(chunk.id),
        };
        self.settle(settled);
    }

    fn settle(&mut self, settled: Settled) {
        for (index, outcome) in settled.outcomes {
            self.outbox.put(index, outcome);
        }
    }

    fn follow(&mut self, loss: Option<Loss>) {
        match loss {
            None => {}
            Some(Loss::ToWeigh(suspect)) => self.weighed.push(suspect),
            Some(Loss::Convicted(suspect) | Loss::GivenUp(suspect)) => {
                self.outbox.put(suspect.index, fine());
            }
        }
    }

    /// Nothing will ever happen, though there is something to do.
    fn hangs(&self) -> bool {
        let comes = !self.out.is_empty() || !self.weighed.is_empty() || self.outbox.is_ready();
        let (waiting, _) = self.book.waiting();
        !comes && waiting + self.book.open() + self.outbox.held() > 0
    }

    fn is_done(&self) -> bool {
        self.book.is_over() && self.outbox.held() == 0
    }

    /// What is out is answered, and read.
    fn go_on(&mut self) {
        for event in [Event::Answered(2), Event::Weighed(true), Event::Read] {
            self.meet(0, &event);
        }
    }
}

/// In order, with the first two of three items out as one chunk, and the result of the third above the limit.
fn full() -> Small {
    let mut map = Small::new(Window { most_held: 4, ..Window::new(10) }, true);
    map.take(&[false; 3]);
    assert_eq!(map.send(), 2);
    map.meet(1, &Event::Answered(1));
    map
}

#[test]
fn above_its_bytes_nothing_goes_but_what_all_the_others_wait_for() {
    let mut map = full();
    assert_eq!(map.room(), None, "what is out comes back");
    map.meet(0, &Event::HandedBack);
    map.take(&[false; 5]);
    assert_eq!(map.send(), 1);
    map.meet(0, &Event::Answered(1));
    assert_eq!(map.room(), None, "the first one can be read");
    map.meet(0, &Event::Read);
    assert_eq!(map.send(), 1, "one at a time");
    map.meet(0, &Event::Answered(2));
    while map.outbox.is_ready() {
        assert_eq!(map.room(), None, "they can be read");
        map.meet(0, &Event::Read);
    }
    assert_eq!(map.read[..3], [0, 1, 2]);
}

#[test]
fn a_suspect_for_whom_all_the_others_wait_goes_again() {
    let mut map = full();
    map.meet(0, &Event::Lost(1));
    assert_eq!(map.send(), 1);
    map.meet(0, &Event::Lost(2));
    assert_eq!((map.weighed.len(), map.room()), (1, None), "what is weighed comes back");
    map.meet(0, &Event::Weighed(true));
    assert_eq!(map.send(), 1);
}

#[test]
fn items_that_are_refused_at_once_hold_up_none_that_is_before_them() {
    let mut map = Small::new(Window::new(1), true);
    map.take(&[false, true, true]);
    assert_eq!(map.send(), 1);
    assert!(!map.takes(), "their results wait");
    map.meet(0, &Event::HandedBack);
    assert_eq!(map.send(), 1);
    map.meet(0, &Event::Answered(1));
    map.meet(0, &Event::Read);
    assert_eq!(map.read, [0, 1, 2]);
    assert!(map.takes());
}

#[test]
fn who_reads_nothing_is_not_read_from_where_all_is_refused_either() {
    let mut map = Small::new(Window::new(2), false);
    map.take(&[true]);
    assert!(map.takes());
    map.take(&[true]);
    assert!(!map.takes());
    map.meet(0, &Event::Read);
    assert!(map.takes());
}

#[test]
fn what_is_out_has_room_for_its_answers() {
    let window = Window { most_held: 100, ..Window::new(10) };
    let mut map = Small { answer: 40.0, ..Small::new(window, false) };
    map.take(&[false; 6]);
    assert_eq!((map.send(), map.room()), (1, Some(0)));
    map.meet(0, &Event::Answered(2));
    assert_eq!((map.room(), map.send()), (Some(2), 1), "they were smaller");
    // One may be larger than all that may be held.
    let mut map = Small { answer: 101.0, ..Small::new(window, false) };
    map.take(&[false; 6]);
    assert_eq!((map.send(), map.room()), (1, Some(0)));
    map.meet(0, &Event::Answered(2));
    assert_eq!(map.room(), Some(0), "they can be read");
    map.meet(0, &Event::Read);
    assert_eq!(map.send(), 1, "one chunk at a time");
}

#[test]
fn few_are_out_whose_answers_nobody_has_seen() {
    let mut map = Small { most_out: 3, ..Small::new(Window::new(10), false) };
    map.take(&[false; 6]);
    assert!(map.send() > 0);
    assert_eq!((map.book.open(), map.room()), (3, Some(0)));
}

#[test]
fn results_have_no_more_than_they_leave_to_those_of_other_maps() {
    let house = Admission::new(1, 1_000);
    let window = Window { least_held: 20, ..Window::new(100) };
    let (mut map, mut other) = (Small::within(house.room_of_map(), window, false), house.room_of_map());
    map.answer = 10.0;
    map.take(&[false]);
    assert_eq!((map.send(), map.room()), (1, Some(24)), "half of the half that all of them may have");
    other.keep_results(400);
    assert_eq!((map.room(), map.window.has_room(&map.outbox, 0)), (Some(4), true));
    map.meet(0, &Event::Answered(1));
    assert!(map.window.has_room(&map.outbox, 0), "a little in any case");
    map.take(&[true; 5]);
    assert!(map.window.has_room(&map.outbox, 100) && !map.window.has_room(&map.outbox, 10));
}

#[test]
fn items_that_are_out_are_held_too() {
    let mut map = Small::within(Admission::new(1, 2).room_of_map(), Window::new(10), false);
    assert!(map.takes());
    map.take(&[false]);
    assert_eq!(map.send(), 1);
    assert!(!map.takes());
    map.meet(0, &Event::Answered(1));
    assert!(map.takes());
}

/// In one house.
const MAPS: usize = 4;
/// Bytes.
const HALF: usize = 4_000;
/// Items at most.
const MESSAGE: usize = 6;
/// Bytes, with what is kept beside it.
const ITEM: usize = 64;
/// Items of one map that are out at most.
const OUT: usize = 6;
/// Items of a message, of which the house has no room for one of each map.
const LARGE: usize = 80;

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_usize..3).prop_map(Event::Answered),
        1 => Just(Event::HandedBack),
        2 => (0_u64..3).prop_map(Event::Lost),
        1 => any::<bool>().prop_map(Event::Weighed),
        2 => Just(Event::Read),
    ]
}

proptest! {
    /// Whatever comes back, in whatever order, and however little is read: there is always something that will happen, and
    /// in the end each item has been read once, in its place if it has one.
    #[test]
    fn no_map_hangs(
        in_flight in 1_usize..6,
        most_held in 1_usize..16,
        answer in 0.0..16.0,
        steps in prop::collection::vec(
            (prop::collection::vec(prop::bool::weighted(0.2), 0..6), any::<usize>(), event()),
            1..100,
        ),
        ordered: bool,
    ) {
        let window = Window { most_held, ..Window::new(in_flight) };
        let mut map = Small { answer, ..Small::new(window, ordered) };
        for (more, which, event) in &steps {
            if map.takes() {
                map.take(more);
            }
            map.send();
            prop_assert!(!map.hangs(), "{map:?}");
            map.meet(*which, event);
        }
        map.book.end();
        for _ in 0..2_000 {
            map.send();
            prop_assert!(!map.hangs(), "{map:?}");
            map.go_on();
        }
        prop_assert!(map.is_done(), "{map:?}");
        if !ordered {
            map.read.sort_unstable();
        }
        prop_assert_eq!(map.read, (0..map.book.items()).collect::<Vec<_>>());
    }

    /// Whatever becomes of their chunks, maps together hold half of the house, and each above it a message, and what it had
    /// out, which takes more once it has come back unstarted. And each goes on, however full the others are.
    #[test]
    fn maps_leave_half_of_the_house_and_each_goes_on(
        steps in prop::collection::vec((0..MAPS, 0..=MESSAGE, any::<usize>(), event()), 1..300),
    ) {
        let house = Admission::new(1, 2 * HALF);
        let mut maps = [(); MAPS].map(|()| Small::within(house.room_of_map(), Window::new(1 << 20), false));
        for (which, more, chunk, event) in &steps {
            let map = &mut maps[*which];
            if map.takes() {
                map.take(&vec![false; *more]);
            } else {
                prop_assert!(map.book.bytes() > 0, "it waits for others: {map:?}");
            }
            map.send();
            map.meet(*chunk, event);
            prop_assert!(house.bytes() <= HALF + 2 * MAPS * MESSAGE * ITEM, "{maps:?}");
        }
        for mut map in maps {
            map.book.end();
            for _ in 0..1_000 {
                map.send();
                map.go_on();
            }
            prop_assert!(map.is_done(), "{map:?}");
        }
        prop_assert_eq!(house.bytes(), 0);
    }

    /// However large their messages are, maps together hold the house, and above it one message, and what they had out, which
    /// takes more once it has come back. And one of them goes on: they do not all wait for each other.
    #[test]
    fn maps_hold_no_more_than_the_house_and_one_goes_on(
        steps in prop::collection::vec((0..MAPS, any::<usize>(), event()), 1..300),
    ) {
        let house = Admission::new(1, 2 * HALF);
        let mut maps = [(); MAPS].map(|()| Small::within(house.room_of_map(), Window::new(1 << 20), false));
        for (which, chunk, event) in &steps {
            let map = &mut maps[*which];
            if map.takes() {
                map.take(&[false; LARGE]);
            }
            map.send();
            map.meet(*chunk, event);
            prop_assert!(house.bytes() <= 2 * HALF + (LARGE + MAPS * OUT) * ITEM, "{maps:?}");
            prop_assert!(maps.iter().any(|map| !map.book.is_empty() || map.takes()), "{maps:?}");
        }
    }
}
