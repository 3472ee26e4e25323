//! What comes of a map, gathered into parts. Pure.

use std::time::Duration;

use prost::Message as _;
use turno_proto::mesh::v1::ResultsHead;
use turno_proto::v1::{MapResponse, MapResult, MapSummary};
use turno_store::Part;

use super::recorded::Recorded;
use crate::map::Earlier;

/// A part goes to the disk when it is as long, or
const PART: usize = 256 * 1024;
/// has so many results, or
const MOST_RESULTS: usize = 16_384;
/// its first result is so old.
pub(super) const LONGEST: Duration = Duration::from_secs(1);
/// Beside its response, what a result takes.
const RESULT: usize = 16;

/// What is on disk of a map's results.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Parts.
    pub(super) parts: u32,
    pub(super) recorded: Recorded,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
}

impl Tally {
    pub(super) fn add(&mut self, head: &ResultsHead) {
        for run in head.runs.chunks_exact(2) {
            self.recorded.add(run[0], run[1]);
        }
        self.parts += 1;
        self.succeeded += head.succeeded;
        self.failed += head.failed;
    }

    pub(super) fn done(&self) -> u64 {
        self.succeeded + self.failed
    }

    /// The word beside how many are done: a map that is done may have failed in many of its items.
    pub(super) fn note(&self) -> String {
        if self.failed > 0 { format!("{} failed", self.failed) } else { String::new() }
    }

    pub(super) fn earlier(&self) -> Earlier {
        let turn = self.recorded.first_missing();
        Earlier { turn, succeeded: self.succeeded, failed: self.failed }
    }

    pub(super) fn summary(&self, items: u64) -> MapSummary {
        MapSummary { items, succeeded: self.succeeded, failed: self.failed }
    }
}

/// Results on their way into a part.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    results: Vec<MapResult>,
    bytes: usize,
}

impl Gathering {
    pub(super) fn add(&mut self, results: Vec<MapResult>) {
        self.bytes += results.iter().map(|result| result.encoded_len() + RESULT).sum::<usize>();
        self.results.extend(results);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= PART || self.results.len() >= MOST_RESULTS
    }

    /// All of it, as a part.
    pub(super) fn close(&mut self) -> (ResultsHead, Part) {
        let Self { results, .. } = std::mem::take(self);
        let mut recorded = Recorded::default();
        results.iter().for_each(|result| recorded.add(result.index, 1));
        let failed = results.iter().filter(|result| result.error.is_some()).count() as u64;
        let succeeded = results.len() as u64 - failed;
        let head = ResultsHead { runs: recorded.runs(), succeeded, failed };
        let body = MapResponse { results, summary: None }.encode_to_vec().into();
        let part = Part { head: head.encode_to_vec().into(), body };
        (head, part)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use turno_proto::v1::{MapError, MapResponse, MapResult};

    use super::{Earlier, Gathering, Tally};

    #[test]
    fn a_part_says_what_is_in_it() {
        let mut gathering = Gathering::default();
        let result = |index| MapResult { index, ..MapResult::default() };
        let failed = MapResult { error: Some(MapError::default()), ..result(0) };
        gathering.add(vec![result(1), failed]);
        gathering.add(vec![result(5)]);
        let (head, part) = gathering.close();
        assert_eq!((head.runs.as_slice(), head.succeeded, head.failed), (&[0, 2, 5, 1][..], 2, 1));
        let indexes = MapResponse::decode(part.body).unwrap().results.into_iter().map(|result| result.index);
        assert_eq!(indexes.collect::<Vec<_>>(), [1, 0, 5], "in the order in which they came");
        assert!(gathering.is_empty());
        let mut tally = Tally::default();
        assert_eq!(tally.note(), "");
        tally.add(&head);
        assert_eq!(tally.note(), "1 failed");
        assert_eq!(tally.earlier(), Earlier { turn: 2, succeeded: 2, failed: 1 });
        assert_eq!((tally.parts, tally.done()), (1, 3));
    }

    #[test]
    fn a_part_is_full_by_bytes_or_by_results() {
        let mut few = Gathering::default();
        few.add(vec![MapResult { response: vec![0; 300_000].into(), ..MapResult::default() }]);
        assert!(few.is_full());
        let mut many = Gathering::default();
        many.add(vec![MapResult::default(); 100]);
        assert!(!many.is_full());
        many.add(vec![MapResult::default(); 17_000]);
        assert!(many.is_full());
    }
}
