//! Hands many requests in. They are a stream, which cannot be sent twice: when a connection breaks, the caller is told
//! whether it may do so.

use std::fmt;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt, future, stream};
use tonic::{IntoStreamingRequest, Request, Response, Status};
use turno_proto::google::longrunning::Operation;
use turno_proto::v1::{MapHeader, MapOrder, MapRequest, SubmitMapHeader, SubmitMapRequest};

use super::source::{Lent, Progress, Source};
use crate::client::call::within;
use crate::client::trouble::Trouble;
use crate::map::{BoxStream, OnFailure, Requests};
use crate::rpc::Unary;
use crate::ticket::desk::{Desk, Way, is_gone};
use crate::ticket::submit::{own_key, span};
use crate::ticket::{Answer, MapTicket, rpcs};
use crate::unsent::{never_sent, nothing_left};

/// A map that is about to be submitted: nothing happens before it is awaited. The answer is a [`MapTicket`], once all of
/// its requests are on disk. No longer than ten minutes may pass between two of them; how many there are, and how large
/// they are together, is limited by the gateway's disk alone.
///
/// ```no_run
/// # use std::time::Duration;
/// # use futures_util::stream;
/// # use turno::cpu::v1::{InfoRequest, images};
/// # async fn example(client: turno::Client, pictures: Vec<InfoRequest>) -> turno::Result<()> {
/// let ticket = loop {
///     let requests = stream::iter(pictures.clone());
///     match client.submit_map::<images::Info>(requests).ordered().label("shop", "rosa").await {
///         // Nothing is left of it: once more, from the beginning.
///         Err(error) if turno::never_sent(&error) => tokio::time::sleep(Duration::from_secs(1)).await,
///         submitted => break submitted?,
///     }
/// };
/// # Ok(()) }
/// ```
///
/// # When a connection breaks
/// Until the first request was taken from the stream, another gateway is asked, or the same one when it is back, for as
/// long as the client's patience lasts (inside a method: 5 s). Behind that the stream cannot be sent again from here, and
/// the error is `UNAVAILABLE`:
///
/// - before the last request was sent, nothing is left at the gateway, [`never_sent`](crate::never_sent) says so of the error, and the map
///   may be submitted again from its beginning. So it is when no gateway was there;
/// - after it, unless the gateway says that it has stored nothing, which is as before it, only the answer may have been lost:
///   [`never_sent`](crate::never_sent) is false, and the map may be a ticket. With a
///   [key](Self::key) of your own submit it again, from its beginning: it is one ticket. Without one,
///   `turno tickets list` tells.
///
/// Who drops the future before it is done gives the submit up in the same way, and a deadline of the request
/// ([`crate::Request::set_timeout`]), which is that of the submit itself, does so with `DEADLINE_EXCEEDED`.
///
/// # Errors
/// Of the await: `INVALID_ARGUMENT` for what the gateway does not take (options, labels, sizes, a method with streams),
/// `ALREADY_EXISTS` when the key is that of another map, `RESOURCE_EXHAUSTED` when its store is full, `UNIMPLEMENTED` for a
/// method that nobody serves, or from a gateway without tickets: nothing is left then. `UNAVAILABLE` and
/// `DEADLINE_EXCEEDED`: see above.
#[must_use = "nothing is submitted before it is awaited"]
pub struct SubmitMap<R: Unary> {
    way: Way,
    requests: Request<BoxStream<R::Request>>,
    key: Option<String>,
    key_kept_for: Option<Duration>,
    map: MapHeader,
    order: SubmitMapHeader,
}

impl<R: Unary> SubmitMap<R> {
    pub(super) fn new(way: Way, requests: impl IntoStreamingRequest<Message = R::Request>) -> Self {
        let requests = requests.into_streaming_request().map(StreamExt::boxed);
        let map = MapHeader { method: R::NAME.to_owned(), ..MapHeader::default() };
        Self { way, requests, key: None, key_kept_for: None, map, order: SubmitMapHeader::default() }
    }

    /// The same key of the same tenant is the same ticket, if method, options and all requests are the same too, in their
    /// order: a submit that is repeated changes nothing. At most 256 bytes, at least one. Remembered for ever, unless
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

    /// It does not begin before.
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

    /// Attempts at the map as a whole after the first that broke, 0 to 1000; unless said, what the method's `.proto` says, or
    /// 2. Each goes on where the last one was. A request that fails is not tried again: its error is its result.
    pub fn retries(mut self, retries: u32) -> Self {
        self.order.retries = Some(retries);
        self
    }

    /// How long the ticket is kept with its results once it has ended: 7 days unless said, at most 366 days.
    pub fn keep_result_for(mut self, time: Duration) -> Self {
        self.order.keep_result_for = Some(span(time));
        self
    }

    /// Results in the order of the requests; unless told so, as they come.
    pub fn ordered(mut self) -> Self {
        self.map.order = MapOrder::AsSent.into();
        self
    }

    /// What a failure does; unless told otherwise, nothing.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        on_failure.write(&mut self.map);
        self
    }

    /// The most requests that are at nodes, or whose results are on their way to the disk: up to 1,048,576; unless told
    /// otherwise, 16,384.
    pub fn in_flight(mut self, requests: u32) -> Self {
        self.map.in_flight = requests;
        self
    }

    async fn hand_in(self) -> crate::Result<MapTicket<R>> {
        let key = own_key(self.key, self.key_kept_for)?;
        let header = SubmitMapHeader {
            map: Some(self.map),
            idempotency_key: key.unwrap_or_default(),
            idempotency_key_kept_for: self.key_kept_for.map(span),
            ..self.order
        };
        let (metadata, _, requests) = self.requests.into_parts();
        let (desk, deadline) = Desk::to_submit(self.way, metadata)?;
        let operation = within(deadline, send::<R>(&desk, &header, Source::new(requests))).await?;
        Ok(MapTicket::new(desk, operation.name))
    }
}

/// Until a gateway has answered for all of it, or something of it is lost.
async fn send<R: Unary>(
    desk: &Desk,
    header: &SubmitMapHeader,
    source: Source<R::Request>,
) -> crate::Result<Operation> {
    let (mut trouble, mut place) = (Trouble::new(desk.patience()), None);
    loop {
        let mesh = desk.stream_mesh_within(trouble.left(), &mut place).await.map_err(nothing_left)?;
        let request = desk.request(messages::<R>(header.clone(), source.lend()));
        let status = match mesh.client_streaming::<rpcs::HandInMap>(request).await {
            Err(status) if is_gone(&status) => status,
            answered => return answered.map(Response::into_inner),
        };
        match source.take_back() {
            Progress::Untouched => trouble.pause(status).await.map_err(nothing_left)?,
            // A gateway that is sure that it has stored nothing says when to come again, in details.
            Progress::Ended if !never_sent(&status) && status.details().is_empty() => {
                return Err(unanswered(&status, header));
            }
            Progress::Begun | Progress::Ended => return Err(broken_off(&status)),
        }
    }
}

/// All that one gateway is sent.
fn messages<R: Unary>(
    mut header: SubmitMapHeader,
    lent: Lent<R::Request>,
) -> impl Stream<Item = SubmitMapRequest> + Send + 'static {
    let (map, last) = (header.map.take().unwrap_or_default(), lent.clone());
    let requests = Requests::<R>::new(map, Box::pin(lent));
    let messages = requests.map(move |MapRequest { header: map, items }| {
        let header = map.map(|map| SubmitMapHeader { map: Some(map), ..header.clone() });
        SubmitMapRequest { header, items }
    });
    let end = stream::once(future::poll_fn(move |_| last.end()));
    messages.chain(end.filter_map(async |()| None))
}

fn broken_off(status: &Status) -> Status {
    nothing_left(Status::unavailable(format!(
        "the map was not submitted: {}; nothing of it is left, and it may be submitted again from its beginning",
        status.message()
    )))
}

fn unanswered(status: &Status, header: &SubmitMapHeader) -> Status {
    let advice = match header.idempotency_key.as_str() {
        "" => "without a key of its own, submitting it again may make a second ticket".to_owned(),
        key => format!("submit it again with the same key, {key:?}: it is one ticket"),
    };
    Status::unavailable(format!(
        "all of the map was sent, and no answer came: {}; it may be submitted or not: {advice}",
        status.message()
    ))
}

impl<R: Unary> IntoFuture for SubmitMap<R> {
    type Output = crate::Result<MapTicket<R>>;
    type IntoFuture = Answer<MapTicket<R>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.hand_in())
    }
}

impl<R: Unary> fmt::Debug for SubmitMap<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitMap").field("header", &self.map).finish_non_exhaustive()
    }
}
