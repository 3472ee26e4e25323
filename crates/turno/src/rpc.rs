//! What `turno-build` generates for each rpc of a `.proto`: a marker type that knows its messages and its name.
//! The bounds here exist for their error messages: rustc checks a service against its `.proto` through them.

use prost::Message;

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
    /// protobuf's `idempotency_level` allows running it again.
    const REPEATABLE: bool;
}

/// An rpc that answers once.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` answers a stream",
    label = "this method answers once",
    note = "write `async fn … -> turno::Result<impl Stream<Item = turno::Result<…>>>`"
)]
pub trait Unary: Rpc {}

/// An rpc that answers a stream.
#[diagnostic::on_unimplemented(
    message = "rpc `{Self}` answers once",
    label = "this method answers a stream",
    note = "write `-> turno::Result<…>` with the rpc's response"
)]
pub trait ServerStreaming: Rpc {}

/// The message that the rpc `R` takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what rpc `{R}` takes",
    label = "not the request that the .proto names"
)]
pub trait RequestOf<R> {}

/// The message that the rpc `R` answers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what rpc `{R}` answers",
    label = "not the response that the .proto names"
)]
pub trait ResponseOf<R> {}
