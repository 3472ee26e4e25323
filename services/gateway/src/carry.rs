//! The gateway's half of a carry: gives a node the body of its request, or the stream of them, and takes messages and
//! the outcome from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use turno_proto::mesh::v1::{CarryDown, CarryUp, Outcome, Part};
use turno_proto::status::{self, ANSWER_TOO_LARGE};
use turno_runtime::task;

use crate::config::TAKE_LARGER;
use crate::edge::Messages;
use crate::link::Link;
use crate::link::pending::Event;
use crate::map::gate::Entry;
use crate::unread::{Ahead, Room, SMALL};

/// Bytes in one part.
const PART: usize = 256 * 1024;
/// Parts on their way down; flow control is HTTP/2's.
const PARTS_IN_FLIGHT: usize = 4;
/// Up to this size a message is not counted: the call's own stream costs as much. Larger ones are, also small answers: a
/// stream may have several here, and be over.
const UNCOUNTED: usize = 1024;
/// How long a stream waits for room while its client has read all that there is.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// How often it asks meanwhile, and while its client reads.
const ROOM_PAUSE: Duration = Duration::from_millis(10);
const READING_PAUSE: Duration = Duration::from_millis(100);

pub(crate) type CarryStream = tokio_stream::wrappers::ReceiverStream<Result<CarryDown, Status>>;

type Down = mpsc::Sender<Result<CarryDown, Status>>;

/// Serves the carry of `call`, which keeps its place at its map's gate until the outcome is in.
pub(crate) fn serve(
    link: Arc<Link>,
    call: u64,
    up: Streaming<CarryUp>,
    max_message: usize,
    entry: Option<Entry>,
) -> CarryStream {
    let (down, parts) = mpsc::channel(PARTS_IN_FLIGHT);
    let (body, messages) = (link.take_body(call), link.take_messages(call));
    let expected = entry.as_ref().map_or(0, |entry| entry.bytes);
    task::spawn("gateway.carry", async move {
        let answer = Incoming::of(&link, call, max_message, expected);
        let outcome = tokio::select! {
            outcome = receive(answer, up) => outcome,
            broken = sent(body, messages, &down) => {
                // A node that cannot be told just now sees its stream of requests break off.
                let _full = down.try_send(Err(broken.clone()));
                Some(status::to_outcome(call, broken))
            }
        };
        if let Some(outcome) = outcome {
            link.carried(outcome);
        }
        // The stream down stays open until the outcome is in: its end tells the node so.
        drop((down, entry));
    });
    CarryStream::new(parts)
}

/// Sends what the node has come for. Completes only if the client's stream breaks: that ends the call.
async fn sent(body: Option<Bytes>, messages: Option<Messages>, down: &Down) -> Status {
    if let Some(body) = body {
        send(body, down).await;
    }
    if let Some(messages) = messages
        && let Err(broken) = forward(messages, down).await
    {
        return broken;
    }
    std::future::pending().await
}

/// A node that does not want the rest says why in its outcome.
async fn send(mut body: Bytes, down: &Down) {
    loop {
        let data = body.split_to(body.len().min(PART));
        let last = body.is_empty();
        let part = CarryDown { part: Some(Part { data, last }), ..CarryDown::default() };
        if down.send(Ok(part)).await.is_err() || last {
            return;
        }
    }
}

/// Reads on from the client as fast as the node takes it.
async fn forward(mut messages: Messages, down: &Down) -> Result<(), Status> {
    while let Some(part) = messages.part(PART).await? {
        let part = CarryDown { part: Some(part), ..CarryDown::default() };
        if down.send(Ok(part)).await.is_err() {
            return Ok(());
        }
    }
    // As above.
    let _unwanted = down.send(Ok(CarryDown { end: true, ..CarryDown::default() })).await;
    Ok(())
}

/// Takes messages until the outcome. A node that breaks off is noticed by its link.
async fn receive(
    mut answer: Incoming<'_>,
    mut up: impl Stream<Item = Result<CarryUp, Status>> + Unpin,
) -> Option<Outcome> {
    loop {
        let frame = up.next().await?.ok()?;
        if frame.begun
            && let Some(events) = answer.events()
        {
            // As below.
            let _gone = events.send(Event::Begun).await;
        }
        if let Some(part) = frame.part
            && let Some(refused) = answer.take(part).await
        {
            return Some(refused);
        }
        if let Some(outcome) = frame.outcome {
            return Some(answer.end(outcome));
        }
    }
}

/// What comes of one answer, part by part.
struct Incoming<'l> {
    link: &'l Link,
    call: u64,
    max_message: usize,
    message: BytesMut,
    /// None where who asked takes what comes.
    room: Option<Room>,
    ahead: Arc<Ahead>,
    /// The one message of an answer that is no stream.
    whole: Bytes,
    /// It had no room. The rest of it is short, and behind it comes what it has cost.
    is_dropped: bool,
}

impl<'l> Incoming<'l> {
    /// With room for as much as is expected and was let in.
    fn of(link: &'l Link, call: u64, max_message: usize, expected: usize) -> Self {
        Self {
            link,
            call,
            max_message,
            message: BytesMut::with_capacity(expected.min(max_message)),
            room: link.reader_of(call).map(|reader| reader.room()),
            ahead: Arc::default(),
            whole: Bytes::new(),
            is_dropped: false,
        }
    }

    /// Where the messages of a stream go.
    fn events(&self) -> Option<mpsc::Sender<Event>> {
        self.link.stream_of(self.call).flatten()
    }

    /// Takes a part. Answers the outcome of a call that ends with it.
    async fn take(&mut self, Part { data, last }: Part) -> Option<Outcome> {
        if self.is_dropped {
            return None;
        }
        let length = self.message.len() + data.len();
        if length > self.max_message {
            return Some(too_large(self.call, self.max_message));
        }
        if length > UNCOUNTED && !self.has_room(length).await {
            return self.drop_it();
        }
        self.message.extend_from_slice(&data);
        if last {
            self.pass_on().await;
        }
        None
    }

    /// A message is whole.
    async fn pass_on(&mut self) {
        let message = self.message.split().freeze();
        match self.events() {
            // A client that has gone away cancels the call, and the outcome follows.
            Some(events) => {
                let room = self.room.as_mut().map(|room| room.pass(&self.ahead));
                let _gone = events.send(Event::Message(message, room)).await;
            }
            None => {
                self.whole = match &mut self.room {
                    Some(room) => room.around(message),
                    None => message,
                }
            }
        }
    }

    /// A stream ends where there is no room, one answer with its outcome.
    fn drop_it(&mut self) -> Option<Outcome> {
        let reader = self.room.as_ref()?.reader().clone();
        if self.events().is_some() {
            return Some(reader.instead(self.call, None));
        }
        (self.message, self.room, self.is_dropped) = (BytesMut::new(), Some(reader.room()), true);
        None
    }

    fn end(self, outcome: Outcome) -> Outcome {
        match &self.room {
            Some(room) if self.is_dropped => room.reader().instead(self.call, outcome.cost),
            _ => Outcome { call: self.call, body: self.whole, ..outcome },
        }
    }

    /// Room for what has come of a message, of its connection's share. A stream waits for it, which holds up its own method
    /// and nobody else: as long as its client has something to read, and then a second. A small one needs none where there
    /// is nothing else to read: the call's permit goes with it.
    async fn has_room(&mut self, length: usize) -> bool {
        let Self { link, call, room: Some(room), ahead, .. } = self else { return true };
        let mut read_since: Option<Instant> = None;
        while !room.reach(length) {
            if link.stream_of(*call).flatten().is_none() {
                return false;
            }
            if !ahead.is_read() {
                read_since = None;
            } else if length <= SMALL {
                room.grow(length);
                return true;
            } else if read_since.get_or_insert_with(Instant::now).elapsed() >= ROOM_PATIENCE {
                return false;
            }
            let pause = if read_since.is_some() { ROOM_PAUSE } else { READING_PAUSE };
            // What others read makes the share larger too. That is not heard here, but asked again in any case: to wake all
            // who wait, each time, would cost more the more there are.
            let _either = tokio::time::timeout(pause, ahead.fewer()).await;
        }
        true
    }
}

fn too_large(call: u64, max_message: usize) -> Outcome {
    let what = format!(
        "the method has run, but its answer is larger than the {max_message} bytes that the gateway takes (max_message){TAKE_LARGER}"
    );
    let details = status::because(ANSWER_TOO_LARGE);
    status::to_outcome(call, Status::with_error_details(Code::ResourceExhausted, what, details))
}

/// Whether the answer was too large, or what the method has called or fetched for it: the next one will be, too.
pub(crate) fn is_too_large(error: &Status) -> bool {
    error.code() == Code::ResourceExhausted && status::has_reason(error, ANSWER_TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::{Event, Incoming, Link, ROOM_PATIENCE, Room, is_too_large, receive};
    use crate::link::Sent;
    use crate::link::frames::Down;
    use crate::scheduler::WorkerId;
    use crate::unread::Unread;
    use futures_util::future::{join, join_all};
    use futures_util::{FutureExt as _, stream};
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::sync::mpsc;
    use tonic::{Code, Status};
    use turno_proto::mesh::v1::{CarryUp, Cost, Hello, Invocation, Outcome, Part};
    use turno_proto::status;

    const MAX_MESSAGE: usize = 1 << 20;

    /// A link to a node whose answers find no room as long as those of another connection are kept.
    fn link() -> (Arc<Link>, Arc<Unread>, Room, mpsc::Receiver<Down>) {
        let unread = Unread::new(100_000);
        let taken = unread.reader().add(100_000);
        let (down, invocations) = mpsc::channel(8);
        let peer = "127.0.0.1:1".parse().unwrap();
        let link = Link::new(WorkerId(1), Hello::default(), peer, down, 1024);
        (Arc::new(link), unread, taken, invocations)
    }

    fn message(bytes: usize) -> Result<CarryUp, Status> {
        let part = Part { data: vec![7; bytes].into(), last: true };
        Ok(CarryUp { part: Some(part), ..CarryUp::default() })
    }

    fn end(cost: Option<Cost>) -> Result<CarryUp, Status> {
        let outcome = Outcome { cost, ..Outcome::default() };
        Ok(CarryUp { outcome: Some(outcome), ..CarryUp::default() })
    }

    /// A call of one more connection.
    async fn stream_of(link: &Arc<Link>, unread: &Arc<Unread>) -> (mpsc::Receiver<Event>, Sent) {
        link.stream(Invocation::default(), None, None, Some(unread.reader())).await.unwrap()
    }

    async fn next(events: &mut mpsc::Receiver<Event>) -> (usize, Option<Room>) {
        match events.recv().await {
            Some(Event::Message(message, room)) => (message.len(), room),
            _ => panic!("it ended, or never began"),
        }
    }

    #[tokio::test]
    async fn one_answer_that_has_no_room_keeps_its_cost() {
        let (link, unread, _taken, _invocations) = link();
        let mut asking = std::pin::pin!(link.unary(Invocation::default(), None, Some(unread.reader())));
        assert!(asking.as_mut().now_or_never().is_none(), "nobody has answered it yet");
        let cost = Some(Cost { run_us: 7, ..Cost::default() });
        let up = stream::iter([message(60_000), message(60_000), end(cost)]);
        let outcome = receive(Incoming::of(&link, 1, MAX_MESSAGE, 0), up).await.unwrap();
        assert_eq!((outcome.call, outcome.cost, outcome.body.len()), (1, cost, 0));
        assert_eq!(status::code_of(outcome.code), Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_told_from_one_that_has_no_room() {
        let (link, unread, _taken, _invocations) = link();
        let mut errors = Vec::new();
        for (call, bytes) in [(1, MAX_MESSAGE + 1), (2, 60_000)] {
            let mut asking = Box::pin(link.unary(Invocation::default(), None, Some(unread.reader())));
            assert!(asking.as_mut().now_or_never().is_none(), "nobody has answered it yet");
            let up = stream::iter([message(bytes), end(None)]);
            errors.push(status::from_outcome(
                receive(Incoming::of(&link, call, MAX_MESSAGE, 0), up).await.unwrap(),
            ));
        }
        assert!(errors.iter().all(|error| error.code() == Code::ResourceExhausted), "{errors:?}");
        assert_eq!(errors.iter().map(is_too_large).collect::<Vec<_>>(), [true, false]);
    }

    #[tokio::test]
    async fn small_messages_go_on_one_by_one_where_there_is_no_room() {
        let (link, unread, _taken, _invocations) = link();
        let (mut events, _sent) = stream_of(&link, &unread).await;
        let up = stream::iter([message(4096), message(4096), message(10), end(None)]);
        let reading = async {
            let (length, unread) = next(&mut events).await;
            assert_eq!(length, 4096);
            tokio::time::sleep(ROOM_PATIENCE + Duration::from_millis(300)).await;
            assert!(events.try_recv().is_err(), "the first one is not read");
            drop(unread);
            assert_eq!(next(&mut events).await.0, 4096);
            assert_eq!(next(&mut events).await.0, 10);
        };
        let (outcome, ()) = join(receive(Incoming::of(&link, 1, MAX_MESSAGE, 0), up), reading).await;
        assert_eq!(status::code_of(outcome.unwrap().code), Code::Ok);
    }

    #[tokio::test]
    async fn streams_of_all_connections_go_on_when_another_is_read() {
        let (link, unread, taken, _invocations) = link();
        let mut waiting = Vec::new();
        for call in 1..=3 {
            let (events, sent) = stream_of(&link, &unread).await;
            let up = stream::iter([message(20_000), end(None)]);
            let mut receiving = Box::pin(receive(Incoming::of(&link, call, MAX_MESSAGE, 0), up));
            assert!(receiving.as_mut().now_or_never().is_none(), "there is no room");
            waiting.push((receiving, events, sent));
        }
        drop(taken);
        let going_on = waiting.iter_mut().map(|(receiving, events, _)| join(receiving, next(events)));
        let ended = join_all(going_on).await;
        assert_eq!(unread.bytes(), 60_000);
        for (outcome, (length, _)) in ended {
            assert_eq!((status::code_of(outcome.unwrap().code), length), (Code::Ok, 20_000));
        }
        assert_eq!(unread.bytes(), 0);
    }

    #[tokio::test]
    async fn a_stream_is_cut_off_a_second_after_its_client_has_read_all() {
        let (link, unread, _taken, _invocations) = link();
        let (mut events, _sent) = stream_of(&link, &unread).await;
        let up = stream::iter([message(10), message(60_000), end(None)]);
        let reading = async {
            let (_, unread) = next(&mut events).await;
            tokio::time::sleep(ROOM_PATIENCE + Duration::from_millis(300)).await;
            drop(unread);
            Instant::now()
        };
        let ending = async {
            let outcome = receive(Incoming::of(&link, 1, MAX_MESSAGE, 0), up).await;
            (outcome, Instant::now())
        };
        let ((outcome, ended), read) = join(ending, reading).await;
        assert_eq!(status::code_of(outcome.unwrap().code), Code::ResourceExhausted);
        assert!(ended.saturating_duration_since(read) >= ROOM_PATIENCE);
    }
}
