//! What an impl block under `#[turno::service]` says: the step between reading and writing code.

use syn::{Ident, ItemImpl, Path, Type};

/// A service and its methods.
pub(crate) struct Service {
    /// The module that `turno-build` generated for it.
    pub(crate) module: Path,
    /// The user's block, emitted unchanged.
    pub(crate) block: ItemImpl,
    pub(crate) methods: Vec<Method>,
}

/// One rpc, as its signature has it.
pub(crate) struct Method {
    pub(crate) name: Ident,
    pub(crate) place: Place,
    pub(crate) request: Type,
    pub(crate) response: Type,
    pub(crate) context: ContextAt,
}

/// Where a method runs: the signature is the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `async fn`: awaited on an I/O node.
    Awaited,
    /// `async fn` that answers a stream.
    Streamed,
    /// `fn`: a job on a worker's pool.
    Job,
}

/// Whether and where the method takes a `Context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextAt {
    Nowhere,
    BeforeRequest,
    AfterRequest,
}
