//! Items that are cut, lost, handed back, issued twice: whatever happens to chunks, each item has one outcome.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use turno_proto::mesh::v1::{ItemOutcome, Items};

use super::{ASK_AGAIN_US, Book, Chunk, Late, MOST_HANDED_BACK, Settled};
use crate::quarantine::NodeKey;
use crate::scheduler::WorkerId;

const NODE: NodeKey = NodeKey(1);
const OTHER: NodeKey = NodeKey(2);
const LINK: WorkerId = WorkerId(1);

fn book(items: u64) -> Book {
    let mut book = Book::new(1024);
    for _ in 0..items {
        let index = book.number();
        book.wait(index, body_of(index));
    }
    book
}

fn body_of(index: u64) -> Bytes {
    Bytes::from(index.to_string())
}

/// The items of a chunk, by their bodies.
fn items(chunk: &Chunk) -> Vec<u64> {
    let items = Items::decode(chunk.body.clone()).unwrap().items;
    assert_eq!(items.len(), chunk.items as usize);
    items.iter().map(|item| std::str::from_utf8(item).unwrap().parse().unwrap()).collect()
}

/// What a node answers: each item its own body.
fn run(chunk: &Chunk, most: usize) -> Vec<ItemOutcome> {
    let outcome = |index| ItemOutcome { body: body_of(index), ..ItemOutcome::default() };
    items(chunk).into_iter().take(most).map(outcome).collect()
}

fn indexes(settled: &Settled) -> Vec<u64> {
    settled.outcomes.iter().map(|(index, _)| *index).collect()
}

#[test]
fn a_chunk_has_the_first_that_wait_as_far_as_its_bytes_allow() {
    let mut book = book(3);
    assert_eq!(items(&book.next(2).unwrap()), [0, 1]);
    for size in [600, 500, 9_000, 1] {
        let index = book.number();
        book.wait(index, vec![0; size].into());
    }
    let sizes: Vec<u32> = std::iter::from_fn(|| book.next(100)).map(|chunk| chunk.items).collect();
    assert_eq!(sizes, [2, 1, 1, 1]);
}

#[test]
fn what_a_node_has_not_begun_goes_first_the_next_time() {
    let mut book = book(6);
    let chunk = book.next(4).unwrap();
    assert_eq!(indexes(&book.answered(chunk.id, run(&chunk, 1))), [0]);
    assert_eq!(items(&book.next(10).unwrap()), [1, 2, 3, 4, 5]);
}

#[test]
fn what_always_comes_back_is_given_up() {
    let mut book = book(1);
    book.end();
    for _ in 0..MOST_HANDED_BACK {
        let chunk = book.next(1).unwrap();
        assert!(book.handed_back(chunk.id).outcomes.is_empty());
    }
    let chunk = book.next(1).unwrap();
    let settled = book.handed_back(chunk.id);
    assert!(settled.outcomes[0].1.message.contains("handed back unstarted 100 times"));
    assert!(book.is_over());
}

#[test]
fn after_a_loss_each_goes_alone_and_only_the_guilty_one_is_convicted() {
    let mut book = book(8);
    let (lost, other) = (book.next(4).unwrap(), book.next(2).unwrap());
    assert!(book.lost(lost.id, NODE, Some(10.0)).is_none());
    // Others are out: first they come back.
    assert!(book.next(4).is_none());
    book.answered(other.id, run(&other, 2));
    let mut convicted = Vec::new();
    for expected in 0..4 {
        let chunk = book.next(4).unwrap();
        assert_eq!(items(&chunk), [expected]);
        assert!(book.next(4).is_none(), "nothing goes beside it");
        if expected == 2 {
            convicted.extend(book.lost(chunk.id, OTHER, Some(10.0)));
        } else {
            assert_eq!(indexes(&book.answered(chunk.id, run(&chunk, 1))), [expected]);
        }
    }
    let convict = &convicted[0];
    assert_eq!((convict.index, &convict.body, convict.nodes), (2, &body_of(2), [NODE, OTHER]));
    assert_eq!(items(&book.next(4).unwrap()), [6, 7], "and the house goes on");
}

#[test]
fn nodes_that_leave_make_no_suspects_and_convict_none() {
    let mut book = book(3);
    for _ in 0..3 {
        let chunk = book.next(3).unwrap();
        assert_eq!(items(&chunk), [0, 1, 2]);
        assert!(book.left(chunk.id).outcomes.is_empty());
    }
    let lost = book.next(1).unwrap();
    assert!(book.lost(lost.id, NODE, Some(10.0)).is_none());
    // A suspect stays one.
    for _ in 0..3 {
        let alone = book.next(3).unwrap();
        assert_eq!(items(&alone), [0]);
        assert!(book.left(alone.id).outcomes.is_empty());
    }
    let alone = book.next(3).unwrap();
    assert_eq!(book.lost(alone.id, OTHER, None).unwrap().nodes, [NODE, OTHER]);
}

#[test]
fn long_suspects_go_side_by_side_until_they_are_lost_again() {
    let mut book = book(3);
    let lost = book.next(3).unwrap();
    book.lost(lost.id, NODE, Some(5_000_000.0));
    let chunks: Vec<_> = std::iter::from_fn(|| book.next(3)).collect();
    assert_eq!(chunks.iter().map(items).collect::<Vec<_>>(), [[0], [1], [2]]);
    for chunk in &chunks {
        assert!(book.lost(chunk.id, OTHER, Some(5_000_000.0)).is_none(), "each may be innocent");
    }
    let alone = book.next(3).unwrap();
    assert!(book.next(3).is_none());
    assert_eq!(book.lost(alone.id, NODE, None).unwrap().index, 0);
}

#[test]
fn one_item_that_takes_too_long_is_found_by_sending_each_by_itself() {
    let mut book = book(3);
    let chunk = book.next(3).unwrap();
    assert!(book.goes_singly(chunk.id, NODE));
    let single = book.next(3).unwrap();
    assert_eq!(items(&single), [0]);
    assert!(!book.goes_singly(single.id, NODE));
    let late = ItemOutcome { code: 4, ..ItemOutcome::default() };
    assert_eq!(indexes(&book.failed(single.id, &late)), [0]);
    let others: Vec<_> = std::iter::from_fn(|| book.next(3)).collect();
    assert_eq!(others.iter().map(items).collect::<Vec<_>>(), [[1], [2]]);
}

fn late(now_us: u64) -> Late {
    Late { now_us, service_us: 1_000.0 }
}

/// One chunk that is out since 0, and nothing left.
fn at_the_end() -> (Book, Chunk) {
    let mut book = book(2);
    book.end();
    let chunk = book.next(2).unwrap();
    book.sent(chunk.id, 0, LINK);
    (book, chunk)
}

#[test]
fn a_straggler_is_issued_once_more_and_elsewhere() {
    let (mut book, first) = at_the_end();
    assert!(book.straggler(late(99_999)).is_none());
    let twin = book.straggler(late(100_001)).unwrap();
    assert_eq!((items(&twin), twin.avoid), (vec![0, 1], Some(LINK)));
    assert!(book.straggler(late(1_000_000)).is_none(), "once");
    let settled = book.answered(twin.id, run(&twin, 2));
    assert_eq!((indexes(&settled), settled.obsolete), (vec![0, 1], Some(first.id)));
    assert!(book.answered(first.id, run(&first, 2)).outcomes.is_empty());
    assert!(book.is_over());
}

#[test]
fn of_twins_whatever_has_not_run_leaves_it_to_the_other() {
    type Spoil = fn(&mut Book, &Chunk);
    let spoilt: [Spoil; 5] = [
        |book, chunk| assert!(book.answered(chunk.id, Vec::new()).outcomes.is_empty()),
        |book, chunk| assert!(book.handed_back(chunk.id).outcomes.is_empty()),
        |book, chunk| assert!(book.left(chunk.id).outcomes.is_empty()),
        |book, chunk| assert!(book.failed(chunk.id, &ItemOutcome::default()).outcomes.is_empty()),
        |book, chunk| assert!(book.lost(chunk.id, NODE, None).is_none()),
    ];
    for spoil in spoilt {
        let (mut book, first) = at_the_end();
        let twin = book.straggler(late(150_000)).unwrap();
        spoil(&mut book, &first);
        assert!(book.next(2).is_none());
        assert_eq!(indexes(&book.answered(twin.id, run(&twin, 2))), [0, 1]);
        assert!(book.is_over());
    }
}

/// Where calls come all the time, a twin is always cut short: what it has run must count, or it would never help.
#[test]
fn a_twin_that_gave_way_counts_for_what_it_has_run() {
    let (mut book, first) = at_the_end();
    let twin = book.straggler(late(150_000)).unwrap();
    let settled = book.answered(twin.id, run(&twin, 1));
    assert_eq!((indexes(&settled), settled.obsolete), (vec![0], Some(first.id)));
    let rest = book.next(2).unwrap();
    assert_eq!(items(&rest), [1]);
    assert_eq!(indexes(&book.answered(rest.id, run(&rest, 1))), [1]);
    assert!(book.is_over());
}

#[test]
fn a_straggler_without_another_node_is_asked_for_again_later() {
    let (mut book, _) = at_the_end();
    let twin = book.straggler(late(150_000)).unwrap();
    book.has_no_other_node(twin.id, 150_000);
    assert!(book.straggler(late(150_000 + ASK_AGAIN_US - 1)).is_none());
    assert!(book.straggler(late(150_000 + ASK_AGAIN_US)).is_some());
}

/// What happens to a chunk.
#[derive(Clone, Debug)]
enum Fate {
    Answered(usize),
    HandedBack,
    Failed,
    Lost(u64),
    Left,
    NoOther,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (0_usize..8).prop_map(Fate::Answered),
        1 => Just(Fate::HandedBack),
        1 => Just(Fate::Failed),
        2 => (0_u64..3).prop_map(Fate::Lost),
        1 => Just(Fate::Left),
        1 => Just(Fate::NoOther),
    ]
}

/// A mesh that does to chunks what it likes.
struct Mesh {
    book: Book,
    out: BTreeMap<u64, Chunk>,
    seen: BTreeSet<u64>,
    now_us: u64,
    service_us: Option<f64>,
}

impl Mesh {
    fn step(&mut self, more: u64, most: usize, which: usize, fate: &Fate) {
        for _ in 0..more {
            let index = self.book.number();
            self.book.wait(index, body_of(index));
        }
        self.now_us += 30_000;
        if let Some(chunk) = self.book.next(most) {
            self.book.sent(chunk.id, self.now_us, LINK);
            self.out.insert(chunk.id, chunk);
        }
        if let Some(twin) = self.book.straggler(Late { now_us: self.now_us, service_us: 1.0 }) {
            self.out.insert(twin.id, twin);
        }
        let Some(id) = self.out.keys().nth(which % self.out.len().max(1)).copied() else { return };
        let chunk = self.out.remove(&id).unwrap();
        let settled = self.meet(&chunk, fate);
        for (index, outcome) in &settled.outcomes {
            assert!(self.seen.insert(*index), "{index} twice");
            assert!(outcome.body.is_empty() || outcome.body == body_of(*index));
        }
        if let Some(obsolete) = settled.obsolete {
            self.out.remove(&obsolete);
        }
        assert_eq!(self.book.chunks(), self.out.len());
    }

    fn meet(&mut self, chunk: &Chunk, fate: &Fate) -> Settled {
        match *fate {
            Fate::Answered(most) => self.book.answered(chunk.id, run(chunk, most)),
            Fate::Failed => self.book.failed(chunk.id, &ItemOutcome::default()),
            Fate::Lost(node) => {
                let convict = self.book.lost(chunk.id, NodeKey(node), self.service_us);
                let outcomes = convict.into_iter().map(|convict| (convict.index, ItemOutcome::default()));
                Settled { outcomes: outcomes.collect(), obsolete: None }
            }
            Fate::Left => self.book.left(chunk.id),
            Fate::NoOther if chunk.avoid.is_some() => {
                self.book.has_no_other_node(chunk.id, self.now_us);
                Settled::default()
            }
            Fate::NoOther | Fate::HandedBack => self.book.handed_back(chunk.id),
        }
    }
}

proptest! {
    /// Items come while chunks of any size go out and meet any fate, in any order; stragglers are looked for all the
    /// time. After a while the mesh answers everything: then each item has had one outcome, and nothing is held for it.
    #[test]
    fn each_item_has_one_outcome_whatever_happens(
        steps in prop::collection::vec((0_u64..4, 1_usize..6, any::<usize>(), fate()), 1..200),
        is_short: bool,
    ) {
        let service_us = is_short.then_some(1.0);
        let (out, seen) = (BTreeMap::new(), BTreeSet::new());
        let mut mesh = Mesh { book: book(0), out, seen, now_us: 0, service_us };
        for (more, most, which, fate) in &steps {
            mesh.step(*more, *most, *which, fate);
        }
        mesh.book.end();
        for _ in 0..2_000 {
            mesh.step(0, 6, 0, &Fate::Answered(9));
        }
        let book = &mesh.book;
        prop_assert!(book.is_over(), "{book:?}");
        prop_assert_eq!(mesh.seen.len() as u64, book.items());
        prop_assert_eq!((book.open(), book.bytes(), book.waiting()), (0, 0, (0, 0)));
    }
}
