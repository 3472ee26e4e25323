//! Why a gateway could not start. What a *caller* hears is a gRPC status, made where the call fails.

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Configuration, telemetry, ports.
    #[error(transparent)]
    Runtime(#[from] turno_runtime::Error),
    /// The store of tickets cannot be opened.
    #[error("the store of tickets cannot be opened: {0}")]
    Store(#[from] turno_store::Error),
    /// The store of tickets was opened, and does not take the lease of this gateway.
    #[error("the lease of this gateway cannot be stored at {place}: {error}")]
    Lease {
        /// Where tickets are kept.
        place: String,
        /// Why.
        error: turno_store::Error,
    },
    /// The gateway's own descriptors are not what reflection takes.
    #[error("reflection cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}
