//! What a call leaves behind when it has ended, however that was: it is counted, with where its time went, there is a line of
//! it in the log, and who has asked finds its account in the trailers. `edge` and `clients` end calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};
use turno_proto::mesh::v1::{Entry, Outcome};
use turno_proto::{headers, status};

use crate::account::Account;
use crate::course::{Course, Spent};
use crate::methods::Method;

/// What the log says of a call that nobody waits for any more.
pub(crate) const GONE: &str = "the client has gone away";

/// The bill of a call that is under way. Dropped before it is settled, it is that of a client that has gone away.
pub(crate) struct Bill {
    pub(crate) method: Arc<Method>,
    pub(crate) started: Instant,
    pub(crate) course: Course,
    peer: SocketAddr,
    in_trailers: bool,
    is_open: bool,
}

impl Bill {
    pub(crate) fn open(method: Arc<Method>, peer: SocketAddr, in_trailers: bool) -> Self {
        let (started, course) = (Instant::now(), Course::default());
        Self { method, started, course, peer, in_trailers, is_open: true }
    }

    /// The call has ended with what a node has answered, be it an error.
    pub(crate) fn answered(mut self, mut outcome: Outcome) -> Outcome {
        let account = self.settle(status::code_of(outcome.code), &outcome.message);
        outcome.trailers.extend(account.map(trailer));
        outcome
    }

    /// The call has ended with an error.
    pub(crate) fn failed(mut self, mut error: Status) -> Status {
        let account = self.settle(error.code(), error.message());
        if let Some(Ok(account)) = account.map(AsciiMetadataValue::try_from) {
            error.metadata_mut().insert(headers::EXPLAIN, account);
        }
        error
    }

    fn settle(&mut self, code: Code, error: &str) -> Option<String> {
        self.is_open = false;
        let now = Instant::now();
        let (whole, spent) = (now.saturating_duration_since(self.started), self.course.end(now));
        Ended { method: &self.method, peer: self.peer, code, error, whole, spent }.record(self.in_trailers)
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        if self.is_open {
            self.in_trailers = false;
            self.settle(Code::Cancelled, GONE);
        }
    }
}

/// How a call has ended.
pub(crate) struct Ended<'a> {
    pub(crate) method: &'a Method,
    pub(crate) peer: SocketAddr,
    pub(crate) code: Code,
    /// Why it has failed, if it has.
    pub(crate) error: &'a str,
    /// How long it took.
    pub(crate) whole: Duration,
    pub(crate) spent: Spent,
}

impl Ended<'_> {
    /// Counts it, and says so in the log. Answers its account in words, if it is `wanted`.
    pub(crate) fn record(self, wanted: bool) -> Option<String> {
        let Self { method, peer, code, error, whole, spent } = self;
        let account = Account::new(whole, &spent.measured, spent.cost.as_ref());
        method.ended(code);
        method.spent.add(&account);
        let node = spent.link.as_ref().map(|link| &link.hello);
        tracing::debug!(
            method = method.name(),
            %peer,
            code = status::code_name(code),
            error = (code != Code::Ok).then_some(error),
            node = node.map(|node| node.name.as_str()),
            account = account.to_string(),
            "call"
        );
        wanted.then(|| match node {
            Some(node) => format!("{account} node={}/{}", node.name, node.node_id),
            None => account.to_string(),
        })
    }
}

/// The trailer that has an account.
pub(crate) fn trailer(account: String) -> Entry {
    Entry { key: headers::EXPLAIN.to_owned(), value: account.into() }
}

/// Whether a line of metadata asks for the account: `turno-explain: 1`.
pub(crate) fn is_asked_for(key: &str, value: &[u8]) -> bool {
    key.eq_ignore_ascii_case(headers::EXPLAIN) && is_yes(value)
}

/// Whether the value of that line does.
pub(crate) fn is_yes(value: &[u8]) -> bool {
    matches!(value, b"1" | b"true")
}

#[cfg(test)]
pub(crate) mod counted;

#[cfg(test)]
mod tests {
    use super::counted::Counted;
    use super::{Bill, is_asked_for};
    use crate::link::Link;
    use crate::methods::{Method, Methods, Seat};
    use crate::policy::Policy;
    use crate::scheduler::WorkerId;
    use metrics::with_local_recorder;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::sync::mpsc;
    use tonic::Status;
    use turno_proto::mesh::v1::{Hello, Kind, Outcome};

    fn peer() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    fn link() -> Arc<Link> {
        let hello = Hello { name: "oven".to_owned(), node_id: "7".to_owned(), ..Hello::default() };
        Arc::new(Link::new(WorkerId(1), hello, peer(), mpsc::channel(1).0, 1024))
    }

    fn method() -> Arc<Method> {
        let (kind, policy) = (Kind::Job, Policy::default());
        let seat = Seat { link: link(), index: 0, kind, takes_stream: false, repeatable: false, policy };
        Methods::default().join("/kitchen.v1.Kitchen/Bake", &seat)
    }

    /// Of a call that has come two seconds ago, and has waited for all but the first half of one.
    fn waited(method: &Arc<Method>, in_trailers: bool) -> Bill {
        let then = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        let mut bill = Bill::open(method.clone(), peer(), in_trailers);
        bill.started = then;
        bill.course.seek(then + Duration::from_millis(500));
        bill
    }

    fn account(error: &Status) -> Option<&str> {
        error.metadata().get("turno-explain").map(|account| account.to_str().unwrap())
    }

    #[test]
    fn what_has_failed_at_the_gateway_has_its_time_too() {
        let counted = Counted::default();
        with_local_recorder(&counted, || {
            let method = method();
            let late = waited(&method, true).failed(Status::deadline_exceeded("late"));
            let text = account(&late).unwrap();
            assert!(text.contains(" edge=500000us queue=") && text.ends_with(" cpu=0us"), "{text}");
            let unheard = waited(&method, false).failed(Status::deadline_exceeded("late"));
            assert_eq!(account(&unheard), None);
        });
        assert_eq!((counted.get("DEADLINE_EXCEEDED"), counted.get("edge")), (2, 1_000_000));
        assert!(counted.get("queue") >= 3_000_000, "{}", counted.get("queue"));
    }

    #[test]
    fn who_goes_away_is_counted_once_and_an_answer_is_not_such() {
        let counted = Counted::default();
        with_local_recorder(&counted, || {
            let method = method();
            drop(waited(&method, true));
            let answered = waited(&method, true);
            answered.course.send(&link(), Instant::now());
            answered.course.back(Duration::ZERO, None);
            let answered = answered.answered(Outcome::default());
            let text = String::from_utf8(answered.trailers[0].value.to_vec()).unwrap();
            assert!(text.ends_with(" node=oven/7"), "{text}");
        });
        assert_eq!((counted.get("CANCELLED"), counted.get("OK")), (1, 1));
        assert_eq!(counted.get("edge") / 1_000_000, 1);
    }

    #[test]
    fn an_account_is_asked_for_in_any_spelling_of_the_key() {
        assert!(is_asked_for("turno-explain", b"1") && is_asked_for("Turno-Explain", b"true"));
        assert!(!is_asked_for("turno-explain", b"0") && !is_asked_for("turno-lane", b"1"));
    }
}
