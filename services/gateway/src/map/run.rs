//! A map as it runs: takes items in as long as there is room, sends chunks as long as slots want them, hands results out
//! as fast as the client reads. Knows nothing of gRPC: whoever has items and wants results may run one.

mod ahead;
mod back;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use turno_proto::status;
use turno_proto::v1::MapResponse;
use turno_runtime::units::micros;
use turno_store::TicketId;

use super::bill::Bill;
use super::book::Book;
use super::errand::{Back, Errands};
use super::gate::{Gate, Pass, Standing};
use super::outbox::{Earlier, Outbox};
use super::sizes::Sizes;
use super::terms::Terms;
use super::window::Window;
use crate::account::Account;
use crate::admission::RoomOfMap;
use crate::scheduler::WorkerId;

/// What one map needs to run.
pub(crate) struct Map {
    pub(crate) terms: Terms,
    pub(crate) errands: Errands,
    /// For the bytes of its items.
    pub(crate) room: RoomOfMap,
    /// So long it waits for room where it has nothing, and maps have all of the house: what comes then ends it. One that a
    /// method has begun does not wait: those that have the house may wait for it.
    pub(crate) patience: Duration,
    /// The gateway ends: what is out comes back, and no more goes.
    pub(crate) closing: CancellationToken,
    /// Whoever has it does not want it any more.
    pub(crate) stop: CancellationToken,
    /// Hears of chunks that have gone to their nodes.
    pub(crate) sent: mpsc::Receiver<(u64, Instant, WorkerId)>,
    /// What it has come to before, if it was broken off.
    pub(crate) earlier: Earlier,
    /// If it is one, its items may run again when their node is lost, whatever their method says; and when it ends before
    /// its time, it does so once nothing of it runs.
    pub(crate) ticket: Option<TicketId>,
    /// Whoever has it asks for its account.
    pub(crate) in_trailers: bool,
}

/// What goes into a map.
#[derive(Debug, PartialEq)]
pub(crate) enum Fed {
    Items(Vec<Bytes>),
    /// So many that have their results: they take their numbers, and that is all.
    Passed(u64),
}

/// Where results go, and at last the map's own error, if it has one.
pub(crate) type Results = mpsc::Sender<Result<MapResponse, Status>>;

/// The body of a chunk, but for a larger item: it goes by the link.
const MOST_CHUNK: usize = 60 * 1024;
/// How often a map looks for what nobody tells it: stragglers, at the end, and room that others have left.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Map {
    /// Runs until every item has its result, or the map ends otherwise. A client that has gone away ends it too.
    pub(crate) async fn run(
        self,
        items: impl Stream<Item = Result<Fed, Status>> + Send + Unpin,
        results: Results,
    ) {
        let deadline = self.errands.deadline;
        let gone = results.clone();
        let mut running = Running::new(self);
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            () = gone.closed() => None,
            () = late => Some(Err(Status::deadline_exceeded("the deadline passed before the map was done"))),
            ended = running.run(items, &results) => Some(ended),
        };
        // Nothing of it is out when the client is told, which may take its time.
        let bill = running.close();
        if let Some(last) = bill.settle(ended) {
            // A client that has gone meanwhile.
            let _gone = results.send(Err(last)).await;
        }
    }
}

type Errand = BoxFuture<'static, (u64, (Back, Account))>;

/// A map that has begun.
struct Running {
    terms: Terms,
    errands: Errands,
    room: RoomOfMap,
    patience: Duration,
    closing: CancellationToken,
    stop: CancellationToken,
    sent: mpsc::Receiver<(u64, Instant, WorkerId)>,
    bill: Bill,
    window: Window,
    book: Book,
    outbox: Outbox,
    sizes: Sizes,
    out: FuturesUnordered<Errand>,
    /// Chunks, or suspects that are weighed, by their numbers. One that is obsolete is out, but not here.
    away: HashMap<u64, Away>,
    /// `None` once what is out is not wanted any more.
    gate: Option<Gate>,
    first_sent: Option<Instant>,
    /// Since when it has nothing, and waits for others to leave room.
    shut_out: Option<Instant>,
    /// The gateway ends.
    leaving: bool,
}

impl Running {
    fn new(map: Map) -> Self {
        let Map { terms, errands, room, patience, closing, stop, sent, earlier, ticket, in_trailers } = map;
        let bill = Bill::open(errands.method.clone(), ticket, in_trailers);
        let outbox = Outbox::new(terms.ordered, terms.on_failure, earlier);
        let (window, gate) = (Window::new(terms.in_flight), Gate::new(room.at_once()));
        Self {
            terms,
            errands,
            room,
            patience,
            closing,
            stop,
            sent,
            bill,
            window,
            book: Book::new(MOST_CHUNK),
            outbox,
            sizes: Sizes::default(),
            out: FuturesUnordered::new(),
            away: HashMap::new(),
            gate: Some(gate),
            first_sent: None,
            shut_out: None,
            leaving: false,
        }
    }

    async fn run(
        &mut self,
        mut items: impl Stream<Item = Result<Fed, Status>> + Send + Unpin,
        results: &Results,
    ) -> Result<(), Status> {
        let ended = self.drive(&mut items, results).await;
        self.give_up();
        // Chunks are told as they are waited for, however long it takes until what has come is taken.
        let handed_out = hand_out(&mut self.outbox, &mut self.room, results);
        tokio::join!(handed_out, all_back(&mut self.out, &mut self.bill));
        self.finish(ended, results).await
    }

    /// Whatever is left of it is given up.
    fn close(self) -> Bill {
        self.bill
    }

    /// Whatever is out is not wanted any more. A ticket's is waited for; but twins alone, whose items have their outcomes,
    /// only if somebody wants it stopped.
    fn give_up(&mut self) {
        self.away.drain().for_each(|(_, away)| away.stop.cancel());
        self.gate = None;
        let is_awaited = self.is_ticket() && (self.stop.is_cancelled() || self.book.chunks() > 0);
        if !is_awaited {
            self.out.clear();
        }
    }

    fn is_ticket(&self) -> bool {
        self.bill.ticket.is_some()
    }

    /// Until there is nothing more to do; an error breaks the map.
    async fn drive(
        &mut self,
        items: &mut (impl Stream<Item = Result<Fed, Status>> + Send + Unpin),
        results: &Results,
    ) -> Result<(), Status> {
        let (closing, stop) = (self.closing.clone(), self.stop.clone());
        let came = self.gate.as_ref().map(Gate::came).unwrap_or_default();
        while !self.is_over() {
            self.send_chunks();
            let wants_items = self.wants_items(self.room.left());
            let waits_for_room = !wants_items && self.wants_items(Some(usize::MAX));
            let insists = self.is_out_of_patience(waits_for_room);
            let looks = waits_for_room || self.is_held_back() || self.book.is_at_the_end();
            let has_room = || insists || self.window.takes(&self.book, &self.outbox, self.room.left());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Status::cancelled("the map was stopped")),
                Some((id, sent, node)) = self.sent.recv() => {
                    self.book.sent(id, self.at_us(sent), node);
                }
                Some((id, (back, account))) = self.out.next() => {
                    self.bill.add(&account, back.was_there());
                    self.take_back(id, back)?;
                }
                room = results.reserve(), if self.outbox.is_ready() => {
                    // Else the client is gone, and this is dropped.
                    if let Ok(room) = room {
                        room.send(Ok(self.outbox.message()));
                    }
                }
                more = next_if(items, has_room), if wants_items || insists => match more {
                    Some(more) => {
                        if insists {
                            self.room.welcome()?;
                        }
                        self.take_in(more?);
                    }
                    None => self.book.end(),
                },
                bytes = came.heard() => self.sizes.announce(bytes),
                () = closing.cancelled(), if !self.leaving => self.leaving = true,
                () = tokio::time::sleep(LOOK_EVERY), if looks => {
                    self.look_for_stragglers();
                }
            }
            self.account_for_room();
        }
        Ok(())
    }

    fn account_for_room(&mut self) {
        self.room.keep(self.book.bytes());
        self.room.keep_results(self.outbox.bytes());
        let Some(gate) = &self.gate else { return };
        let has_room = self.window.has_room(&self.outbox, self.room.left_to_results());
        // Whatever is full, something goes on: in order all that are here may wait for one that is not out.
        let nothing_comes = || !self.outbox.is_ready() && self.away.values().all(Away::has_run);
        let (has_room, turn) = (has_room || nothing_comes(), self.outbox.turn());
        gate.tell(Standing { has_room, turn });
    }

    fn is_over(&self) -> bool {
        let all = self.book.is_over() || (self.leaving && self.book.chunks() == 0);
        self.outbox.is_stopped() || all
    }

    /// The summary goes out, or why there is none.
    async fn finish(&mut self, ended: Result<(), Status>, results: &Results) -> Result<(), Status> {
        ended?;
        let is_over = self.outbox.is_stopped() || self.book.is_over();
        if !is_over {
            return Err(Status::unavailable(
                "the gateway is ending: what has no result has not run, or has no known outcome",
            ));
        }
        let (summary, ended) = self.outbox.finish(self.book.items());
        // A client that has gone meanwhile.
        let _gone = results.send(Ok(summary)).await;
        ended.map_or(Ok(()), Err)
    }

    fn wants_items(&self, left: Option<usize>) -> bool {
        !self.leaving && self.window.takes(&self.book, &self.outbox, left)
    }

    /// Whether it has had nothing, and no room, for as long as it has patience. Then it insists: one to which nothing is sent
    /// may stand on, but what comes ends it if there is still no room.
    fn is_out_of_patience(&mut self, waits_for_room: bool) -> bool {
        let is_shut_out = waits_for_room && self.book.is_empty();
        self.shut_out = is_shut_out.then(|| self.shut_out.unwrap_or_else(Instant::now));
        self.shut_out.is_some_and(|since| since.elapsed() >= self.patience)
    }

    fn take_in(&mut self, fed: Fed) {
        let items = match fed {
            Fed::Items(items) => items,
            Fed::Passed(count) => return self.book.pass(count),
        };
        // A single one is its whole message: there is nothing beside it that it would keep.
        let trouble = &self.errands.router.trouble;
        let name = self.errands.method.name();
        for item in items {
            let index = self.book.number();
            match trouble.refusal(name, &item) {
                None => self.book.wait(index, item),
                Some(refused) => {
                    self.errands.method.ended(refused.code());
                    self.outbox.put(index, status::to_item(&refused));
                }
            }
        }
    }

    fn at_us(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.bill.started))
    }
}

/// What comes next: nothing, if others have taken its room meanwhile.
async fn next_if(
    items: &mut (impl Stream<Item = Result<Fed, Status>> + Unpin),
    has_room: impl Fn() -> bool,
) -> Option<Result<Fed, Status>> {
    let nothing = || Some(Ok(Fed::Items(Vec::new())));
    poll_fn(|cx| if has_room() { items.poll_next_unpin(cx) } else { Poll::Ready(nothing()) }).await
}

/// As far as somebody takes it.
async fn hand_out(outbox: &mut Outbox, room: &mut RoomOfMap, results: &Results) {
    while outbox.is_ready() && results.send(Ok(outbox.message())).await.is_ok() {
        room.keep_results(outbox.bytes());
    }
}

async fn all_back(out: &mut FuturesUnordered<Errand>, bill: &mut Bill) {
    while let Some((_, (back, account))) = out.next().await {
        bill.add(&account, back.was_there());
    }
}

/// What is out.
struct Away {
    stop: CancellationToken,
    /// Of a chunk whose answer may have to wait.
    pass: Option<Arc<Pass>>,
}

impl Away {
    fn has_run(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.came_at().is_some())
    }
}
