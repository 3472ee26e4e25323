//! Calls by plain gRPC beside the links (`beside`): large ones, and those that answer a stream. One that never left, since its
//! gateway was ending just then, or is silent, goes again by another, unseen, and at nobody's expense, as long as patience
//! (`search`) lasts; of what may have run when its connection breaks, `repeats` says whether it goes again, as for the calls of
//! a link.

use std::error::Error as _;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{BufMut as _, Bytes};
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstDecoder;
use turno_proto::status::{NOT_BEGUN, has_reason};

use crate::calls::{self, Held};
use crate::client::link::Link;
use crate::client::pending::Lost;
use crate::client::repeats::{Repeats, Runs};
use crate::client::search::Search;
use crate::client::streams::Place;
use crate::node::link::root;
use crate::rpc::{Rpc, ServerStreaming, Unary};
use crate::unsent::{never_sent, nothing_left};

/// Waits for the one answer.
pub(crate) async fn unary<R: Unary>(
    repeats: &Repeats,
    search: Search<'_>,
    first: Arc<Link>,
    request: Request<R::Request>,
    deadline: Option<Instant>,
) -> crate::Result<Response<R::Response>> {
    let answer = attempts::<R, _, _>(
        repeats,
        search,
        first,
        request,
        deadline,
        |link| link.bodies.carry(()),
        async |mut client, request, path, codec| client.unary(request, path, codec).await,
    );
    answer.await
}

/// Waits for the beginning of the answer, for as long as it takes. The place is kept until the answer has ended.
pub(crate) async fn server_streaming<R: ServerStreaming>(
    repeats: &Repeats,
    search: Search<'_>,
    first: Arc<Link>,
    request: Request<R::Request>,
    deadline: Option<Instant>,
    place: Place,
) -> crate::Result<Streaming<R::Response>> {
    // For whichever attempt is answered.
    let place = Arc::new(place);
    let answer = attempts::<R, _, _>(
        repeats,
        search,
        first,
        request,
        deadline,
        move |link| link.streams.carry(place.clone()),
        async |mut client, request, path, codec| client.server_streaming(request, path, codec).await,
    );
    answer.await.map(Response::into_inner)
}

async fn attempts<R: Rpc, T, A>(
    repeats: &Repeats,
    mut search: Search<'_>,
    first: Arc<Link>,
    request: Request<R::Request>,
    deadline: Option<Instant>,
    way: impl Fn(&Link) -> Held,
    attempt: A,
) -> crate::Result<T>
where
    A: AsyncFn(Grpc<Held>, Request<Bytes>, PathAndQuery, Encoded<R::Response>) -> crate::Result<T>,
{
    let (metadata, _, message) = request.into_parts();
    let body = Bytes::from(message.encode_to_vec());
    drop(message);
    repeats.called();
    let (mut link, mut runs) = (first, Runs::of(repeats, R::NAME, R::REPEATABLE));
    loop {
        let sent = Instant::now();
        let mut request = Request::from_parts(metadata.clone(), Default::default(), body.clone());
        if let Some(deadline) = deadline {
            request.set_timeout(deadline.saturating_duration_since(sent));
        }
        let answered = send::<R::Response, _, _>(&link, way(&link), request, R::PATH, &attempt).await;
        let status = match answered {
            Err(status) => calls::late(status),
            answered => return answered,
        };
        let Some(lost) = lost(&status) else {
            link.refusals.note(status.code());
            return Err(status);
        };
        let why = root(&status);
        tracing::debug!(gateway = link.gateway(), method = R::NAME, error = why, "a plain call was lost");
        link.refusals.note(Code::Unavailable);
        runs.lost(lost, link.gateway())?;
        if !lost.may_have_run {
            let why = format!("gateway {} does not take it: {why}", link.gateway());
            let told = runs.may_have_run(&why).unwrap_or_else(|| unsent(R::NAME, &why));
            search.pause(sent, told).await?;
        }
        let next = search.link().await.map_err(|nobody| runs.told(nobody))?;
        runs.go_on(link.gateway())?;
        link = next;
    }
}

/// Sends it and waits for its answer. What has not left when its link ends is taken back: tonic dials for each call that waits,
/// one after another, and where a gateway is silent, each takes as long as dialling may.
async fn send<M, T, A>(
    link: &Link,
    held: Held,
    request: Request<Bytes>,
    path: &'static str,
    attempt: &A,
) -> crate::Result<T>
where
    A: AsyncFn(Grpc<Held>, Request<Bytes>, PathAndQuery, Encoded<M>) -> crate::Result<T>,
{
    let parting = Parting::default();
    let codec = Encoded { parting: parting.clone(), answer: PhantomData };
    let mut answer = pin!(async {
        let client = calls::ready(held).await.map_err(|error| not_left(error.message()))?;
        attempt(client, request, PathAndQuery::from_static(path), codec).await
    });
    tokio::select! {
        biased;
        answered = &mut answer => return answered,
        () = link.ended() => {}
    }
    if parting.is_first() { Err(not_left("its link has ended")) } else { answer.await }
}

/// As tonic says it of a gateway that it cannot reach.
fn not_left(why: &str) -> Status {
    Status::from_error(Box::new(tonic::ConnectError(why.into())))
}

/// Whether it is no answer, but the end of what the call was on. Only what this end of a connection has made up has a
/// source; that the deadline has passed is an answer too, once `late` has made it one. What its gateway has ended before a
/// node had it is as if it had not left.
fn lost(status: &Status) -> Option<Lost> {
    if is_not_begun(status) {
        return Some(Lost { may_have_run: false });
    }
    status.source().map(|_| Lost { may_have_run: !never_sent(status) })
}

fn is_not_begun(status: &Status) -> bool {
    status.code() == Code::Unavailable && has_reason(status, NOT_BEGUN)
}

/// Patience is at its end, and no run of it has begun.
fn unsent(method: &str, why: &str) -> Status {
    nothing_left(Status::unavailable(format!("{method} was not sent: {why}")))
}

/// Whether a call leaves or is taken back: whoever asks first has decided.
#[derive(Clone, Default)]
struct Parting(Arc<AtomicBool>);

impl Parting {
    fn is_first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// Takes bytes that are encoded already, once, and answers messages.
struct Encoded<T> {
    parting: Parting,
    answer: PhantomData<fn() -> T>,
}

/// Asked for when the connection takes the call.
struct AsItIs(Parting);

impl<T: Message + Default + 'static> Codec for Encoded<T> {
    type Encode = Bytes;
    type Decode = T;
    type Encoder = AsItIs;
    type Decoder = ProstDecoder<T>;

    fn encoder(&mut self) -> AsItIs {
        AsItIs(self.parting.clone())
    }

    fn decoder(&mut self) -> ProstDecoder<T> {
        ProstDecoder::new(BufferSettings::default())
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, body: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        if !self.0.is_first() {
            return Err(Status::cancelled("it was taken back"));
        }
        to.put(body);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
