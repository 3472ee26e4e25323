//! What goes to a node at once, and what comes of it. Pure.

use bytes::Bytes;
use prost::Message as _;
use turno_proto::mesh::v1::{ItemOutcome, Items};

use crate::scheduler::WorkerId;

/// What is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) id: u64,
    /// The first of its items.
    pub(crate) first: u64,
    /// How many items it has.
    pub(crate) items: u32,
    /// Encoded `Items`.
    pub(crate) body: Bytes,
    /// How often it has come back unstarted.
    pub(crate) handed_back: u8,
    /// Not there: its twin is there already.
    pub(crate) avoid: Option<WorkerId>,
}

/// Items that have their outcomes.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) outcomes: Vec<(u64, ItemOutcome)>,
    /// A chunk that nobody waits for any more.
    pub(crate) obsolete: Option<u64>,
}

/// The body of a chunk.
pub(super) fn encoded(items: impl Iterator<Item = Bytes>) -> Bytes {
    Items { items: items.collect() }.encode_to_vec().into()
}

/// The items in it.
pub(super) fn decoded(body: &Bytes) -> Vec<Bytes> {
    Items::decode(body.clone()).expect("it was encoded here").items
}
