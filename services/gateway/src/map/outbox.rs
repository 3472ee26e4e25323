//! Results on their way to the client: in order if it wants them so, gathered into messages, counted, and watched for
//! failures. What counts as failed is what is on its way: a map in order stops at the first failure in its order. Pure.

use std::collections::VecDeque;

use tonic::Status;
use turno_proto::mesh::v1::ItemOutcome;
use turno_proto::status;
use turno_proto::v1::{MapError, MapResponse, MapResult, MapSummary};

use super::terms::OnFailure;

/// The results of one map that the client has not been sent yet.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Those that came before their turn; the first is that of item `turn`.
    early: Option<VecDeque<Option<MapResult>>>,
    turn: u64,
    early_count: usize,
    ready: VecDeque<MapResult>,
    bytes: usize,
    on_failure: OnFailure,
    succeeded: u64,
    failed: u64,
    /// Why no more results go out.
    stopped: Option<String>,
}

/// What a map has come to before it was broken off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// The first item without a result: in order, the next to go out.
    pub(crate) turn: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

/// A message has no more results, nor more bytes but by its last one.
const MOST_RESULTS: usize = 1_024;
const MOST_BYTES: usize = 64 * 1024;
/// A share says little of fewer items.
const ENOUGH: u64 = 100;

impl Outbox {
    pub(crate) fn new(ordered: bool, on_failure: OnFailure, earlier: Earlier) -> Self {
        let Earlier { turn, succeeded, failed } = earlier;
        let mut outbox = Self {
            early: ordered.then(VecDeque::new),
            turn,
            early_count: 0,
            ready: VecDeque::new(),
            bytes: 0,
            on_failure,
            succeeded,
            failed,
            stopped: None,
        };
        outbox.stopped = outbox.stopped_earlier();
        outbox
    }

    /// Broken off when it was about to stop.
    fn stopped_earlier(&self) -> Option<String> {
        match self.on_failure {
            OnFailure::Stop if self.failed > 0 => Some("stopped at the failure of an item".to_owned()),
            OnFailure::StopAbove(share) => self.above(share, (self.succeeded + self.failed).max(ENOUGH)),
            _ => None,
        }
    }

    /// An item has its outcome: its only one.
    pub(crate) fn put(&mut self, index: u64, outcome: ItemOutcome) {
        if self.stopped.is_some() {
            return;
        }
        let result = result(index, outcome);
        self.bytes += size_of(&result);
        let Some(early) = &mut self.early else { return self.release(result) };
        let place = usize::try_from(index - self.turn).expect("the window is no wider than memory");
        if early.len() <= place {
            early.resize(place + 1, None);
        }
        early[place] = Some(result);
        self.early_count += 1;
        while let Some(next) = self.early.as_mut().and_then(|early| early.pop_front_if(|next| next.is_some()))
        {
            (self.turn, self.early_count) = (self.turn + 1, self.early_count - 1);
            self.release(next.expect("it was looked at"));
        }
    }

    fn release(&mut self, result: MapResult) {
        if self.stopped.is_some() {
            return;
        }
        match &result.error {
            None => self.succeeded += 1,
            Some(error) => {
                self.failed += 1;
                self.stopped = self.stop(result.index, error);
            }
        }
        self.ready.push_back(result);
    }

    fn stop(&self, index: u64, error: &MapError) -> Option<String> {
        let done = self.succeeded + self.failed;
        match self.on_failure {
            OnFailure::Collect => None,
            OnFailure::Stop => {
                let code = status::code_name(status::code_of(error.code));
                Some(format!("stopped at the failure of item {index}: {code}: {}", error.message))
            }
            OnFailure::StopAbove(share) => self.above(share, done.max(ENOUGH)),
        }
    }

    fn above(&self, share: f64, of: u64) -> Option<String> {
        let done = self.succeeded + self.failed;
        (self.failed as f64 > share * of as f64).then(|| {
            format!(
                "stopped, since {} of {done} items have failed: more than the share of {share}",
                self.failed
            )
        })
    }

    /// Results that wait here, and their bytes.
    pub(crate) fn held(&self) -> usize {
        self.ready.len() + self.early_count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next item to go out, of a map in order.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// There were more failures than there may be.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// What has gathered.
    pub(crate) fn message(&mut self) -> MapResponse {
        let mut results = Vec::with_capacity(self.ready.len().min(MOST_RESULTS));
        let mut bytes = 0;
        while results.len() < MOST_RESULTS && bytes < MOST_BYTES {
            let Some(result) = self.ready.pop_front() else { break };
            bytes += size_of(&result);
            results.push(result);
        }
        self.bytes -= bytes;
        MapResponse { results, summary: None }
    }

    /// The last message, and what the map ends with if that is an error. Nothing is left then.
    pub(crate) fn finish(&mut self, items: u64) -> (MapResponse, Option<Status>) {
        let OnFailure::StopAbove(share) = self.on_failure else { return self.end(items) };
        let stopped = self.stopped.take();
        self.stopped = stopped.or_else(|| self.above(share, self.succeeded + self.failed));
        self.end(items)
    }

    fn end(&self, items: u64) -> (MapResponse, Option<Status>) {
        let summary = MapSummary { items, succeeded: self.succeeded, failed: self.failed };
        let last = MapResponse { results: Vec::new(), summary: Some(summary) };
        (last, self.stopped.as_ref().map(|why| Status::aborted(format!("the map was {why}"))))
    }
}

fn result(index: u64, outcome: ItemOutcome) -> MapResult {
    let ItemOutcome { code, body, message, details } = outcome;
    if code == 0 {
        return MapResult { index, response: body, error: None };
    }
    MapResult { index, error: Some(MapError { code, message, details }), ..MapResult::default() }
}

fn size_of(result: &MapResult) -> usize {
    let error = result.error.as_ref().map_or(0, |error| error.message.len() + error.details.len());
    result.response.len() + error
}

#[cfg(test)]
mod tests;
