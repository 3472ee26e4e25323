//! One attempt of a map: what has no result yet is run, and what comes of it is put on disk as it comes.

use std::sync::Arc;
use std::time::Duration;

use prost::{Message as _, Name as _};
use prost_types::Any;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};
use turno_proto::google::rpc;
use turno_proto::mesh::v1::{Progress, ResultsHead};
use turno_proto::v1::{MapResponse, MapSummary, SubmittedMap};
use turno_runtime::task;
use turno_store::{Attempt, Claimed, Error, Inputs, Log, Part, Store};

use super::inputs;
use super::results::{Gathering, LONGEST, Tally};
use crate::link::heard::Hearing;
use crate::map::{Errands, Map, SENT_WAITING, Terms};
use crate::methods::Method;
use crate::tickets::attempt::{come_again, is_passing};
use crate::tickets::envelope::Envelope;
use crate::tickets::operation::{TYPES, failure_of, wrapped};
use crate::tickets::verdict::Ended;
use crate::tickets::{Tickets, refusal};

/// Heads that are read at once.
const HEADS: u32 = 256;
/// Messages of results on their way to the disk.
const MESSAGES_WAITING: usize = 4;

type Results = mpsc::Receiver<Result<MapResponse, Status>>;

impl Tickets {
    /// Runs what has no result yet.
    pub(crate) async fn run_map(
        &self,
        claimed: Claimed,
        inputs: Inputs,
        method: Arc<Method>,
        hearing: &Hearing,
    ) -> Ended {
        match self.run_rest(claimed, inputs, method, hearing).await {
            Ok(ended) => ended,
            Err(_) if hearing.stop.is_cancelled() => Ended::Stopped,
            // Nobody serves the method, the store is full or away: all that will be otherwise.
            Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
                Ended::NotNow(come_again(&status))
            }
            Err(status) => Ended::Error(failure_of(&status), come_again(&status)),
        }
    }

    async fn run_rest(
        &self,
        claimed: Claimed,
        inputs: Inputs,
        method: Arc<Method>,
        hearing: &Hearing,
    ) -> Result<Ended, Status> {
        let attempt = claimed.attempt;
        let tally = tally(self.store(), attempt).await?;
        let mut recorder =
            Recorder { tickets: self, attempt, inputs, hearing, tally, gathering: Gathering::default() };
        recorder.tell();
        let map = self.map(&claimed, method, &recorder)?;
        let items = inputs::read(
            self.0.around.store.clone(),
            attempt.ticket,
            inputs,
            recorder.tally.recorded.clone(),
        );
        let (results, mut coming) = mpsc::channel(MESSAGES_WAITING);
        let running = map.run(Box::pin(items), results);
        let running = tokio_util::task::AbortOnDropHandle::new(task::spawn("gateway.tickets.map", running));
        let ended = recorder.record(&mut coming).await;
        if hearing.stop.is_cancelled() {
            // What could not be stored any more has ended it before its nodes have.
            while coming.recv().await.is_some() {}
        }
        drop(running);
        ended
    }

    fn map(&self, claimed: &Claimed, method: Arc<Method>, recorder: &Recorder<'_>) -> Result<Map, Status> {
        let submitted = SubmittedMap::decode(claimed.request.clone())
            .map_err(|error| Status::data_loss(format!("the map cannot be read: {error}")))?;
        let Envelope { metadata, caller } = Envelope::opened(claimed)?;
        let (sent, has_sent) = mpsc::channel(SENT_WAITING);
        let around = &self.0.around;
        Ok(Map {
            terms: Terms::read(&submitted.map.unwrap_or_default())?,
            errands: Errands {
                router: around.router.clone(),
                longest_call: around.longest_call,
                at_most: Duration::MAX,
                method,
                metadata,
                caller,
                begins_batch: true,
                deadline: None,
                turns: Errands::turns(),
                sent,
            },
            room: around.admission.room_of_map(),
            patience: around.longest_call,
            closing: self.0.closing.clone(),
            stop: recorder.hearing.stop.clone(),
            sent: has_sent,
            earlier: recorder.tally.earlier(),
            ticket: Some(claimed.attempt.ticket),
            in_trailers: false,
        })
    }
}

/// What earlier attempts have put on disk.
pub(super) async fn tally(store: &dyn Store, attempt: Attempt) -> Result<Tally, Status> {
    let mut tally = Tally::default();
    loop {
        let heads = store.heads(attempt.ticket, Log::Results, tally.parts, HEADS).await;
        let heads = heads.map_err(refusal::status)?;
        if heads.is_empty() {
            return Ok(tally);
        }
        for head in heads {
            tally.add(&head_of(head)?);
        }
    }
}

pub(super) fn head_of(head: bytes::Bytes) -> Result<ResultsHead, Status> {
    ResultsHead::decode(head)
        .map_err(|_| Status::data_loss("what a part of results says of itself cannot be read"))
}

/// Puts results on disk, one part after another, and tells how far it is.
struct Recorder<'a> {
    tickets: &'a Tickets,
    attempt: Attempt,
    inputs: Inputs,
    hearing: &'a Hearing,
    tally: Tally,
    gathering: Gathering,
}

impl Recorder<'_> {
    /// Until the map has ended: one that is stopped says so when nothing of it runs.
    async fn record(&mut self, coming: &mut Results) -> Result<Ended, Status> {
        let mut due = None;
        loop {
            let came = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
                came = coming.recv() => Some(came),
            };
            match came {
                Some(Some(Ok(MapResponse { results, summary }))) => {
                    self.gathering.add(results);
                    if let Some(summary) = summary {
                        self.write().await?;
                        return self.over(summary, coming.recv().await.and_then(Result::err));
                    }
                    if !self.gathering.is_empty() && due.is_none() {
                        due = Some(Instant::now() + LONGEST);
                    }
                    if !self.gathering.is_full() {
                        continue;
                    }
                }
                Some(Some(Err(status))) => {
                    self.write().await?;
                    return Err(status);
                }
                Some(None) => return Err(Status::internal("the map broke")),
                None => {}
            }
            self.write().await?;
            due = None;
        }
    }

    /// What a summary, and an error behind it, say of the whole.
    fn over(&self, summary: MapSummary, stopped: Option<Status>) -> Result<Ended, Status> {
        let Some(stopped) = stopped else {
            return Ok(Ended::Done(wrapped(summary.encode_to_vec().into(), Some(&MapSummary::full_name()))));
        };
        let type_url = format!("{TYPES}{}", MapSummary::full_name());
        let details = vec![Any { type_url, value: summary.encode_to_vec() }];
        let (code, message) = (stopped.code() as i32, stopped.message().to_owned());
        let rich = rpc::Status { code, message, details }.encode_to_vec();
        Ok(Ended::Refused(turno_store::Failure { details: rich.into(), ..failure_of(&stopped) }))
    }

    /// Puts on disk what has gathered. A store that is full, or away, is waited for: so long the map takes in nothing new. But
    /// not for a full one once somebody wants the map stopped, which may be what has filled it.
    async fn write(&mut self) -> Result<(), Status> {
        if self.gathering.is_empty() {
            return Ok(());
        }
        let (head, part) = self.gathering.close();
        let done = self.tally.done() + head.succeeded + head.failed;
        self.append(part, done).await.map_err(refusal::status)?;
        self.tally.add(&head);
        self.tell();
        Ok(())
    }

    async fn append(&self, part: Part, done: u64) -> Result<(), Error> {
        let (mut patience, stop) = (self.tickets.patience(), &self.hearing.stop);
        loop {
            let appended =
                self.tickets.store().append_results(self.attempt, self.tally.parts, part.clone(), done);
            match appended.await {
                Err(error) if !is_passing(&error) || patience.is_over(&error) => return Err(error),
                Err(error @ Error::Full) if stop.is_cancelled() => return Err(error),
                // The store has told the log.
                Err(Error::Full | Error::Away(_) | Error::Unavailable(_)) => {}
                Err(error) => {
                    tracing::warn!(ticket = %self.attempt.ticket, %error, "results cannot be stored yet");
                }
                Ok(()) => return Ok(()),
            }
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = patience.pause() => {}
            }
        }
    }

    fn tell(&self) {
        let (done, total, note) = (self.tally.done(), self.inputs.items, self.tally.note());
        self.hearing.progress.send_replace(Progress { done, total, note, ..Progress::default() });
    }
}
