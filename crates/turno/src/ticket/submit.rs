//! Hands a request in. The same submit may be sent twice, when a connection breaks before its answer is here, and is one
//! ticket: it always has a key.

use std::fmt;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use tonic::{Request, Status};
use turno_proto::v1::SubmitRequest;
use uuid::Uuid;

use crate::client::call::within;
use crate::rpc::Unary;
use crate::ticket::desk::{Desk, Doubt, Way};
use crate::ticket::{Answer, Ticket, rpcs};

/// A call that is about to be submitted: nothing happens before it is awaited. The answer is a [`Ticket`], once it is on
/// disk.
///
/// A deadline of the request ([`crate::Request::set_timeout`]) is that of the submit itself. When no gateway is there, or
/// its connection breaks, the submit is sent again for as long as the client's patience lasts (inside a method: 5 s), and
/// still makes one ticket. Gateways of one client have to share their store.
///
/// ```no_run
/// # use std::time::{Duration, SystemTime};
/// # use turno::cpu::v1::{InfoRequest, images};
/// # async fn example(client: turno::Client, request: InfoRequest) -> turno::Result<()> {
/// let tonight = SystemTime::now() + Duration::from_secs(6 * 3600);
/// let ticket = client.submit::<images::Info>(request).not_before(tonight).timeout(Duration::from_secs(30)).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// Of the await: `INVALID_ARGUMENT` for what the gateway does not take (labels, sizes, a method with streams),
/// `ALREADY_EXISTS` when the key is that of another method or request, `RESOURCE_EXHAUSTED` when its store is full,
/// `UNIMPLEMENTED` from a gateway without tickets, `UNAVAILABLE` when none is there, with the word of the first of them that
/// may have stored it, `DEADLINE_EXCEEDED` when the deadline passes: it may be submitted then, and only with a
/// [key](Self::key) of your own you can find out.
#[must_use = "nothing is submitted before it is awaited"]
pub struct Submit<R: Unary> {
    way: Way,
    request: Request<R::Request>,
    key: Option<String>,
    key_kept_for: Option<Duration>,
    order: SubmitRequest,
}

/// How long a submit takes that is large is the network's business. Its deadline is its caller's.
const LONGEST_ANSWER: Duration = Duration::MAX;
/// How long a gateway knows a key that was made here: longer than anybody sends a submit again.
const OWN_KEY_KEPT_FOR: Duration = Duration::from_secs(3600);

impl<R: Unary> Submit<R> {
    pub(super) fn new(way: Way, request: Request<R::Request>) -> Self {
        let order = SubmitRequest { method: R::NAME.to_owned(), ..SubmitRequest::default() };
        Self { way, request, key: None, key_kept_for: None, order }
    }

    /// The same key of the same tenant is the same ticket, if method and request are the same too: a submit that is repeated
    /// changes nothing. At most 256 bytes, at least one. Remembered for ever, unless
    /// [`key_kept_for`](Self::key_kept_for) says otherwise. Without it, every submit is a new ticket.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How long the key is remembered, from the submit on. Only with a [key](Self::key).
    pub fn key_kept_for(mut self, time: Duration) -> Self {
        self.key_kept_for = Some(time);
        self
    }

    /// No attempt begins before.
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.order.not_before = Some(time.into());
        self
    }

    /// A word to find it by. At most 32: names of `[a-z0-9_.-]` up to 63 bytes, values up to 256 bytes. The last value of a
    /// name counts.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.order.labels.insert(name.into(), value.into());
        self
    }

    /// Attempts after the first, 0 to 1000; unless said, what the method's `.proto` says, or 2.
    pub fn retries(mut self, retries: u32) -> Self {
        self.order.retries = Some(retries);
        self
    }

    /// The longest that one attempt may take, from when a node has it; the method's own limit holds anyway.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.order.timeout = Some(span(time));
        self
    }

    /// How long the ticket is kept with its result once it has ended: 7 days unless said, at most 366 days.
    pub fn keep_result_for(mut self, time: Duration) -> Self {
        self.order.keep_result_for = Some(span(time));
        self
    }
}

impl<R: Unary> Submit<R> {
    async fn hand_in(self) -> crate::Result<Ticket<R>> {
        let (key, kept_for) = key(self.key, self.key_kept_for)?;
        let (metadata, _, message) = self.request.into_parts();
        let (desk, deadline) = Desk::to_submit(self.way, metadata)?;
        let order = SubmitRequest {
            request: message.encode_to_vec().into(),
            idempotency_key: key,
            idempotency_key_kept_for: kept_for.map(span),
            ..self.order
        };
        // A submit that there is no room for is handed back: its caller knows whether to wait.
        let mut doubt = Doubt::default();
        let hear = |status| doubt.hear(status);
        let handed_in = desk.ask::<rpcs::HandIn>(order, desk.patience(), LONGEST_ANSWER, hear);
        let handed_in = within(deadline, handed_in).await;
        let operation = handed_in.map_err(|last| doubt.told(last))?;
        Ok(Ticket::new(desk, operation.name))
    }
}

/// The key that goes with a submit, and how long it is to be remembered.
fn key(own: Option<String>, kept_for: Option<Duration>) -> crate::Result<(String, Option<Duration>)> {
    Ok(match own_key(own, kept_for)? {
        Some(key) => (key, kept_for),
        None => (Uuid::now_v7().to_string(), Some(OWN_KEY_KEPT_FOR)),
    })
}

/// A key of the caller's, if there is one.
pub(super) fn own_key(key: Option<String>, kept_for: Option<Duration>) -> crate::Result<Option<String>> {
    match key {
        Some(key) if key.is_empty() => Err(Status::invalid_argument("an empty key is no key")),
        None if kept_for.is_some() => {
            Err(Status::invalid_argument("key_kept_for is said of a key, and there is none"))
        }
        key => Ok(key),
    }
}

/// As the wire has it; longer than it can say is as long as it can say.
pub(super) fn span(time: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    time.try_into().unwrap_or(longest)
}

impl<R: Unary> IntoFuture for Submit<R> {
    type Output = crate::Result<Ticket<R>>;
    type IntoFuture = Answer<Ticket<R>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.hand_in())
    }
}

impl<R: Unary> fmt::Debug for Submit<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit").field("method", &R::NAME).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, OWN_KEY_KEPT_FOR, key, span};
    use tonic::Code;

    #[test]
    fn every_submit_has_a_key_and_a_made_one_is_not_kept_for_ever() {
        let (first, kept_for) = key(None, None).unwrap();
        assert_ne!(first, key(None, None).unwrap().0);
        assert_eq!(kept_for, Some(OWN_KEY_KEPT_FOR));
        assert_eq!(key(Some("k".into()), None).unwrap(), ("k".into(), None));
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(key(Some("k".into()), day).unwrap(), ("k".into(), day));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in [key(Some(String::new()), None), key(None, Some(Duration::from_secs(1)))] {
            assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn a_time_too_long_for_the_wire_is_its_longest() {
        assert_eq!(span(Duration::MAX).seconds, i64::MAX);
        assert_eq!(
            span(Duration::from_millis(1500)),
            prost_types::Duration { seconds: 1, nanos: 500_000_000 }
        );
    }
}
