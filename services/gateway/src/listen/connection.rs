//! One connection: HTTP/2 (and enough HTTP/1 to say that this is gRPC), from its first word to an end in order.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turno_runtime::task;

use crate::edge::Edge;
use crate::listen::Origin;
use crate::listen::lingering::{self, Lingering};

// Together less than the 3 s in which a black-holed peer is to be noticed.
const NODE_PING_EVERY: Duration = Duration::from_secs(1);
const NODE_PING_PATIENCE: Duration = Duration::from_millis(1500);
const CLIENT_PING_EVERY: Duration = Duration::from_secs(20);
const CLIENT_PING_PATIENCE: Duration = Duration::from_secs(10);
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
const MOST_STREAMS: u32 = 10_000;
const STREAM_WINDOW: u32 = 1 << 20;
/// Calls that a client may give up before they are even looked at, as callers do that share a connection and a deadline;
/// more end the connection (as a "rapid reset" attack). Each costs as much as one that is open, of which there may be ten
/// times as many.
const MOST_GIVEN_UP: usize = MOST_STREAMS as usize / 10;
/// As large as HTTP/2 has it: streams limit themselves, and one that is not read must not stop the others.
const CONNECTION_WINDOW: u32 = i32::MAX as u32;
const HEADERS: u32 = 64 * 1024;
/// A client that has connected when the port closes has so long to say something. It may be on a busy machine, and its
/// call one that may not be repeated.
const FIRST_WORD_PATIENCE: Duration = Duration::from_millis(1500);
/// A connection is asked to end when no call is on it, or after so long.
const QUIET_PATIENCE: Duration = Duration::from_secs(1);
/// A client that has been asked to end, and has no call, may be silent for so long: more than a packet that is sent again, or a
/// busy machine, keeps one from its answer to a ping. Of the 10 s that `docker stop` gives a gateway, nodes' links have the
/// end, and clients without a call that do not end their side, all at once, no more than this:
///
/// ```text
/// it never spoke         `FIRST_WORD_PATIENCE`, `lingering::PATIENCE`     6.5 s
/// it says nothing        `SILENCE`                                        4 s
/// it answers the ping    `SILENCE` behind that                            less than 8 s
/// it has had a call      up to `LOOK` behind that, `lingering::PATIENCE`  6 s
/// it has a link          5 s (`clients`), up to `LOOK`, `LOOK`            7 s
/// ```
const SILENCE: Duration = Duration::from_secs(4);
/// A connection that is busy is looked at so often, to know when it is no more.
const LOOK: Duration = Duration::from_secs(1);
/// SETTINGS, with which a server of HTTP/2 begins, and GOAWAY (RFC 9113, 6.5 and 6.8): the last call that counts is 0, no
/// error.
const NOTHING_TAKEN: &[u8; 26] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Answers what comes on it, until either side ends it; it is asked to end some time after `ending`.
pub(super) async fn serve(
    stream: TcpStream,
    edge: Arc<Edge>,
    origin: Arc<Origin>,
    ending: CancellationToken,
) {
    let Origin { peer, is_node, .. } = *origin;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    if !speaks(&stream, &ending).await {
        let told = take_nothing(Lingering::new(stream)).await;
        return tracing::debug!(%peer, ?told, "a connection on which nothing came");
    }
    let asked = origin.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (edge, origin) = (edge.clone(), asked.clone());
        // hyper moves it several times before it is at home: a pointer is cheaper to move. And so it is of the request.
        let request = Box::new(request);
        Box::pin(async move { Ok::<_, Infallible>(edge.answer(request, origin).await) })
    });
    let exchanges = TaskTracker::new();
    let builder = builder(is_node, Named { exchanges: exchanges.clone() });
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(Lingering::new(stream)), service));
    // hyper takes what fits into a stream's window: an exchange may be over, and its answer not written.
    let is_busy = || !exchanges.is_empty() || origin.reader.has_unread();
    let is_left_alone = || origin.left_alone.load(Ordering::Relaxed);
    // Once before it may be asked to end: hyper knows then what has come so far.
    let ended = match connection.as_mut().now_or_never() {
        Some(ended) => Some(ended),
        None => tokio::select! {
            biased;
            // Before the last answer is written: both leave together.
            was_busy = is_to_end(&ending, &exchanges) => {
                connection.as_mut().graceful_shutdown();
                until_silent(connection, was_busy, is_busy, is_left_alone).await
            }
            ended = connection.as_mut() => Some(ended),
        },
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%peer, %error, "connection ended"),
        None => tracing::debug!(%peer, "a client without a call that does not end its side"),
    }
}

/// Whether something comes: soon, if the port is closing.
async fn speaks(stream: &TcpStream, ending: &CancellationToken) -> bool {
    let closed = async {
        ending.cancelled().await;
        sleep(FIRST_WORD_PATIENCE).await;
    };
    let mut first = [0];
    tokio::select! {
        // What has come counts, however late it is looked at.
        biased;
        // `readable` may answer before anything has come.
        speaks = tokio::time::timeout(HEADER_PATIENCE, stream.peek(&mut first)) => speaks.is_ok(),
        () = closed => false,
    }
}

/// For a call that comes all the same: its client knows then that nobody has looked at it, and may make it again. hyper says
/// so only to who has spoken.
async fn take_nothing(mut stream: Lingering) -> io::Result<()> {
    stream.write_all(NOTHING_TAKEN).await?;
    stream.shutdown().await
}

/// A good moment for GOAWAY. A client that has no call on the connection when it comes dials again before its next one;
/// but some clients, tonic's among them, notice only by failing the next call if others are still on their way.
///
/// Answers whether there were calls when the gateway was asked to end.
async fn is_to_end(ending: &CancellationToken, exchanges: &TaskTracker) -> bool {
    ending.cancelled().await;
    let was_busy = !exchanges.is_empty();
    exchanges.close();
    // Too late to matter: it is asked to end all the same.
    let _busy = tokio::time::timeout(QUIET_PATIENCE, exchanges.wait()).await;
    was_busy
}

/// The rest of a connection that was asked to end; `None` if its client was not waited for. What comes before the client's
/// answer to the ping behind the first GOAWAY is still taken, and the second GOAWAY, after that answer, says what was not:
///
/// ```text
/// it has no call                    answers, hears the second GOAWAY, ends its side: over in a round trip
/// it called before it saw GOAWAY    the call came before its answer to the ping: served, as any other
/// a call is served, or its answer   busy, and not given up here: the gateway's time to drain is what ends it
/// is not written
/// it had calls, and falls silent    as long as it would have at the end (`lingering`): it may still have to read
/// it had none, and says nothing:    `SILENCE`. A call of it would have come by now with the answer to the ping; one
/// stopped, or out of reach          that it makes when it goes on finds the connection closed, as if the gateway had
///                                   waited for all of its drain
/// it answers, and stays             `SILENCE` too
/// it has a link without a call      busy, until the link has been waited for (`clients`); then `LOOK`
/// ```
async fn until_silent<C: Future>(
    mut connection: Pin<&mut C>,
    was_busy: bool,
    is_busy: impl Fn() -> bool,
    is_left_alone: impl Fn() -> bool,
) -> Option<C::Output> {
    let mut waiting = Waiting::new(was_busy);
    let mut silence = std::pin::pin!(sleep(SILENCE));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        let is_silent = silence.as_mut().poll(cx).is_ready();
        let Some(patience) = waiting.next(is_busy(), is_silent, is_left_alone()) else {
            return Poll::Ready(None);
        };
        silence.as_mut().reset(Instant::now() + patience);
        if silence.as_mut().poll(cx).is_ready() {
            // This thread stood still for so long: once more.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await
}

/// How long a connection that was asked to end is still waited for.
struct Waiting {
    /// At the last look.
    was_busy: bool,
    /// Where it is not busy.
    patience: Duration,
}

impl Waiting {
    fn new(was_busy: bool) -> Self {
        Self { was_busy, patience: SILENCE }
    }

    /// From now on, when the connection has just had its turn; `None` if it has been silent for long enough. Whatever else has
    /// woken it, something has moved on it. What was busy at the last look has ended since then, perhaps just now.
    fn next(&mut self, is_busy: bool, is_silent: bool, is_left_alone: bool) -> Option<Duration> {
        let was_busy = std::mem::replace(&mut self.was_busy, is_busy);
        if is_busy {
            return Some(LOOK);
        }
        if was_busy {
            self.patience = if is_left_alone { LOOK } else { lingering::PATIENCE };
        }
        (was_busy || !is_silent).then_some(self.patience)
    }
}

fn builder(is_node: bool, executor: Named) -> Builder<Named> {
    let mut builder = Builder::new(executor);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    let (every, patience) = if is_node {
        (NODE_PING_EVERY, NODE_PING_PATIENCE)
    } else {
        (CLIENT_PING_EVERY, CLIENT_PING_PATIENCE)
    };
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(every)
        .keep_alive_timeout(patience)
        .max_concurrent_streams(MOST_STREAMS)
        .max_pending_accept_reset_streams(MOST_GIVEN_UP)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS);
    builder
}

/// hyper's tasks under a name: one for each call that is on a connection.
#[derive(Clone)]
struct Named {
    exchanges: TaskTracker,
}

impl<F> Executor<F> for Named
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, exchange: F) {
        task::spawn("gateway.exchange", self.exchanges.track_future(exchange));
    }
}

#[cfg(test)]
mod tests {
    use super::{LOOK, SILENCE, Waiting, lingering};

    #[test]
    fn who_is_silent_is_waited_for_from_the_end_of_its_last_call_on() {
        let mut waiting = Waiting::new(false);
        assert_eq!(waiting.next(false, false, false), Some(SILENCE));
        // The time that was set while it was busy is over in the moment in which its answer is written.
        assert_eq!(waiting.next(true, false, false), Some(LOOK));
        assert_eq!(waiting.next(true, true, false), Some(LOOK));
        assert_eq!(waiting.next(false, true, false), Some(lingering::PATIENCE));
        assert_eq!(waiting.next(false, false, false), Some(lingering::PATIENCE), "it says something");
        assert_eq!(waiting.next(false, true, false), None);
    }

    #[test]
    fn what_was_busy_when_the_gateway_was_asked_to_end_has_the_same_time() {
        assert_eq!(Waiting::new(true).next(false, true, false), Some(lingering::PATIENCE));
        assert_eq!(Waiting::new(false).next(false, true, false), None);
    }

    #[test]
    fn a_link_that_was_waited_for_is_not_waited_for_again() {
        let mut waiting = Waiting::new(true);
        assert_eq!(waiting.next(true, false, false), Some(LOOK));
        assert_eq!(waiting.next(false, true, true), Some(LOOK));
        assert_eq!(waiting.next(false, true, true), None);
    }
}
