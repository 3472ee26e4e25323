//! A chunk of a map: many requests that came as one invocation. A job's run one after another in one slot; those of an
//! `async fn` are tasks, as calls are. Each is decoded, run and encoded by the method's own handler, and what becomes of
//! one, be it a panic, is its own outcome.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tonic::{Code, Status};
use turno_proto::habits::CHUNK_GIVES_WAY;
use turno_proto::mesh::v1::{Cost, ItemOutcome, ItemOutcomes, Items, Outcome};
use turno_proto::status;
use turno_runtime::task;
use turno_runtime::units::micros;

use super::{Answer, Arrival, as_error, await_it, panicked, refuse};
use crate::context::Context;
use crate::node::answers::Bell;
use crate::pool::{Pool, Wants};
use crate::service::{Awaited, Job};
use crate::tally;
use crate::watchdog::Record;

/// How much of a chunk runs: what is left when either is used up is handed back. The first item always runs.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) time: Duration,
    /// Of all answers together.
    pub(crate) bytes: usize,
    /// By calls that wait at the gateway which the chunk is from.
    pub(crate) wants: Arc<Wants>,
}

/// Nobody is told later than this that the caller has gone or its deadline has passed; asking for each of many tiny
/// items would cost a tenth of them.
const CHECK_EVERY: Duration = Duration::from_micros(50);

/// Runs a chunk on this thread, which is one of the pool's.
pub(super) fn run_jobs(record: &Record, arrival: Arrival, slice: Slice, handler: &Job, pool: &Pool) -> Bell {
    if let Err(status) = arrival.ctx.checkpoint() {
        return refuse(arrival, status);
    }
    let items = match Items::decode(arrival.body.clone()) {
        Ok(items) => items.items,
        Err(error) => return refuse(arrival, no_chunk(&error)),
    };
    let Arrival { call, ctx, at, answer, .. } = arrival;
    let (started, cpu) = (Instant::now(), tally::cpu_of_this_thread());
    let mut ran = Ran::new(slice, started);
    task::run_busy(record.name, || {
        for item in items {
            if ran.is_over(&ctx, pool) {
                break;
            }
            ran.add(record, run(record, &ctx, item, handler));
        }
    });
    let cost = Cost {
        queue_us: micros(started - at),
        run_us: micros(started.elapsed()),
        cpu_us: micros(tally::cpu_of_this_thread().saturating_sub(cpu)),
        items: ran.items,
    };
    record.tally.cost(&cost);
    record.tally.ended(Code::Ok, ran.succeeded);
    tracing::debug!(method = record.name, items = ran.items, run_us = cost.run_us, "served a chunk");
    answer.give(Outcome { call, body: ran.outcomes.into(), cost: Some(cost), ..Outcome::default() })
}

fn run(record: &Record, ctx: &Context, item: Bytes, handler: &Job) -> crate::Result<Bytes> {
    let ran = catch_unwind(AssertUnwindSafe(|| handler(ctx.clone(), item)));
    ran.unwrap_or_else(|panic| Err(panicked(record.name, &*panic)))
}

/// What has run of a chunk.
struct Ran {
    slice: Slice,
    started: Instant,
    checked: Instant,
    items: u32,
    succeeded: u64,
    /// Encoded `ItemOutcomes`.
    outcomes: Vec<u8>,
}

impl Ran {
    fn new(slice: Slice, started: Instant) -> Self {
        Self { slice, started, checked: started, items: 0, succeeded: 0, outcomes: Vec::new() }
    }

    fn is_over(&mut self, ctx: &Context, pool: &Pool) -> bool {
        if self.items == 0 {
            return false;
        }
        let now = Instant::now();
        if now - self.checked >= CHECK_EVERY {
            self.checked = now;
            if ctx.checkpoint().is_err() {
                return true;
            }
        }
        let ran = now - self.started;
        ran >= self.slice.time
            || self.outcomes.len() >= self.slice.bytes
            || (ran >= CHUNK_GIVES_WAY && (self.slice.wants.give_way() || pool.wants.give_way()))
    }

    fn add(&mut self, record: &Record, result: crate::Result<Bytes>) {
        self.items += 1;
        let outcome = match result {
            Ok(body) => {
                self.succeeded += 1;
                ItemOutcome { body, ..ItemOutcome::default() }
            }
            Err(error) => {
                record.tally.ended(error.code(), 1);
                status::to_item(&as_error(error))
            }
        };
        prost::encoding::message::encode(1, &outcome, &mut self.outcomes);
    }
}

/// Starts a chunk's items as tasks; the last one to end answers for all.
pub(super) fn await_all(record: &Arc<Record>, arrival: Arrival, handler: &Awaited) {
    let items = match Items::decode(arrival.body.clone()) {
        Ok(items) => items.items,
        Err(error) => return refuse(arrival, no_chunk(&error)).ring(),
    };
    let Arrival { call, ctx, at, answer, .. } = arrival;
    let (count, taken) = (items.len(), vec![ItemOutcome::default(); items.len()]);
    let gathered = Arc::new(Gathered {
        call,
        taken: Mutex::new(Taken {
            outcomes: taken,
            left: count,
            cost: Cost::default(),
            answer: Some(answer),
        }),
    });
    for (place, item) in items.into_iter().enumerate() {
        let gathered = gathered.clone();
        let answer = Answer::new(call, move |outcome| gathered.take(place, outcome));
        let future = handler(ctx.clone(), item);
        let arrival =
            Arrival { call, ctx: ctx.clone(), body: Bytes::new(), at, ends: None, slice: None, answer };
        await_it(record.clone(), arrival, future, std::convert::identity);
    }
}

/// The outcomes of a chunk whose items run at once.
struct Gathered {
    call: u64,
    taken: Mutex<Taken>,
}

struct Taken {
    outcomes: Vec<ItemOutcome>,
    left: usize,
    cost: Cost,
    answer: Option<Answer>,
}

impl Gathered {
    fn take(&self, place: usize, outcome: Outcome) -> Bell {
        let Outcome { code, message, details, body, cost, .. } = outcome;
        let mut taken = self.taken.lock();
        taken.outcomes[place] = ItemOutcome { code, message, details, body };
        taken.cost = sum(taken.cost, cost.unwrap_or_default());
        taken.left -= 1;
        if taken.left > 0 {
            return Bell::default();
        }
        let (outcomes, cost, answer) = (std::mem::take(&mut taken.outcomes), taken.cost, taken.answer.take());
        drop(taken);
        let body = ItemOutcomes { outcomes }.encode_to_vec().into();
        let outcome = Outcome { call: self.call, body, cost: Some(cost), ..Outcome::default() };
        answer.map(|answer| answer.give(outcome)).unwrap_or_default()
    }
}

/// Items that run at once wait at once too.
fn sum(all: Cost, one: Cost) -> Cost {
    Cost {
        queue_us: all.queue_us.max(one.queue_us),
        run_us: all.run_us.saturating_add(one.run_us),
        cpu_us: all.cpu_us.saturating_add(one.cpu_us),
        items: all.items + 1,
    }
}

fn no_chunk(error: &prost::DecodeError) -> Status {
    Status::internal(format!("the gateway sent a chunk that is none: {error}"))
}
