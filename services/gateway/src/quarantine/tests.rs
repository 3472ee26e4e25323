//! The quarantine, by example and against a plain list.

use std::hash::RandomState;

use proptest::prelude::*;

use super::{Key, MOST_NODES, NodeKey, Quarantine};

const TTL: u64 = 600_000_000;
const PATH: &str = "/gallery.v1.Gallery/Thumbnail";

fn quarantine(capacity: usize) -> Quarantine {
    Quarantine::new(capacity, TTL, RandomState::new())
}

#[test]
fn two_nodes_lost_and_it_is_not_tried_again() {
    let quarantine = quarantine(10);
    assert!(quarantine.is_empty());
    let key = quarantine.key(PATH, b"poison");
    assert_eq!(quarantine.died(key, NodeKey(1), 0), 1);
    assert_eq!(quarantine.refused_for_us(key, 0), None);
    assert_eq!(quarantine.died(key, NodeKey(2), 10), 2);
    assert_eq!([10, 15].map(|now| quarantine.refused_for_us(key, now)), [Some(0), Some(5)]);
    assert_eq!(quarantine.refused_for_us(key, 10 + TTL - 1), Some(TTL - 1));
    assert_eq!(quarantine.refused_for_us(key, 10 + TTL), None);
    assert!(quarantine.is_empty());
    // It may try again, and needs two more.
    assert_eq!(quarantine.died(key, NodeKey(3), 11 + TTL), 1);
}

#[test]
fn many_calls_lost_with_one_node_are_one_death() {
    let quarantine = quarantine(10);
    let key = quarantine.key(PATH, b"");
    for _ in 0..100 {
        assert_eq!(quarantine.died(key, NodeKey(1), 0), 1);
    }
    assert_eq!(quarantine.died(key, NodeKey(2), 0), 2);
    assert_eq!(quarantine.died(key, NodeKey(1), 0), 2);
}

#[test]
fn who_is_answered_was_innocent() {
    let quarantine = quarantine(10);
    let key = quarantine.key(PATH, b"bystander");
    quarantine.died(key, NodeKey(1), 0);
    quarantine.answered(key);
    assert!(quarantine.is_empty());
    assert_eq!(quarantine.died(key, NodeKey(2), 0), 1);
    quarantine.died(key, NodeKey(3), 0);
    quarantine.answered(key);
    assert_eq!(quarantine.refused_for_us(key, 0), None);
}

#[test]
fn a_node_that_comes_again_has_not_died() {
    let quarantine = quarantine(10);
    let [a, b] = ["a", "b"].map(|id| quarantine.node(id));
    let key = quarantine.key(PATH, b"poison");
    // Its link breaks, it comes again, and another dies.
    quarantine.died(key, a, 0);
    quarantine.lives(a);
    assert!(quarantine.is_empty());
    assert_eq!(quarantine.died(key, b, 0), 1);
    // The other way around: only one has died.
    assert_eq!(quarantine.died(key, a, 0), 2);
    assert!(quarantine.refused_for_us(key, 0).is_some());
    quarantine.lives(b);
    assert_eq!(quarantine.refused_for_us(key, 0), None);
    assert_eq!(quarantine.died(key, a, 0), 1, "whichever link it had");
}

#[test]
fn only_what_looks_alike_is_hashed() {
    let quarantine = quarantine(10);
    assert_eq!(quarantine.suspect(PATH, b"poison", 0), None);
    let key = quarantine.key(PATH, b"poison");
    quarantine.died(key, NodeKey(1), 0);
    assert_eq!(quarantine.suspect(PATH, b"poison", 0), Some(key));
    assert_eq!(quarantine.suspect(PATH, b"longer than poison", 0), None);
    assert_eq!(quarantine.suspect("/gallery.v1.Gallery/Other", b"poison", 0), None);
    assert_eq!([6, 7].map(|bytes| quarantine.knows_of(PATH, bytes, 0)), [true, false]);
    assert!(quarantine.suspect(PATH, b"potion", 0).is_some_and(|other| other != key));
    // What has expired is found out here too, so that the next call is cheap again.
    assert_eq!(quarantine.suspect(PATH, b"poison", TTL), None);
    assert!(quarantine.is_empty());
}

#[test]
fn path_and_bytes_do_not_run_into_each_other() {
    let quarantine = quarantine(10);
    assert_ne!(quarantine.key("/a", b"bc"), quarantine.key("/ab", b"c"));
}

#[derive(Clone, Debug)]
enum Step {
    Died(u8, u64),
    Answered(u8),
    Lives(u64),
    Asked(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u8, 0..10_u64).prop_map(|(input, node)| Step::Died(input, node)),
        1 => (0..8_u8).prop_map(Step::Answered),
        1 => (0..10_u64).prop_map(Step::Lives),
        3 => (0..8_u8).prop_map(Step::Asked),
        2 => (0..TTL / 2).prop_map(Step::Wait),
    ]
}

/// What is true: (input, nodes lost, last death), the one that died longest ago first.
#[derive(Default)]
struct Model(Vec<(u8, Vec<u64>, u64)>);

impl Model {
    fn died(&mut self, input: u8, node: u64, now: u64, capacity: usize) -> u32 {
        let at = self.0.iter().position(|(other, ..)| *other == input);
        let mut nodes = at.map_or_else(Vec::new, |at| self.0.remove(at).1);
        if !nodes.contains(&node) {
            nodes.push(node);
            nodes.truncate(MOST_NODES);
        }
        let count = nodes.len() as u32;
        self.0.push((input, nodes, now));
        if self.0.len() > capacity {
            self.0.remove(0);
        }
        count
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_is_as_a_plain_list(steps in prop::collection::vec(step(), 1..200), capacity in 1..6_usize) {
        let (quarantine, mut model, mut now) = (quarantine(capacity), Model::default(), 0);
        // Inputs of two lengths.
        let body = |input: u8| vec![input; 1 + usize::from(input % 2)];
        let key = |input: u8| -> Key { quarantine.key(PATH, &body(input)) };
        for step in steps {
            match step {
                Step::Wait(us) => now += us,
                Step::Died(input, node) => {
                    model.0.retain(|(.., at)| now - at < TTL);
                    let count = quarantine.died(key(input), NodeKey(node), now);
                    prop_assert_eq!(count, model.died(input, node, now, capacity));
                }
                Step::Answered(input) => {
                    quarantine.answered(key(input));
                    model.0.retain(|(other, ..)| *other != input);
                }
                Step::Lives(node) => {
                    quarantine.lives(NodeKey(node));
                    model.0.iter_mut().for_each(|(_, nodes, _)| nodes.retain(|other| *other != node));
                    model.0.retain(|(_, nodes, _)| !nodes.is_empty());
                }
                Step::Asked(input) => {
                    model.0.retain(|(.., at)| now - at < TTL);
                    let known = model.0.iter().find(|(other, ..)| *other == input);
                    let bad = known.filter(|(_, nodes, _)| nodes.len() >= 2).map(|(.., at)| now - at);
                    prop_assert_eq!(quarantine.refused_for_us(key(input), now), bad);
                    let alike = model.0.iter().any(|(other, ..)| other % 2 == input % 2);
                    prop_assert_eq!(quarantine.suspect(PATH, &body(input), now).is_some(), alike);
                    prop_assert_eq!(quarantine.is_empty(), model.0.is_empty());
                }
            }
        }
    }
}
