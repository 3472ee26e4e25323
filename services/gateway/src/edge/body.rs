//! The body of a response: nothing, one message, a stream of messages, or that of one of the gateway's own services.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::{Code, Status};
use turno_proto::mesh::v1::Outcome;
use turno_proto::status;

use crate::admission::{self, Permit};
use crate::bill::Bill;
use crate::calls::{Stream, Trial};
use crate::edge::refusals::ending;
use crate::edge::response::{error_trailers, framed, ok_trailers};
use crate::link::pending::{Answer, Event};
use crate::link::{Parting, Sent};
use crate::methods::Running;
use crate::unread::{Ahead, Reader, Room, SMALL, holding};

/// A response's body.
#[derive(Default)]
pub(crate) enum Body {
    /// Nothing: an error stands in the headers.
    #[default]
    Empty,
    /// What is ready goes out; then the rest of the stream, if there is one.
    Frames(Frames),
    /// From one of the gateway's own services.
    Own(Own),
}

/// A body from tonic, cut off where the gateway ends.
pub(crate) struct Own {
    body: tonic::body::Body,
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    counted: Counted,
    /// Waits for room.
    held: Option<Box<Held>>,
}

/// A frame that has no room, and when it tries again.
struct Held {
    frame: Frame<Bytes>,
    pause: Pin<Box<tokio::time::Sleep>>,
}

/// Between two tries.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// Whether what one of the gateway's own services answers is counted while it is unread.
pub(crate) enum Counted {
    No,
    /// In any case: it has bounds of its own.
    Always(Arc<Reader>),
    /// And refused where there is no room: it can be asked for again.
    IfRoom(Arc<Reader>),
    /// And waits for room: who hears a stream would take what cuts it off for the end of what it tells of. Its call has
    /// a place, so it is an answer that waits while its client does not read it.
    WhenRoom(Arc<Reader>, Arc<Ahead>),
    /// A map's: in any case, and an answer that waits as well.
    Map(Arc<Reader>, Arc<Ahead>),
}

/// Frames of a call's answer.
pub(crate) struct Frames {
    ready: VecDeque<Frame<Bytes>>,
    rest: Option<Box<Rest>>,
    /// Of a stream: it is in the house until the last byte of it is out.
    permit: Option<Arc<Permit>>,
}

/// What is still to come of a stream.
struct Rest {
    /// Settled when it has ended; one that is dropped before is of a client that has gone away.
    bill: Bill,
    events: mpsc::Receiver<Event>,
    late: Pin<Box<tokio::time::Sleep>>,
    /// The gateway's time to drain.
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Ends the method at its deadline even while the client reads nothing, and hyper does not ask for more.
    _ending: DropGuard,
    sent: Sent,
    _running: Option<Running>,
    trial: Option<Trial>,
    /// Of the request.
    _request: Option<admission::Room>,
}

impl Rest {
    /// The trial ends when it has spoken: it holds the request.
    fn hear(&mut self, event: &Event) -> Result<(), Status> {
        let trial = self.trial.take_if(|trial| trial.is_over(event));
        trial.map_or(Ok(()), |trial| trial.speak(event, self.sent.link()))
    }
}

impl Body {
    /// One message and its trailers.
    pub(crate) fn once(message: Bytes, trailers: HeaderMap) -> Self {
        let mut frames = Frames { ready: VecDeque::with_capacity(3), rest: None, permit: None };
        frames.message(message);
        frames.ready.push_back(Frame::trailers(trailers));
        Self::Frames(frames)
    }

    /// A stream that has begun.
    pub(crate) fn stream(stream: Stream, deadline: Instant, over: &CancellationToken, bill: Bill) -> Self {
        let Stream { first, events, sent, running, trial } = stream;
        let late = Box::pin(tokio::time::sleep_until(deadline.into()));
        let rest = Rest {
            bill,
            events,
            late,
            over: Box::pin(over.child_token().cancelled_owned()),
            _ending: sent.cancel_at(deadline),
            sent,
            _running: running,
            trial,
            _request: None,
        };
        let mut frames =
            Frames { ready: VecDeque::with_capacity(3), rest: Some(Box::new(rest)), permit: None };
        frames.event(first);
        Self::Frames(frames)
    }

    /// What one of the gateway's own services answers; a stream of theirs ends when `closing` is cancelled.
    pub(crate) fn own(body: tonic::body::Body, closing: Option<CancellationToken>, counted: Counted) -> Self {
        let closing = closing.map(|closing| Box::pin(closing.child_token().cancelled_owned()));
        Self::Own(Own { body, closing, counted, held: None })
    }

    /// Plain text, for those who do not speak gRPC.
    pub(crate) fn text(text: &'static str) -> Self {
        let ready = VecDeque::from([Frame::data(Bytes::from_static(text.as_bytes()))]);
        Self::Frames(Frames { ready, rest: None, permit: None })
    }

    /// The call is in the house until its answer is written, or dropped: hyper takes all of it, and this with it, once
    /// the client has read a byte. Until then it is one of those that `reader` leaves unread; of a stream `Ahead` knows
    /// when it is. Its request is here no more.
    pub(crate) fn keep(&mut self, mut permit: Permit, reader: &Arc<Reader>) {
        let Self::Frames(frames) = self else { return };
        let last = frames.ready.iter_mut().rev().find_map(Frame::data_mut);
        if let Some(rest) = &mut frames.rest {
            let none = permit.more_room();
            rest._request = Some(std::mem::replace(&mut permit.room, none));
            let permit = Arc::new(permit);
            if let Some(first) = last {
                *first = holding(std::mem::take(first), permit.clone());
            }
            frames.permit = Some(permit);
        } else if let Some(last) = last {
            permit.room.give_back(usize::MAX);
            *last = holding(std::mem::take(last), (permit, reader.ready()));
        }
    }
}

impl Frames {
    fn message(&mut self, message: Bytes) {
        let (start, rest) = framed(message);
        self.ready.push_back(Frame::data(start));
        self.ready.extend(rest.map(Frame::data));
    }

    /// What was just made ready is of a stream: it holds room, and the call's place.
    fn hold(&mut self, room: Option<Room>) {
        if let Some(last) = self.ready.back_mut().and_then(Frame::data_mut) {
            *last = holding(std::mem::take(last), (room, self.permit.clone()));
        }
    }

    fn event(&mut self, event: Event) {
        let heard = self.rest.as_mut().map_or(Ok(()), |rest| rest.hear(&event));
        match (event, heard) {
            // The headers are out by now, which is all that it asks for.
            (Event::Begun, _) => {}
            (Event::Message(message, room), _) => {
                self.message(message);
                self.hold(room);
            }
            (Event::End(end), heard) => {
                let went = self.rest.as_ref().map_or(Parting::Lost, |rest| rest.sent.link().parting());
                self.end(heard.and_then(|()| end.map_err(|_| lost(went))));
            }
        }
    }

    fn end(&mut self, end: Result<Answer, Status>) {
        let Some(rest) = self.rest.take() else { return };
        let Rest { bill, mut sent, .. } = *rest;
        sent.done = true;
        let trailers = match end {
            Ok(Answer { outcome, away }) => {
                bill.course.back(away, outcome.cost);
                trailers(bill.answered(outcome))
            }
            Err(error) => error_trailers(&bill.failed(error)),
        };
        self.ready.push_back(Frame::trailers(trailers));
    }

    /// Takes the next event of the stream.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(()) };
        let is_late = rest.late.as_mut().poll(cx).is_ready();
        let event = if is_late { Poll::Pending } else { rest.events.poll_recv(cx) };
        // Without an end only what was cancelled at its deadline is over.
        if let Poll::Ready(Some(event)) = event {
            self.event(event);
            return Poll::Ready(());
        }
        let is_ending = !is_late && event.is_pending();
        if is_ending {
            ready!(rest.over.as_mut().poll(cx));
        }
        let Some(rest) = self.rest.take() else { return Poll::Ready(()) };
        // Not done: dropping the others of it cancels the method.
        let Rest { bill, .. } = *rest;
        let name = bill.method.name();
        let why = if is_ending {
            ending(name)
        } else {
            Status::deadline_exceeded(format!("the deadline passed while {name} streamed"))
        };
        self.ready.push_back(Frame::trailers(error_trailers(&bill.failed(why))));
        Poll::Ready(())
    }
}

impl Own {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(next) = self.poll_next(cx) {
            let Some(Ok(frame)) = next else { return Poll::Ready(next) };
            let frame = match self.counted.count(frame) {
                Ok(counted) => return Poll::Ready(Some(Ok(counted))),
                Err(frame) => frame,
            };
            if let Counted::IfRoom(reader) = &self.counted {
                let full = reader.full();
                return Poll::Ready(Some(Ok(self.cut_off(&full))));
            }
            self.hold(frame, cx);
        }
        let Some(closing) = &mut self.closing else { return Poll::Pending };
        ready!(closing.as_mut().poll(cx));
        Poll::Ready(Some(Ok(self.cut_off(&Status::unavailable("the gateway is ending")))))
    }

    /// The frame that has waited, or the next.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(held) = &mut self.held else { return Pin::new(&mut self.body).poll_frame(cx) };
        ready!(held.pause.as_mut().poll(cx));
        Poll::Ready(self.held.take().map(|held| Ok(held.frame)))
    }

    fn hold(&mut self, frame: Frame<Bytes>, cx: &mut Context<'_>) {
        let mut pause = Box::pin(tokio::time::sleep(ROOM_PAUSE));
        if pause.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.held = Some(Box::new(Held { frame, pause }));
    }

    fn cut_off(&mut self, why: &Status) -> Frame<Bytes> {
        (self.body, self.closing, self.held) = (tonic::body::Body::empty(), None, None);
        Frame::trailers(error_trailers(why))
    }
}

impl Counted {
    /// How what is answered at `path` is counted.
    pub(crate) fn of(path: &str, reader: &Arc<Reader>) -> Self {
        match path.strip_prefix("/turno.").unwrap_or_default() {
            // What goes down to a node is no answer.
            inner if inner.starts_with("mesh.v1.Mesh/") => Self::No,
            // Who heard that there is no room would submit again.
            inner if inner.starts_with("v1.Tickets/Submit") => Self::Always(reader.clone()),
            "v1.Tickets/ReadMap" | "v1.Tickets/Watch" => Self::WhenRoom(reader.clone(), Arc::default()),
            _ => Self::IfRoom(reader.clone()),
        }
    }

    /// The frame, counted; the same as it was if there is no room for it.
    fn count(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Frame<Bytes>> {
        let Some(data) = frame.data_ref() else { return Ok(frame) };
        let bytes = if data.len() > SMALL { data.len() } else { 0 };
        let room = match self {
            Self::Always(reader) if bytes > 0 => Some(reader.add(bytes)),
            Self::IfRoom(reader) if bytes > 0 => reader.hold(bytes),
            Self::WhenRoom(reader, ahead) => reader.hold(bytes).map(|mut room| room.pass(ahead)),
            Self::Map(reader, ahead) => Some(reader.add(bytes).pass(ahead)),
            Self::No | Self::Always(_) | Self::IfRoom(_) => return Ok(frame),
        };
        match room {
            Some(room) => Ok(frame.map_data(|data| holding(data, room))),
            None => Err(frame),
        }
    }
}

fn trailers(outcome: Outcome) -> HeaderMap {
    match status::code_of(outcome.code) {
        Code::Ok => ok_trailers(outcome.trailers),
        _ => error_trailers(&status::from_outcome(outcome)),
    }
}

fn lost(went: Parting) -> Status {
    Status::unavailable(format!("the node {went} while its stream was on the way"))
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Own(own) => own.poll_frame(cx),
            Self::Frames(frames) => {
                while frames.ready.is_empty() && frames.rest.is_some() {
                    ready!(frames.poll_event(cx));
                }
                Poll::Ready(frames.ready.pop_front().map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Frames(frames) => frames.ready.is_empty() && frames.rest.is_none(),
            Self::Own(own) => own.held.is_none() && own.body.is_end_stream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Counted};
    use crate::admission::Admission;
    use crate::unread::Unread;
    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use http::HeaderMap;
    use http_body::{Body as _, Frame};
    use http_body_util::{BodyExt as _, Full};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn a_call_is_in_the_house_until_its_answer_is_written() {
        for size in [0, 100, 100_000] {
            let (admission, reader) = (Admission::new(10, 1000), Unread::new(0).reader());
            let mut permit = admission.admit().unwrap();
            permit.room.hold(700).unwrap();
            let mut body = Body::once(vec![7; size].into(), HeaderMap::new());
            assert_eq!(reader.answers(), 0, "it runs");
            body.keep(permit, &reader);
            let mut taken = Vec::new();
            while let Some(frame) = body.frame().await {
                taken.push(frame.unwrap());
            }
            drop(body);
            assert_eq!((admission.calls(), admission.bytes()), (1, 0), "{size} bytes that nobody has read");
            assert_eq!(reader.answers(), 1, "{size} bytes that nobody has read");
            drop(taken);
            assert_eq!((admission.calls(), reader.answers()), (0, 0), "{size} bytes");
        }
    }

    fn own(counted: Counted) -> Body {
        let body = tonic::body::Body::new(Full::new(Bytes::from(vec![7; 60_000])));
        Body::own(body, None, counted)
    }

    async fn next(body: &mut Body) -> Frame<Bytes> {
        body.frame().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn what_can_be_asked_for_again_is_cut_off_where_there_is_no_room() {
        let unread = Unread::new(100_000);
        let reader = unread.reader();
        let first = next(&mut own(Counted::IfRoom(reader.clone()))).await;
        assert_eq!((first.data_ref().unwrap().len(), unread.bytes()), (60_000, 60_000));
        let mut cut_off = own(Counted::IfRoom(reader.clone()));
        let trailers = next(&mut cut_off).await.into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "8");
        assert!(cut_off.frame().await.is_none());
        let other = next(&mut own(Counted::Always(reader.clone()))).await;
        assert_eq!(unread.bytes(), 120_000);
        let down = next(&mut own(Counted::No)).await;
        assert_eq!((down.data_ref().unwrap().len(), unread.bytes()), (60_000, 120_000));
        drop((first, other));
        assert_eq!(unread.bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_told_in_a_stream_waits_for_room() {
        let unread = Unread::new(100_000);
        let (reader, others) = (unread.reader(), unread.reader().hold(60_000).unwrap());
        let is_waiting = |path| matches!(Counted::of(path, &reader), Counted::WhenRoom(..));
        assert!(is_waiting("/turno.v1.Tickets/ReadMap") && is_waiting("/turno.v1.Tickets/Watch"));
        assert!(!is_waiting("/turno.v1.Tickets/Submit") && !is_waiting("/turno.v1.Tickets/Show"));
        let mut told = own(Counted::of("/turno.v1.Tickets/ReadMap", &reader));
        let early = tokio::time::timeout(Duration::from_millis(100), told.frame()).await;
        assert!(early.is_err() && !told.is_end_stream());
        drop(others);
        assert_eq!(next(&mut told).await.data_ref().unwrap().len(), 60_000);
        assert!(told.frame().await.is_none());
    }

    #[test]
    fn what_is_told_in_a_stream_is_an_answer_that_waits_while_it_is_unread() {
        let unread = Unread::new(100_000);
        let reader = unread.reader();
        let of = |path| Counted::of(path, &reader);
        let map = Counted::Map(reader.clone(), Arc::default());
        for counted in [of("/turno.v1.Tickets/ReadMap"), of("/turno.v1.Tickets/Watch"), map] {
            for bytes in [10, 60_000] {
                let frame = counted.count(Frame::data(Bytes::from(vec![7; bytes]))).unwrap();
                let trailers = counted.count(Frame::trailers(HeaderMap::new())).unwrap();
                assert_eq!(reader.answers(), 1, "{bytes} bytes");
                drop(frame);
                assert_eq!(reader.answers(), 0, "{bytes} bytes");
                drop(trailers);
            }
        }
        // What holds no place.
        let frame = of("/turno.v1.Tickets/Show").count(Frame::data(Bytes::from(vec![7; 60_000]))).unwrap();
        assert_eq!((reader.answers(), unread.bytes()), (0, 60_000));
        drop(frame);
    }

    #[tokio::test]
    async fn what_waits_for_room_ends_with_the_gateway() {
        let unread = Unread::new(100_000);
        let (_others, closing) = (unread.reader().hold(60_000).unwrap(), CancellationToken::new());
        let body = tonic::body::Body::new(Full::new(Bytes::from(vec![7; 60_000])));
        let counted = Counted::WhenRoom(unread.reader(), Arc::default());
        let mut told = Body::own(body, Some(closing.clone()), counted);
        assert!(told.frame().now_or_never().is_none());
        closing.cancel();
        let trailers = next(&mut told).await.into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        assert!(told.frame().await.is_none());
    }
}
