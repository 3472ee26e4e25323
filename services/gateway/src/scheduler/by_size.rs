//! What jobs of one method cost, by how large their requests are: a large picture takes longer than a small one, and
//! whoever sends the small one is not to be refused for it.

use super::Spent;
use super::estimate::Estimate;

/// How large a request is, roughly: below 256 bytes, 1 KiB, 4 KiB, and so on to 4 MiB, and above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size(u8);

const SIZES: usize = 9;
/// The smallest size ends at two to this; each other is four times the one before.
const SMALLEST_BITS: u32 = 8;

impl Size {
    pub(super) fn of(bytes: u64) -> Self {
        let beyond_smallest = bytes.checked_ilog2().and_then(|bits| bits.checked_sub(SMALLEST_BITS));
        let size = beyond_smallest.map_or(0, |bits| 1 + bits / 2);
        Self(size.min(SIZES as u32 - 1) as u8)
    }
}

/// What is known of all jobs of a method, and of those of each size.
#[derive(Debug, Default)]
pub(super) struct BySize {
    all: Estimate,
    sizes: [OfSize; SIZES],
}

/// Jobs with requests of one size.
#[derive(Debug, Default)]
pub(super) struct OfSize {
    estimate: Estimate,
    /// Refused by their deadline since one was last let through.
    pub(super) refused: u32,
    /// They wait, or are at workers.
    pub(super) here: u32,
}

impl BySize {
    pub(super) fn of(&mut self, size: Size) -> &mut OfSize {
        &mut self.sizes[size.0 as usize]
    }

    /// Answers whether they were done in less than half of what was expected.
    pub(super) fn learn(&mut self, size: Size, spent: Spent) -> bool {
        self.all.learn(spent);
        self.of(size).estimate.learn(spent)
    }

    /// How long a job of any size holds its slot, once one has.
    pub(super) fn service_us(&self) -> Option<u64> {
        self.all.service_us()
    }

    /// How long the next one of this size will hold its slot.
    pub(super) fn service_us_of(&self, size: Size) -> Option<u64> {
        self.known(size).service_us()
    }

    /// How long the next one will run at least, once enough is known to refuse somebody for it: of its own size, else of
    /// smaller ones. What larger ones took says nothing.
    pub(super) fn least_service_us_of(&self, size: Size) -> Option<u64> {
        let not_larger = self.sizes[..=size.0 as usize].iter().rev();
        not_larger.filter_map(|of_size| of_size.estimate.least_service_us()).next()
    }

    /// What the next one of so many items will cost its tenant.
    pub(super) fn charge_us(&self, size: Size, items: u32) -> i64 {
        self.known(size).charge_us(items)
    }

    /// Its own size's, once that says enough.
    fn known(&self, size: Size) -> &Estimate {
        let estimate = &self.sizes[size.0 as usize].estimate;
        if estimate.says_enough() { estimate } else { &self.all }
    }
}

#[cfg(test)]
mod tests {
    use super::{SIZES, Size};

    #[test]
    fn a_size_is_four_times_the_one_before() {
        let sizes = [0, 255, 256, 1_023, 1_024, 4_096, 1 << 20, (4 << 20) - 1, 4 << 20, u64::MAX];
        let classes = [0, 0, 1, 1, 2, 3, 7, 7, 8, SIZES as u8 - 1];
        assert_eq!(sizes.map(Size::of), classes.map(Size));
    }
}
