//! The inputs of a map: packed into parts as they come, and read again by an attempt, without what has its result.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use prost::Message as _;
use tonic::Status;
use turno_proto::mesh::v1::{InputsHead, Items};
use turno_store::{Inputs, Log, Part, Store, TicketId};
use twox_hash::XxHash3_128;

use super::recorded::Recorded;
use crate::map::Fed;
use crate::tickets::refusal;

/// A part is closed with the item that makes it as long.
const PART: usize = 256 * 1024;
/// Or with so many: what is kept of each in memory is more than its bytes.
const MOST_ITEMS: usize = 16_384;
/// Beside its bytes, what an item takes while it waits.
pub(super) const ITEM: usize = size_of::<Bytes>();

/// Items on their way into parts. Pure.
pub(super) struct Packer {
    items: Vec<Bytes>,
    bytes: usize,
    told: Inputs,
    checksum: XxHash3_128,
}

impl Packer {
    pub(super) fn new() -> Self {
        let told = Inputs { parts: 0, items: 0 };
        Self { items: Vec::new(), bytes: 0, told, checksum: XxHash3_128::new() }
    }

    /// An item more; the part that is full by it, with its number.
    pub(super) fn add(&mut self, item: Bytes) -> Option<(u32, Part)> {
        self.checksum.write(&(item.len() as u64).to_le_bytes());
        self.checksum.write(&item);
        self.bytes += item.len();
        self.items.push(item);
        if self.bytes >= PART || self.items.len() >= MOST_ITEMS { self.close() } else { None }
    }

    /// What is left.
    pub(super) fn close(&mut self) -> Option<(u32, Part)> {
        if self.items.is_empty() {
            return None;
        }
        let (items, number) = (std::mem::take(&mut self.items), self.told.parts);
        let count = items.len() as u64;
        self.told = Inputs { parts: number + 1, items: self.told.items + count };
        self.bytes = 0;
        let head = InputsHead { items: count }.encode_to_vec().into();
        Some((number, Part { head, body: Items { items }.encode_to_vec().into() }))
    }

    /// What waits here, in bytes.
    pub(super) fn held(&self) -> usize {
        self.bytes + self.items.len() * ITEM
    }

    /// All that was closed, and the checksum over it.
    pub(super) fn told(&self) -> (Inputs, Bytes) {
        (self.told, self.checksum.finish_128().to_be_bytes().to_vec().into())
    }
}

/// Heads that are read at once.
const HEADS: u32 = 256;

struct Reading {
    store: Arc<dyn Store>,
    ticket: TicketId,
    inputs: Inputs,
    recorded: Recorded,
    heads: VecDeque<Bytes>,
    part: u32,
    /// Of the next item.
    index: u64,
    fed: VecDeque<Fed>,
}

/// The items of a map that have no result, and how many have one between them.
pub(super) fn read(
    store: Arc<dyn Store>,
    ticket: TicketId,
    inputs: Inputs,
    recorded: Recorded,
) -> impl Stream<Item = Result<Fed, Status>> + Send {
    let (heads, fed) = (VecDeque::new(), VecDeque::new());
    let reading = Reading { store, ticket, inputs, recorded, heads, part: 0, index: 0, fed };
    stream::try_unfold(reading, async |mut reading| {
        let next = reading.next().await?;
        Ok(next.map(|fed| (fed, reading)))
    })
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Fed>, Status> {
        loop {
            if let Some(fed) = self.fed.pop_front() {
                return Ok(Some(fed));
            }
            if self.part == self.inputs.parts {
                return Ok(None);
            }
            self.read_part().await?;
        }
    }

    async fn read_part(&mut self) -> Result<(), Status> {
        let head = self.head().await?;
        let count = InputsHead::decode(head).map_err(|_| self.damaged())?.items;
        let end = self.index + count;
        if self.recorded.run(self.index, end) == (true, count) {
            self.fed.push_back(Fed::Passed(count));
        } else {
            let part = self.store.part(self.ticket, Log::Inputs, self.part).await;
            let part = part.map_err(refusal::status)?.ok_or_else(|| self.damaged())?;
            let items = Items::decode(part.body).map_err(|_| self.damaged())?.items;
            if items.len() as u64 != count {
                return Err(self.damaged());
            }
            self.fed = split(items, self.index, &self.recorded);
        }
        (self.part, self.index) = (self.part + 1, end);
        Ok(())
    }

    async fn head(&mut self) -> Result<Bytes, Status> {
        if self.heads.is_empty() {
            let heads = self.store.heads(self.ticket, Log::Inputs, self.part, HEADS).await;
            self.heads = heads.map_err(refusal::status)?.into();
        }
        self.heads.pop_front().ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> Status {
        Status::data_loss(format!("the inputs of ticket {} cannot be read", self.ticket))
    }
}

/// Items from `first` on, by whether they have their results.
fn split(mut items: Vec<Bytes>, first: u64, recorded: &Recorded) -> VecDeque<Fed> {
    let (mut fed, mut at, end) = (VecDeque::new(), first, first + items.len() as u64);
    while at < end {
        let (is_recorded, count) = recorded.run(at, end);
        let rest = items.split_off(usize::try_from(count).expect("a part's items are in memory"));
        let these = std::mem::replace(&mut items, rest);
        fed.push_back(if is_recorded { Fed::Passed(count) } else { Fed::Items(these) });
        at += count;
    }
    fed
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;
    use turno_proto::mesh::v1::Items;

    use super::{Fed, Packer, Recorded, split};

    #[test]
    fn items_come_back_from_their_parts_in_order() {
        let items: Vec<Bytes> = (0..40_000_u32).map(|number| vec![7; number as usize % 50].into()).collect();
        let (mut packer, mut parts) = (Packer::new(), Vec::new());
        parts.extend(items.iter().filter_map(|item| packer.add(item.clone())));
        parts.extend(packer.close());
        assert_eq!(packer.close(), None);
        let numbers: Vec<_> = parts.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..parts.len() as u32).collect::<Vec<_>>());
        let (told, _) = packer.told();
        assert_eq!((told.parts as usize, told.items), (parts.len(), 40_000));
        let back = parts.into_iter().flat_map(|(_, part)| Items::decode(part.body).unwrap().items);
        assert!(back.eq(items));
    }

    #[test]
    fn other_items_have_another_checksum() {
        let checksum = |items: &[&'static [u8]]| {
            let mut packer = Packer::new();
            for item in items {
                packer.add(Bytes::from_static(item));
            }
            packer.told().1
        };
        assert_eq!(checksum(&[b"ab", b"c"]), checksum(&[b"ab", b"c"]));
        assert_ne!(checksum(&[b"ab", b"c"]), checksum(&[b"a", b"bc"]));
    }

    #[test]
    fn what_has_its_result_is_passed() {
        let mut recorded = Recorded::default();
        recorded.add(0, 11);
        recorded.add(12, 1);
        let item = |number: u8| Bytes::from(vec![number]);
        let fed = split((9..15).map(item).collect(), 9, &recorded);
        let expected = [
            Fed::Passed(2),
            Fed::Items(vec![item(11)]),
            Fed::Passed(1),
            Fed::Items(vec![item(13), item(14)]),
        ];
        assert_eq!(fed, expected);
    }
}
