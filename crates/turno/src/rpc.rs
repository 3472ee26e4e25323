//! What `turno-build` generates for each rpc of a `.proto`: a marker type that knows its messages and its name.
//! The bounds here exist for their error messages: rustc checks a service against its `.proto` through them.

use std::marker::PhantomData;

use bytes::Bytes;
use prost::Message;
use tonic::Status;

pub use crate::policy::Policy;

/// An rpc of a `.proto`: `gallery::Thumbnail`.
pub trait Rpc: Send + Sync + 'static {
    /// What it takes.
    type Request: Message + Default + 'static;
    /// What it answers, once or as a stream.
    type Response: Message + Default + 'static;
    /// "gallery.v1.Gallery/Thumbnail"
    const NAME: &'static str;
    /// "/gallery.v1.Gallery/Thumbnail"
    const PATH: &'static str;
    /// "gallery.v1.Picture", the full name of what it answers; empty when it is not known.
    const RESPONSE: &'static str = "";
    /// protobuf's `idempotency_level` allows running it again.
    const REPEATABLE: bool;
    /// What `option (turno.v1.method)` says.
    const POLICY: Policy = Policy::NONE;
}

/// An rpc that takes one message.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` takes a stream, and this method takes one message",
    label = "expected `turno::Streaming<…>` of the rpc's request"
)]
pub trait TakesOne: Rpc {}

/// An rpc that takes a stream.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` takes one message, and this method takes a stream",
    label = "expected the rpc's request itself, not a stream of it"
)]
pub trait TakesStream: Rpc {}

/// An rpc that answers once.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` answers a stream, and this method answers once",
    label = "expected `async fn … -> turno::Result<impl Stream<Item = turno::Result<…>>>`"
)]
pub trait AnswersOne: Rpc {}

/// An rpc that answers a stream.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` answers once, and this method answers a stream",
    label = "expected `-> turno::Result<…>` with the rpc's response"
)]
pub trait AnswersStream: Rpc {}

/// An rpc that takes one message and answers once.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` is not unary: it takes or answers a stream",
    label = "expected an rpc that takes one message and answers once"
)]
pub trait Unary: TakesOne + AnswersOne {}

/// An rpc that takes one message and answers a stream.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` is no server stream",
    label = "expected an rpc that takes one message and answers a stream"
)]
pub trait ServerStreaming: TakesOne + AnswersStream {}

/// An rpc that takes a stream and answers once.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` is no client stream",
    label = "expected an rpc that takes a stream and answers once"
)]
pub trait ClientStreaming: TakesStream + AnswersOne {}

/// An rpc that takes a stream and answers a stream.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` is no bidirectional stream",
    label = "expected an rpc that takes a stream and answers a stream"
)]
pub trait BidiStreaming: TakesStream + AnswersStream {}

#[diagnostic::do_not_recommend]
impl<R: TakesOne + AnswersOne> Unary for R {}

#[diagnostic::do_not_recommend]
impl<R: TakesOne + AnswersStream> ServerStreaming for R {}

#[diagnostic::do_not_recommend]
impl<R: TakesStream + AnswersOne> ClientStreaming for R {}

#[diagnostic::do_not_recommend]
impl<R: TakesStream + AnswersStream> BidiStreaming for R {}

/// The message `T` that the rpc `R` takes: implemented by `T` alone.
#[diagnostic::on_unimplemented(
    message = "rpc `{R}` takes `{T}`, not `{Self}`",
    label = "expected `{T}`, the request that the .proto names"
)]
pub trait RequestOf<R, T>: Sized + Send + 'static {
    /// From the wire.
    #[doc(hidden)]
    fn from_wire(body: Bytes) -> crate::Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<R: Rpc<Request = T>, T: Send + 'static> RequestOf<R, T> for T {
    fn from_wire(body: Bytes) -> crate::Result<Self> {
        decode::<R>(body)
    }
}

#[diagnostic::do_not_recommend]
impl<R, T: Send + 'static> RequestOf<R, Undecided<T>> for T {
    fn from_wire(_: Bytes) -> crate::Result<Self> {
        unreachable!("no rpc takes it")
    }
}

/// The message `T` that the rpc `R` answers: implemented by `T` alone.
#[diagnostic::on_unimplemented(
    message = "rpc `{R}` answers `{T}`, not `{Self}`",
    label = "expected `{T}`, the response that the .proto names"
)]
pub trait ResponseOf<R, T>: 'static {
    /// For the wire.
    #[doc(hidden)]
    fn to_wire(&self) -> Bytes;
}

#[diagnostic::do_not_recommend]
impl<R: Rpc<Response = T>, T: 'static> ResponseOf<R, T> for T {
    fn to_wire(&self) -> Bytes {
        encode::<R>(self)
    }
}

#[diagnostic::do_not_recommend]
impl<R, T: 'static> ResponseOf<R, Undecided<T>> for T {
    fn to_wire(&self) -> Bytes {
        unreachable!("no rpc answers it")
    }
}

/// With a single implementation rustc would take `T` for the user's type before it knows the rpc. With a second
/// one, that no rpc ever meets, it waits, and its error says what the rpc wants.
#[derive(Debug)]
#[doc(hidden)]
pub struct Undecided<T>(PhantomData<T>);

fn decode<R: Rpc>(body: Bytes) -> crate::Result<R::Request> {
    // gRPC's own servers answer INTERNAL here; the caller sent bytes that are not the message, and should hear so.
    R::Request::decode(body).map_err(|error| {
        Status::invalid_argument(format!("the request is not a {}: {error}", short_name::<R::Request>()))
    })
}

fn encode<R: Rpc>(response: &R::Response) -> Bytes {
    response.encode_to_vec().into()
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

/// An error that a method may answer: whatever becomes a [`Status`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not become a `turno::Status`",
    label = "expected `turno::Status`, or an error that becomes one",
    note = "write `impl From<{Self}> for turno::Status`, or answer `turno::Result<…>`"
)]
pub trait Failure: Into<Status> {}

#[diagnostic::do_not_recommend]
impl<E: Into<Status>> Failure for E {}
