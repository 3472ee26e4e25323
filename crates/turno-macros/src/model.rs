//! What an impl block under `#[turno::service]` says: the step between reading and writing code.

use syn::{Attribute, Ident, ItemImpl, Path, Type};

/// A service and its methods.
pub(crate) struct Service {
    /// The module that `turno-build` generated for it; `None` when the attribute does not name one.
    pub(crate) module: Option<Path>,
    /// The user's block, emitted unchanged.
    pub(crate) block: ItemImpl,
    pub(crate) methods: Vec<Method>,
    /// Whether some of the block was refused and is not among `methods`.
    pub(crate) is_partial: bool,
}

/// One rpc, as its signature has it.
pub(crate) struct Method {
    pub(crate) name: Ident,
    /// Its `#[cfg(…)]`s.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) place: Place,
    pub(crate) request: Request,
    pub(crate) response: Type,
    pub(crate) failure: Failure,
    pub(crate) context: ContextAt,
}

/// What a method takes.
pub(crate) struct Request {
    /// The message, or that of a `Streaming<…>`.
    pub(crate) message: Type,
    pub(crate) is_stream: bool,
}

/// Where a method runs: the signature is the schedule.
pub(crate) enum Place {
    /// `async fn`: awaited on an I/O node.
    Awaited,
    /// `async fn` that answers a stream, whose items fail in their own way.
    Streamed(Box<Failure>),
    /// `fn`: a job on a worker's pool.
    Job,
}

/// The error of a `Result<…>`.
pub(crate) struct Failure {
    /// The word `Result` itself.
    pub(crate) result: Ident,
    /// The error's type, where the signature names it.
    pub(crate) kind: Option<Type>,
}

/// Whether and where the method takes a `Context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextAt {
    Nowhere,
    BeforeRequest,
    AfterRequest,
}
