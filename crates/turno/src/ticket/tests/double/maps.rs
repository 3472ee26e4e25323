//! The double's maps: their items as they came, and the results that a test gives them.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{Stream, stream};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::watch;
use tonic::{Code, Status, Streaming};
use turno_proto::google::longrunning::Operation;
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::v1::{
    MapResponse, MapResult, MapSummary, ReadMapRequest, SubmitMapHeader, SubmitMapRequest, SubmitRequest,
    TicketState,
};

use super::{Double, any};

#[derive(Default)]
pub(super) struct Maps {
    /// Those whose items had all come.
    taken: Mutex<Vec<(SubmitMapHeader, Vec<Bytes>)>>,
    /// Items that have come, also those that are no map's.
    come: Mutex<usize>,
    /// So many submits are refused as by a gateway that ends, before an item was read.
    refused: Mutex<u32>,
    results: Mutex<BTreeMap<String, Vec<MapResult>>>,
}

/// Results in one message.
const PART: usize = 3;

impl Double {
    /// The next maps meet a gateway that is ending.
    pub(in super::super) fn refuse_maps(&self, count: u32) {
        *self.0.maps.refused.lock() = count;
    }

    /// Items that have come by now.
    pub(in super::super) fn items_come(&self) -> usize {
        *self.0.maps.come.lock()
    }

    /// Every map that came as a whole.
    pub(in super::super) fn maps(&self) -> Vec<(SubmitMapHeader, Vec<Bytes>)> {
        self.0.maps.taken.lock().clone()
    }

    /// More results of a map.
    pub(in super::super) fn result(&self, name: &str, results: impl IntoIterator<Item = MapResult>) {
        self.0.maps.results.lock().entry(name.to_owned()).or_default().extend(results);
        self.change(name, |metadata| metadata.set_state(TicketState::Running));
    }

    /// Ends a map that has done what it had to.
    pub(in super::super) fn finish_map(&self, name: &str, summary: MapSummary) {
        self.end(name, TicketState::Done, Ended::Response(any("turno.v1.MapSummary", &summary)));
    }

    pub(super) async fn take_map(
        &self,
        mut requests: Streaming<SubmitMapRequest>,
    ) -> Result<Operation, Status> {
        {
            let mut refused = self.0.maps.refused.lock();
            if *refused > 0 {
                *refused -= 1;
                return Err(Status::unavailable("the gateway is ending"));
            }
        }
        let (mut header, mut items) = (SubmitMapHeader::default(), Vec::new());
        while let Some(message) = requests.message().await? {
            header = message.header.unwrap_or(header);
            *self.0.maps.come.lock() += message.items.len();
            items.extend(message.items);
        }
        // As a gateway does: to hyper a stream that was cancelled has ended as well, and here it drops us.
        tokio::task::yield_now().await;
        let order = SubmitRequest {
            method: header.map.clone().unwrap_or_default().method,
            idempotency_key: header.idempotency_key.clone(),
            labels: header.labels.clone(),
            ..SubmitRequest::default()
        };
        let count = items.len() as u64;
        self.0.maps.taken.lock().push((header, items));
        Ok(self.store(order, Some(count)))
    }

    pub(super) fn read(
        self,
        request: ReadMapRequest,
        follower: watch::Receiver<Operation>,
    ) -> impl Stream<Item = Result<MapResponse, Status>> + Send {
        let from = usize::try_from(request.from).unwrap();
        stream::unfold(Some((from, follower)), move |reading| {
            let (double, name) = (self.clone(), request.name.clone());
            async move {
                let (from, mut follower) = reading?;
                loop {
                    let now = follower.borrow_and_update().clone();
                    let results = double.part(&name, from);
                    if !results.is_empty() {
                        let next = from + results.len();
                        return Some((Ok(MapResponse { results, summary: None }), Some((next, follower))));
                    }
                    if let Some(ended) = now.result {
                        return Some((end(ended), None));
                    }
                    follower.changed().await.ok()?;
                }
            }
        })
    }

    fn part(&self, name: &str, from: usize) -> Vec<MapResult> {
        let results = self.0.maps.results.lock();
        results.get(name).map_or_else(Vec::new, |all| all.iter().skip(from).take(PART).cloned().collect())
    }
}

/// The last message, as a gateway says it.
fn end(ended: Ended) -> Result<MapResponse, Status> {
    match ended {
        Ended::Error(error) => {
            let details = error.encode_to_vec().into();
            Err(Status::with_details(Code::from_i32(error.code), error.message, details))
        }
        Ended::Response(summary) => {
            let summary = MapSummary::decode(summary.value.as_slice()).unwrap();
            Ok(MapResponse { results: Vec::new(), summary: Some(summary) })
        }
    }
}
