//! From an invocation to its outcome: finds the method, spawns it or queues it for the pool, enforces deadline and
//! cancellation, and turns a panic into `INTERNAL`. The link brings invocations and takes outcomes.

mod chunk;

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use turno_proto::mesh::v1::{Cost, Outcome};
use turno_proto::{entries, status};
use turno_runtime::task;
use turno_runtime::units::micros;

use crate::context::Context;
use crate::lanes::Urgency;
use crate::node::answers::Bell;
use crate::pool::{Job, Pool};
use crate::service::{self, Entry, Handler};
use crate::sink::RawSink;
use crate::source::Source;
use crate::tally;
use crate::watchdog::{Board, Record, Watched};

pub(crate) use chunk::Slice;

/// A call that has arrived whole: its body is here.
pub(crate) struct Arrival {
    pub(crate) call: u64,
    pub(crate) ctx: Context,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
    /// Present for methods that take or answer a stream.
    pub(crate) ends: Option<Ends>,
    /// Present for a chunk of a map.
    pub(crate) slice: Option<Slice>,
    pub(crate) answer: Answer,
}

/// The ends of a call's own stream.
pub(crate) struct Ends {
    /// Where its messages come from, if the method takes a stream.
    pub(crate) source: Option<Source>,
    /// Where its messages go.
    pub(crate) sink: RawSink,
}

/// Takes the outcome of a call, once. Dropped without one, as when a destructor of the user's panics, it says so: a
/// call that is never answered would hold its caller and its slot.
pub(crate) struct Answer {
    call: u64,
    take: Option<Box<dyn FnOnce(Outcome) -> Bell + Send>>,
}

impl Answer {
    pub(crate) fn new(call: u64, take: impl FnOnce(Outcome) -> Bell + Send + 'static) -> Self {
        Self { call, take: Some(Box::new(take)) }
    }

    /// It goes out when the bell is rung.
    fn give(mut self, outcome: Outcome) -> Bell {
        self.take.take().map(|take| take(outcome)).unwrap_or_default()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(take) = self.take.take() {
            let status = Status::internal("the method ended without an answer");
            take(status::to_outcome(self.call, status)).ring();
        }
    }
}

/// The methods of a node, in the order of its Hello.
pub(crate) struct Dispatch {
    pub(crate) methods: Vec<Entry>,
    /// Their records, in the same order.
    pub(crate) board: Arc<Board>,
    pub(crate) pool: Option<Arc<Pool>>,
}

impl Dispatch {
    /// Starts what has arrived, and comes back at once.
    pub(crate) fn start(&self, method: usize, mut arrival: Arrival) {
        let (Some(entry), Some(record)) = (self.methods.get(method), self.board.records.get(method)) else {
            let status = Status::internal("the gateway named a method that this node does not have");
            return refuse(arrival, status).ring();
        };
        let record = record.clone();
        if let Some(slice) = arrival.slice.take() {
            return self.start_chunk(&entry.handler, record, arrival, slice);
        }
        match &entry.handler {
            Handler::Awaited(handler) => {
                let future = handler(arrival.ctx.clone(), arrival.body.clone());
                await_it(record, arrival, future, std::convert::identity);
            }
            Handler::Streamed(handler) => match arrival.ends.take() {
                Some(Ends { sink, .. }) => {
                    let future = handler(arrival.ctx.clone(), arrival.body.clone(), sink);
                    await_it(record, arrival, future, |()| Bytes::new());
                }
                None => refuse(arrival, no_stream(entry.name)).ring(),
            },
            Handler::Duplex(handler) => match arrival.ends.take() {
                Some(Ends { source: Some(source), sink }) => {
                    let future = handler(arrival.ctx.clone(), source, sink);
                    await_it(record, arrival, future, |()| Bytes::new());
                }
                _ => refuse(arrival, no_stream(entry.name)).ring(),
            },
            Handler::Job(handler) => match &self.pool {
                Some(pool) => {
                    let (handler, urgency) = (handler.clone(), arrival.ctx.urgency());
                    let expected = record.tally.typically();
                    let run = Box::new(move || run_job(&record, arrival, &*handler));
                    pool.submit(Job { run, expected }, urgency);
                }
                None => refuse(arrival, Status::internal("this node has no pool")).ring(),
            },
        }
    }

    fn start_chunk(&self, handler: &Handler, record: Arc<Record>, arrival: Arrival, slice: Slice) {
        match (handler, &self.pool) {
            (Handler::Job(handler), Some(pool)) => {
                let (handler, within) = (handler.clone(), pool.clone());
                let expected = slice.time;
                let run = Box::new(move || chunk::run_jobs(&record, arrival, slice, &*handler, &within));
                pool.submit(Job { run, expected }, Urgency::Batch);
            }
            (Handler::Awaited(handler), _) => chunk::await_all(&record, arrival, &**handler),
            _ => {
                let status = Status::internal("the gateway sent a chunk for a method that takes none");
                refuse(arrival, status).ring();
            }
        }
    }
}

fn no_stream(name: &str) -> Status {
    Status::internal(format!("{name} was called without its stream"))
}

fn refuse(arrival: Arrival, status: Status) -> Bell {
    arrival.answer.give(status::not_started(arrival.call, status))
}

fn await_it<T: Send + 'static>(
    record: Arc<Record>,
    arrival: Arrival,
    future: service::Answer<T>,
    body: fn(T) -> Bytes,
) {
    let Arrival { call, ctx, at, answer, .. } = arrival;
    task::spawn(record.name, async move {
        if let Some(outcome) = too_late(&ctx, call) {
            return answer.give(outcome).ring();
        }
        let future = AssertUnwindSafe(future).catch_unwind();
        let mut watched = Watched::new(record.clone(), ctx.urgency(), at, future);
        let result = bounded(&ctx, &mut watched).await;
        let result =
            result.and_then(|caught| caught.unwrap_or_else(|panic| Err(panicked(record.name, &*panic))));
        let cost = watched.cost();
        // Whoever hears of the end finds nothing of it left; unless it was moved aside, where it may block still.
        drop(watched);
        answer.give(outcome(call, &record, result.map(body), ctx.take_trailers(), cost)).ring();
    });
}

/// What nobody wants any more does not start.
fn too_late(ctx: &Context, call: u64) -> Option<Outcome> {
    ctx.checkpoint().err().map(|status| status::not_started(call, status))
}

/// Drops `future` when the caller goes away or its deadline passes.
async fn bounded<T>(ctx: &Context, future: impl Future<Output = T>) -> crate::Result<T> {
    let deadline = async {
        match ctx.deadline() {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = ctx.cancelled() => Err(Status::cancelled("the caller has gone away")),
        () = deadline => Err(Status::deadline_exceeded(format!("the deadline passed while {} ran", ctx.method()))),
    }
}

fn run_job(
    record: &Record,
    arrival: Arrival,
    handler: &(dyn Fn(Context, Bytes) -> crate::Result<Bytes> + Send + Sync),
) -> Bell {
    let Arrival { call, ctx, body, at, answer, .. } = arrival;
    if let Some(outcome) = too_late(&ctx, call) {
        return answer.give(outcome);
    }
    let (started, cpu) = (Instant::now(), tally::cpu_of_this_thread());
    let run = || catch_unwind(AssertUnwindSafe(|| handler(ctx.clone(), body)));
    let result = task::run_busy(record.name, run).unwrap_or_else(|panic| Err(panicked(record.name, &*panic)));
    let cost = Cost {
        queue_us: micros(started - at),
        run_us: micros(started.elapsed()),
        cpu_us: micros(tally::cpu_of_this_thread().saturating_sub(cpu)),
        items: 0,
    };
    record.tally.learn(cost.run_us);
    answer.give(outcome(call, record, result, ctx.take_trailers(), cost))
}

fn outcome(
    call: u64,
    record: &Record,
    result: crate::Result<Bytes>,
    trailers: MetadataMap,
    cost: Cost,
) -> Outcome {
    let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
    tracing::debug!(
        method = record.name,
        code = status::code_name(code),
        run_us = cost.run_us,
        queue_us = cost.queue_us,
        cpu_us = cost.cpu_us,
        "served"
    );
    record.tally.count(code, &cost);
    let mut outcome = match result {
        Ok(body) => Outcome { call, body, ..Outcome::default() },
        Err(status) => status::to_outcome(call, as_error(status)),
    };
    if !trailers.is_empty() {
        outcome.trailers.extend(entries::from_metadata(trailers));
    }
    outcome.cost = Some(cost);
    outcome
}

/// An `Err` whose code is OK would reach the client as a success without a message.
fn as_error(status: Status) -> Status {
    if status.code() == Code::Ok { Status::internal("the method failed with the code OK") } else { status }
}

/// What a panic says is for the log; the caller hears that there was one.
fn panicked(name: &str, panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(method = name, panic = text, "the method panicked");
    Status::internal(format!("{name} panicked; its node's log says more"))
}
