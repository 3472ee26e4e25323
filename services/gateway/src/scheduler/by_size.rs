//! What jobs of one method cost, by how large their requests are: a large picture takes longer than a small one, and
//! whoever sends the small one is not to be refused for it.

use super::estimate::Estimate;
use super::{Job, Lane, Spent};

/// How large a request is, roughly: below 256 bytes, 1 KiB, 4 KiB, and so on to 4 MiB, and above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size(u8);

const SIZES: usize = 9;
/// The smallest size ends at two to this; each other is four times the one before.
const SMALLEST_BITS: u32 = 8;

impl Size {
    /// Of a chunk, one item's.
    pub(super) fn of(job: &Job) -> Self {
        Self::of_bytes(job.bytes / u64::from(job.items.max(1)))
    }

    fn of_bytes(bytes: u64) -> Self {
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
struct OfSize {
    estimate: Estimate,
    /// In each lane: what waits for tickets does not show what calls take.
    lanes: [Tries; 2],
}

/// Whether somebody is there to show how long its like takes.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Refused by their deadline since one was last let through.
    pub(super) refused: u32,
    /// They wait, or are at workers.
    pub(super) here: u32,
}

impl BySize {
    pub(super) fn tries(&mut self, size: Size, lane: Lane) -> &mut Tries {
        &mut self.sizes[size.0 as usize].lanes[lane as usize]
    }

    /// Answers whether they were done in less than half of the time by which their like is judged.
    pub(super) fn learn(&mut self, size: Size, spent: Spent) -> bool {
        let was_brief = self.judge(size).is_some_and(|judge| judge.is_brief(spent));
        self.all.learn(spent);
        self.sizes[size.0 as usize].estimate.learn(spent);
        was_brief
    }

    /// Whether enough have finished, of any size, to refuse somebody.
    pub(super) fn says_enough(&self) -> bool {
        self.all.says_enough()
    }

    /// How long a job of any size holds its slot, once one has.
    pub(super) fn service_us(&self) -> Option<u64> {
        self.all.service_us()
    }

    /// How long the next one of this size will hold its slot.
    pub(super) fn service_us_of(&self, size: Size) -> Option<u64> {
        self.known(size).service_us()
    }

    /// How long the next one will run at least; nothing as long as nobody knows.
    pub(super) fn least_service_us_of(&self, size: Size) -> u64 {
        self.judge(size).map_or(0, Estimate::least_service_us)
    }

    /// How long one of this size will hold its slot, or the longest of those that are here, if that is more.
    pub(super) fn longest_us(&self, size: Size) -> u64 {
        let is_here = |of_size: &OfSize| of_size.lanes.iter().any(|tries| tries.here > 0);
        let here = (0..).map(Size).zip(&self.sizes).filter(|(_, of_size)| is_here(of_size));
        let sizes = here.map(|(size, _)| size).chain([size]);
        sizes.filter_map(|size| self.service_us_of(size)).max().unwrap_or(0)
    }

    /// By which one may be refused for its own time: that of its size, else of the next smaller one of which enough were
    /// done. What larger ones took says nothing.
    fn judge(&self, size: Size) -> Option<&Estimate> {
        let not_larger = self.sizes[..=size.0 as usize].iter().rev();
        not_larger.map(|of_size| &of_size.estimate).find(|estimate| estimate.has_done_enough())
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
        assert_eq!(sizes.map(Size::of_bytes), classes.map(Size));
    }
}
