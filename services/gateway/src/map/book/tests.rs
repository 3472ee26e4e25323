//! Items that are cut, lost, handed back, issued twice: whatever happens to chunks, each item has one outcome.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use turno_proto::mesh::v1::{ItemOutcome, Items};

use super::{ASK_AGAIN_US, Book, Chunk, Late, Loss, MOST_HANDED_BACK, MOST_LOSSES, Settled, Suspect};
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

fn none_lives(_: NodeKey) -> bool {
    false
}

fn to_weigh(loss: Option<Loss>) -> Suspect {
    let Some(Loss::ToWeigh(suspect)) = loss else { panic!("{loss:?}") };
    suspect
}

/// Nobody comes again.
fn convicted(book: &mut Book, loss: Option<Loss>) -> Suspect {
    let weighed = book.weighed(to_weigh(loss), none_lives);
    let Some(Loss::Convicted(convict)) = weighed else { panic!("{weighed:?}") };
    convict
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

/// Else it would go, and come back, as fast as it can.
#[test]
fn a_suspect_that_always_comes_back_is_given_up() {
    let mut book = book(1);
    book.end();
    let lost = book.next(1).unwrap();
    assert!(book.lost(lost.id, NODE, Some(10.0), none_lives).is_none());
    for times in 0..MOST_HANDED_BACK {
        let alone = book.next(1).unwrap();
        assert_eq!(alone.handed_back, times);
        assert!(book.handed_back(alone.id).outcomes.is_empty());
    }
    let alone = book.next(1).unwrap();
    assert_eq!(indexes(&book.handed_back(alone.id)), [0]);
    assert!(book.is_over());
}

#[test]
fn what_comes_back_again_and_again_takes_no_other_with_it() {
    let mut book = book(3);
    let first = book.next(1).unwrap();
    book.handed_back(first.id);
    let first = book.next(3).unwrap();
    assert_eq!((items(&first), first.handed_back), (vec![0], 1));
    let others = book.next(3).unwrap();
    assert_eq!((items(&others), others.handed_back), (vec![1, 2], 0));
}

#[test]
fn after_a_loss_each_goes_alone_and_only_the_guilty_one_is_convicted() {
    let mut book = book(8);
    let (lost, other) = (book.next(4).unwrap(), book.next(2).unwrap());
    assert!(book.lost(lost.id, NODE, Some(10.0), none_lives).is_none());
    // Others are out: first they come back.
    assert!(book.next(4).is_none());
    book.answered(other.id, run(&other, 2));
    let mut convicts = Vec::new();
    for expected in 0..4 {
        let chunk = book.next(4).unwrap();
        assert_eq!(items(&chunk), [expected]);
        assert!(book.next(4).is_none(), "nothing goes beside it");
        if expected == 2 {
            let loss = book.lost(chunk.id, OTHER, Some(10.0), none_lives);
            convicts.push(convicted(&mut book, loss));
        } else {
            assert_eq!(indexes(&book.answered(chunk.id, run(&chunk, 1))), [expected]);
        }
    }
    let convict = &convicts[0];
    assert_eq!((convict.index, &convict.body, convict.nodes()), (2, &body_of(2), &[NODE, OTHER][..]));
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
    assert!(book.lost(lost.id, NODE, Some(10.0), none_lives).is_none());
    // A suspect stays one.
    for _ in 0..3 {
        let alone = book.next(3).unwrap();
        assert_eq!(items(&alone), [0]);
        assert!(book.left(alone.id).outcomes.is_empty());
    }
    let alone = book.next(3).unwrap();
    let loss = book.lost(alone.id, OTHER, None, none_lives);
    assert_eq!(convicted(&mut book, loss).nodes(), [NODE, OTHER]);
}

#[test]
fn long_suspects_go_side_by_side_until_they_are_lost_again() {
    let mut book = book(3);
    let lost = book.next(3).unwrap();
    book.lost(lost.id, NODE, Some(5_000_000.0), none_lives);
    let chunks: Vec<_> = std::iter::from_fn(|| book.next(3)).collect();
    assert_eq!(chunks.iter().map(items).collect::<Vec<_>>(), [[0], [1], [2]]);
    for chunk in &chunks {
        let loss = book.lost(chunk.id, OTHER, Some(5_000_000.0), none_lives);
        assert!(loss.is_none(), "each may be innocent");
    }
    let alone = book.next(3).unwrap();
    assert!(book.next(3).is_none());
    let loss = book.lost(alone.id, NODE, None, none_lives);
    assert_eq!(convicted(&mut book, loss).index, 0);
}

/// One that goes alone, since `node` was lost with it.
fn suspected(node: NodeKey, lives: fn(NodeKey) -> bool) -> (Book, Chunk) {
    let mut book = book(2);
    let chunk = book.next(1).unwrap();
    assert!(book.lost(chunk.id, node, Some(10.0), lives).is_none());
    let alone = book.next(1).unwrap();
    assert_eq!(items(&alone), [0]);
    (book, alone)
}

#[test]
fn one_node_convicts_no_item_however_often_its_link_breaks_and_no_item_goes_on_for_ever() {
    let (mut book, mut alone) = suspected(NODE, none_lives);
    for _ in 2..MOST_LOSSES {
        assert!(book.lost(alone.id, NODE, None, none_lives).is_none());
        alone = book.next(1).unwrap();
        assert_eq!(items(&alone), [0]);
    }
    let loss = book.lost(alone.id, NODE, None, none_lives);
    assert!(matches!(&loss, Some(Loss::GivenUp(suspect)) if suspect.index == 0), "{loss:?}");
    let other = book.next(1).unwrap();
    assert_eq!(indexes(&book.answered(other.id, run(&other, 1))), [1]);
    assert_eq!((book.open(), book.bytes()), (0, 0));
}

#[test]
fn nodes_that_come_again_convict_no_item_and_the_others_do_not_wait_for_them() {
    let comes_again: [fn(NodeKey) -> bool; 2] = [|node| node == NODE, |node| node == OTHER];
    for lives in comes_again {
        let (mut book, alone) = suspected(NODE, none_lives);
        let suspect = to_weigh(book.lost(alone.id, OTHER, None, none_lives));
        let other = book.next(1).unwrap();
        assert_eq!(items(&other), [1]);
        assert!(suspect.is_grave(none_lives) && !suspect.is_grave(lives));
        assert!(book.weighed(suspect, lives).is_none());
        book.answered(other.id, run(&other, 1));
        let alone = book.next(1).unwrap();
        assert_eq!(indexes(&book.answered(alone.id, run(&alone, 1))), [0]);
        assert_eq!((book.open(), book.bytes()), (0, 0));
    }
}

#[test]
fn a_node_that_lived_when_it_seemed_to_be_lost_is_no_evidence_later() {
    let (mut book, alone) = suspected(NODE, |node| node == NODE);
    assert!(book.lost(alone.id, OTHER, None, none_lives).is_none());
    let alone = book.next(1).unwrap();
    assert_eq!(indexes(&book.answered(alone.id, run(&alone, 1))), [0]);
}

#[test]
fn one_item_that_takes_too_long_is_found_by_sending_each_by_itself() {
    let mut book = book(3);
    let chunk = book.next(3).unwrap();
    assert!(book.goes_singly(chunk.id));
    let single = book.next(3).unwrap();
    assert_eq!(items(&single), [0]);
    assert!(!book.goes_singly(single.id));
    let late = ItemOutcome { code: 4, ..ItemOutcome::default() };
    assert_eq!(indexes(&book.failed(single.id, &late)), [0]);
    let others: Vec<_> = std::iter::from_fn(|| book.next(3)).collect();
    assert_eq!(others.iter().map(items).collect::<Vec<_>>(), [[1], [2]]);
}

#[test]
fn an_item_that_was_late_is_lost_as_often_as_any_other() {
    let mut book = book(2);
    let chunk = book.next(2).unwrap();
    assert!(book.goes_singly(chunk.id));
    let (mut single, other) = (book.next(1).unwrap(), book.next(1).unwrap());
    book.answered(other.id, run(&other, 1));
    for _ in 1..MOST_LOSSES {
        assert!(book.lost(single.id, NODE, None, none_lives).is_none());
        single = book.next(1).unwrap();
        assert_eq!(items(&single), [0]);
    }
    let loss = book.lost(single.id, NODE, None, none_lives);
    assert!(matches!(&loss, Some(Loss::GivenUp(suspect)) if suspect.index == 0), "{loss:?}");
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
fn what_has_run_and_waits_for_room_is_no_straggler() {
    let (mut book, first) = at_the_end();
    assert!(book.straggler(late(1_000_000), |id| id == first.id).is_none());
    assert!(book.straggler(late(1_000_000), |_| false).is_some());
}

#[test]
fn a_straggler_is_issued_once_more_and_elsewhere() {
    let (mut book, first) = at_the_end();
    assert!(book.straggler(late(99_999), |_| false).is_none());
    let twin = book.straggler(late(100_001), |_| false).unwrap();
    assert_eq!((items(&twin), twin.avoid), (vec![0, 1], Some(LINK)));
    assert!(book.straggler(late(1_000_000), |_| false).is_none(), "once");
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
        |book, chunk| assert!(book.lost(chunk.id, NODE, None, none_lives).is_none()),
    ];
    for spoil in spoilt {
        let (mut book, first) = at_the_end();
        let twin = book.straggler(late(150_000), |_| false).unwrap();
        spoil(&mut book, &first);
        assert!(book.next(2).is_none());
        assert_eq!(indexes(&book.answered(twin.id, run(&twin, 2))), [0, 1]);
        assert!(book.is_over());
    }
}

#[test]
fn twins_have_the_same_bytes() {
    for spoils_first in [true, false] {
        let (mut book, first) = at_the_end();
        let bytes = book.bytes();
        assert!(bytes > 0);
        let twin = book.straggler(late(150_000), |_| false).unwrap();
        assert_eq!(book.bytes(), bytes);
        let (spoilt, other) = if spoils_first { (first, twin) } else { (twin, first) };
        book.left(spoilt.id);
        assert_eq!(book.bytes(), bytes);
        book.answered(other.id, run(&other, 2));
        assert_eq!(book.bytes(), 0);
    }
    let (mut book, _first) = at_the_end();
    let twin = book.straggler(late(150_000), |_| false).unwrap();
    book.answered(twin.id, run(&twin, 2));
    assert_eq!(book.bytes(), 0);
}

/// Where calls come all the time, a twin is always cut short: what it has run must count, or it would never help.
#[test]
fn a_twin_that_gave_way_counts_for_what_it_has_run() {
    let (mut book, first) = at_the_end();
    let twin = book.straggler(late(150_000), |_| false).unwrap();
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
    let twin = book.straggler(late(150_000), |_| false).unwrap();
    book.has_no_other_node(twin.id, 150_000);
    assert!(book.straggler(late(150_000 + ASK_AGAIN_US - 1), |_| false).is_none());
    assert!(book.straggler(late(150_000 + ASK_AGAIN_US), |_| false).is_some());
}

/// All nodes have gone while it waited for a second one.
#[test]
fn a_twin_that_is_the_only_one_left_goes_where_the_first_one_may() {
    let (mut book, first) = at_the_end();
    let twin = book.straggler(late(150_000), |_| false).unwrap();
    assert!(book.lost(first.id, NODE, None, none_lives).is_none());
    book.has_no_other_node(twin.id, 150_000);
    let again = book.next(2).unwrap();
    assert_eq!((items(&again), again.avoid), (vec![0, 1], None));
    assert_eq!(indexes(&book.answered(again.id, run(&again, 2))), [0, 1]);
    assert!(book.is_over());
}

/// What happens to a chunk.
#[derive(Clone, Debug)]
enum Fate {
    Answered(usize),
    HandedBack,
    Failed,
    Late,
    Lost(u64),
    Left,
    NoOther,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (0_usize..8).prop_map(Fate::Answered),
        1 => Just(Fate::HandedBack),
        1 => Just(Fate::Failed),
        1 => Just(Fate::Late),
        2 => (0_u64..3).prop_map(Fate::Lost),
        1 => Just(Fate::Left),
        1 => Just(Fate::NoOther),
    ]
}

/// Which of the nodes live just now, a bit for each.
type Living = u8;

fn living() -> impl Strategy<Value = Living> {
    prop_oneof![2 => Just(0_u8), 1 => 0_u8..8]
}

fn is_in(living: Living, node: u64) -> bool {
    (living >> node) & 1 == 1
}

fn lives(living: Living) -> impl Fn(NodeKey) -> bool {
    move |node| is_in(living, node.0)
}

/// A mesh that does to chunks what it likes.
struct Mesh {
    book: Book,
    out: BTreeMap<u64, Chunk>,
    seen: BTreeSet<u64>,
    to_weigh: Vec<Suspect>,
    /// The nodes that were lost with each item, and how often one was.
    lost: BTreeMap<u64, (BTreeSet<u64>, u8)>,
    now_us: u64,
    service_us: Option<f64>,
}

impl Mesh {
    fn new(service_us: Option<f64>) -> Self {
        let (out, seen, lost) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { book: book(0), out, seen, to_weigh: Vec::new(), lost, now_us: 0, service_us }
    }

    /// Without a fate all that is out stays there.
    fn step(&mut self, more: u64, most: usize, which: usize, fate: Option<&Fate>, living: Living) {
        for _ in 0..more {
            let index = self.book.number();
            self.book.wait(index, body_of(index));
        }
        self.now_us += 30_000;
        if let Some(chunk) = self.book.next(most) {
            self.book.sent(chunk.id, self.now_us, LINK);
            self.out.insert(chunk.id, chunk);
        }
        if let Some(twin) = self.book.straggler(Late { now_us: self.now_us, service_us: 1.0 }, |_| false) {
            self.out.insert(twin.id, twin);
        }
        if which.is_multiple_of(2) {
            self.weigh(living);
        }
        let id = self.out.keys().nth(which % self.out.len().max(1)).copied();
        let (Some(id), Some(fate)) = (id, fate) else { return };
        let chunk = self.out.remove(&id).unwrap();
        let settled = self.meet(&chunk, fate, living);
        self.take(&settled);
        if let Some(obsolete) = settled.obsolete {
            self.out.remove(&obsolete);
        }
        assert_eq!(self.book.chunks(), self.out.len());
    }

    fn take(&mut self, settled: &Settled) {
        for (index, outcome) in &settled.outcomes {
            assert!(self.seen.insert(*index), "{index} twice");
            assert!(outcome.body.is_empty() || outcome.body == body_of(*index));
        }
    }

    /// Those that live have come again.
    fn weigh(&mut self, living: Living) {
        let Some(suspect) = self.to_weigh.pop() else { return };
        self.acquit(suspect.index, living);
        let loss = self.book.weighed(suspect, lives(living));
        assert!(!matches!(loss, Some(Loss::ToWeigh(_))), "{loss:?}");
        let settled = self.follow(loss);
        self.take(&settled);
    }

    fn acquit(&mut self, index: u64, living: Living) {
        self.lost.entry(index).or_default().0.retain(|node| !is_in(living, *node));
    }

    fn lose(&mut self, chunk: &Chunk, node: u64, living: Living) -> Settled {
        for index in items(chunk) {
            let (nodes, times) = self.lost.entry(index).or_default();
            nodes.insert(node);
            *times = times.saturating_add(1);
            self.acquit(index, living);
        }
        let loss = self.book.lost(chunk.id, NodeKey(node), self.service_us, lives(living));
        assert!(!matches!(loss, Some(Loss::Convicted(_))), "at once: {loss:?}");
        self.follow(loss)
    }

    fn follow(&mut self, loss: Option<Loss>) -> Settled {
        let suspect = match loss {
            None => return Settled::default(),
            Some(Loss::ToWeigh(suspect)) => {
                self.to_weigh.push(suspect);
                return Settled::default();
            }
            Some(Loss::Convicted(convict)) => {
                let nodes: BTreeSet<u64> = convict.nodes().iter().map(|node| node.0).collect();
                let (lost, _) = &self.lost[&convict.index];
                assert!(nodes.len() >= 2 && nodes.is_subset(lost), "{convict:?}, but lost were {lost:?}");
                convict
            }
            Some(Loss::GivenUp(suspect)) => {
                assert!(self.lost[&suspect.index].1 >= MOST_LOSSES, "{suspect:?}");
                suspect
            }
        };
        Settled { outcomes: vec![(suspect.index, ItemOutcome::default())], obsolete: None }
    }

    fn meet(&mut self, chunk: &Chunk, fate: &Fate, living: Living) -> Settled {
        match *fate {
            Fate::Answered(most) => self.book.answered(chunk.id, run(chunk, most)),
            Fate::Late if self.book.goes_singly(chunk.id) => Settled::default(),
            Fate::Failed | Fate::Late => self.book.failed(chunk.id, &ItemOutcome::default()),
            Fate::Lost(node) => self.lose(chunk, node, living),
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
    /// Items come, until they end, while chunks of any size go out and meet any fate, in any order; stragglers are looked
    /// for all the time. Nodes come again when they like: an item is convicted by no less than two that were lost with it
    /// and have not come again. After a while the mesh answers everything: then each item has had one outcome, and nothing
    /// is held for it.
    #[test]
    fn each_item_has_one_outcome_whatever_happens(
        steps in prop::collection::vec(
            (0_u64..4, 1_usize..6, any::<usize>(), prop::option::weighted(0.6, fate()), living()),
            1..200,
        ),
        ends in 0_usize..200,
        is_short: bool,
    ) {
        let mut mesh = Mesh::new(is_short.then_some(1.0));
        for (nth, (more, most, which, fate, living)) in steps.iter().enumerate() {
            if nth == ends {
                mesh.book.end();
            }
            let more = if nth < ends { *more } else { 0 };
            mesh.step(more, *most, *which, fate.as_ref(), *living);
        }
        mesh.book.end();
        for _ in 0..2_000 {
            mesh.step(0, 6, 0, Some(&Fate::Answered(9)), 0);
        }
        let book = &mesh.book;
        prop_assert!(book.is_over(), "{book:?}");
        prop_assert_eq!(mesh.seen.len() as u64, book.items());
        prop_assert_eq!((book.open(), book.bytes(), book.waiting()), (0, 0, (0, 0)));
    }
}
