//! What an attempt leaves behind when it has ended, however that was, as a call does: it is counted, with where its time went,
//! and there is a line of it in the log. What calls do not have comes first: the time that it was due in the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use metrics::Counter;
use tonic::Code;
use turno_proto::status;
use turno_runtime::metrics::CounterFamily;
use turno_runtime::units::micros;
use turno_store::{Attempt, Claimed};

use crate::account::Account;
use crate::course::Course;
use crate::spending::Spending;
use crate::tickets::verdict::{Death, Ended};

/// What the log says of one that has not begun.
const GIVEN_BACK: &str = "nobody serves its method now, or has room: it is due again a little later";
const STOPPED: &str = "it was cancelled";
const LEASE_OVER: &str = "the lease of this gateway is over: it may run elsewhere";

/// The bill of an attempt that is under way.
pub(super) struct Bill {
    pub(super) course: Course,
    attempt: Attempt,
    method: String,
    is_map: bool,
    waited: Duration,
    started: Instant,
}

impl Bill {
    pub(super) fn open(claimed: &Claimed) -> Self {
        Self {
            course: Course::default(),
            attempt: claimed.attempt,
            method: claimed.method.clone(),
            is_map: claimed.inputs.is_some(),
            waited: claimed.waited,
            started: Instant::now(),
        }
    }

    /// What it has come to, which took until then; nothing if it was given up without a word. Whoever runs it next finds it
    /// due since this one began: what this one has taken is in `store` then, and in no account.
    pub(super) fn settle(self, counts: &Counts, ended: Option<&Ended>, at: Instant) {
        let (whole, spent) = (at.saturating_duration_since(self.started), self.course.end(at));
        // The chunks of a map have accounts of their own, side by side: the map's own line sums them.
        let account = (!self.is_map).then(|| Account::new(whole, &spent.measured, spent.cost.as_ref()));
        let (code, error) = words(ended);
        let is_over = ended.is_some();
        counts.of(&self.method).count(code, self.waited, account.as_ref().filter(|_| is_over));
        tracing::debug!(
            method = self.method.as_str(),
            ticket = %self.attempt.ticket,
            attempt = self.attempt.number,
            code = code.map(status::code_name),
            error = (code != Some(Code::Ok)).then_some(error),
            node = spent.link.as_ref().map(|link| link.hello.name.as_str()),
            store = %format_args!("{}us", micros(self.waited)),
            account = account.map(|account| account.to_string()),
            "attempt"
        );
    }
}

/// Its code, if it was one, and why it has failed, if it has.
fn words(ended: Option<&Ended>) -> (Option<Code>, &str) {
    match ended {
        Some(Ended::Done(_)) => (Some(Code::Ok), ""),
        Some(
            Ended::Error(failure, _)
            | Ended::Lost(failure)
            | Ended::Died(Death { failure, .. })
            | Ended::Poisonous(failure)
            | Ended::TooLarge(failure)
            | Ended::Refused(failure),
        ) => (Some(Code::from_i32(failure.code)), failure.message.as_str()),
        Some(Ended::Stopped) => (Some(Code::Cancelled), STOPPED),
        Some(Ended::NotNow(_)) => (None, GIVEN_BACK),
        None => (None, LEASE_OVER),
    }
}

/// What is counted of attempts, by method: calls are counted apart. A ticket is of a method that some gateway has known, so
/// there are no more of these.
pub(super) struct Counts {
    by_method: DashMap<String, Arc<Counters>>,
    /// By how they ended.
    attempts: CounterFamily,
    microseconds: CounterFamily,
}

struct Counters {
    method: String,
    attempts: CounterFamily,
    succeeded: Counter,
    /// Microseconds from when they were due until they were claimed.
    store: Counter,
    spent: Spending,
}

impl Counts {
    pub(super) fn new() -> Self {
        let help = "Attempts of tickets that have ended, by the code that they have ended with.";
        let attempts = CounterFamily::new("turno_attempts_total", help);
        let help = "Where the time of tickets went, in microseconds: due in the store, then as with calls.";
        let microseconds = CounterFamily::new("turno_attempt_microseconds_total", help);
        Self { by_method: DashMap::new(), attempts, microseconds }
    }

    fn of(&self, method: &str) -> Arc<Counters> {
        if let Some(known) = self.by_method.get(method) {
            return known.value().clone();
        }
        let new = || Arc::new(Counters::new(method, self.attempts, self.microseconds));
        self.by_method.entry(method.to_owned()).or_insert_with(new).value().clone()
    }
}

impl Counters {
    fn new(method: &str, attempts: CounterFamily, microseconds: CounterFamily) -> Self {
        let method = method.to_owned();
        Self {
            attempts,
            succeeded: attempts.with([("method", method.clone().into()), ("code", "OK".into())]),
            store: microseconds.with([("method", method.clone().into()), ("part", "store".into())]),
            spent: Spending::new(microseconds, &method),
            method,
        }
    }

    /// What has not begun is no attempt, nor what was given up; the time until it was claimed was the ticket's all the same.
    fn count(&self, code: Option<Code>, waited: Duration, account: Option<&Account>) {
        match code {
            None => {}
            Some(Code::Ok) => self.succeeded.increment(1),
            Some(code) => {
                let (method, code) = (self.method.clone().into(), status::code_name(code).into());
                self.attempts.with([("method", method), ("code", code)]).increment(1);
            }
        }
        self.store.increment(micros(waited));
        if let Some(account) = account {
            self.spent.add(account);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use metrics::with_local_recorder;
    use turno_store::{Attempt, Claimed, Failure, GatewayId, Inputs, TicketId};

    use super::{Bill, Counts};
    use crate::bill::counted::Counted;
    use crate::tickets::verdict::Ended;

    fn claimed(inputs: Option<Inputs>) -> Claimed {
        let ticket = TicketId::new();
        Claimed {
            attempt: Attempt { ticket, gateway: GatewayId(ticket.0), number: 1 },
            method: "kitchen.v1.Kitchen/Bake".to_owned(),
            request: Bytes::new(),
            inputs,
            tenant: String::new(),
            metadata: Bytes::new(),
            timeout: None,
            retries: 0,
            failures: 0,
            cancel_requested: false,
            waited: Duration::from_secs(3),
            lost_by: None,
        }
    }

    /// Of an attempt that began two seconds ago, and has waited for a place for all but the first half of one.
    fn waited(claimed: &Claimed) -> Bill {
        let mut bill = Bill::open(claimed);
        bill.started = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        bill.course.seek(bill.started + Duration::from_millis(500));
        bill
    }

    #[test]
    fn what_an_attempt_has_waited_for_is_counted_however_it_ends() {
        let (counted, counts) = (Counted::default(), Counts::new());
        let failure = |code| Failure { code, ..Failure::default() };
        with_local_recorder(&counted, || {
            let ends = [
                Some(Ended::Done(Bytes::new())),
                Some(Ended::Error(failure(3), None)),
                Some(Ended::Lost(failure(14))),
                Some(Ended::Stopped),
            ];
            ends.iter()
                .for_each(|ended| waited(&claimed(None)).settle(&counts, ended.as_ref(), Instant::now()));
        });
        let codes = ["OK", "INVALID_ARGUMENT", "UNAVAILABLE", "CANCELLED"].map(|code| counted.get(code));
        assert_eq!(codes, [1, 1, 1, 1]);
        assert_eq!((counted.get("store"), counted.get("edge")), (12_000_000, 2_000_000));
        assert!(counted.get("queue") >= 6_000_000, "{}", counted.get("queue"));
    }

    #[test]
    fn what_is_weighed_after_its_end_takes_none_of_its_time() {
        let (counted, counts) = (Counted::default(), Counts::new());
        with_local_recorder(&counted, || {
            let bill = waited(&claimed(None));
            let ended_at = bill.started + Duration::from_secs(1);
            bill.settle(&counts, Some(&Ended::Lost(Failure::default())), ended_at);
        });
        assert_eq!((counted.get("edge"), counted.get("queue")), (500_000, 500_000));
    }

    #[test]
    fn what_is_given_back_is_no_attempt_but_has_its_time() {
        let (counted, counts) = (Counted::default(), Counts::new());
        with_local_recorder(&counted, || {
            waited(&claimed(None)).settle(&counts, Some(&Ended::NotNow(None)), Instant::now());
        });
        assert_eq!((counted.get("store"), counted.get("edge"), counted.get("OK")), (3_000_000, 500_000, 0));
        let codes = ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"].map(|code| counted.get(code));
        assert_eq!(codes, [0, 0, 0]);
    }

    #[test]
    fn what_is_given_up_is_counted_by_who_runs_it_next() {
        let (counted, counts) = (Counted::default(), Counts::new());
        with_local_recorder(&counted, || waited(&claimed(None)).settle(&counts, None, Instant::now()));
        assert_eq!((counted.get("store"), counted.get("edge"), counted.get("queue")), (3_000_000, 0, 0));
        assert_eq!(counted.get("CANCELLED"), 0, "nobody has");
    }

    #[test]
    fn the_time_of_a_map_is_that_of_its_chunks() {
        let (counted, counts) = (Counted::default(), Counts::new());
        with_local_recorder(&counted, || {
            let map = claimed(Some(Inputs { parts: 1, items: 9 }));
            waited(&map).settle(&counts, Some(&Ended::Done(Bytes::new())), Instant::now());
        });
        assert_eq!((counted.get("OK"), counted.get("store")), (1, 3_000_000));
        assert_eq!((counted.get("edge"), counted.get("queue")), (0, 0));
    }
}
