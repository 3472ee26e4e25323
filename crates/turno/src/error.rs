//! Why a node or a client could not start or keep its links. What a *method* answers is a [`crate::Status`].

/// Why a node or a client could not be started, or a link not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Configuration, telemetry, ports.
    #[error(transparent)]
    Runtime(#[from] turno_runtime::Error),
    /// The user's own constructor failed.
    #[error("service {service} cannot be made: {reason}")]
    Service {
        /// The Rust type.
        service: &'static str,
        /// What its constructor said.
        reason: String,
    },
    /// Two services of one node claim the same method.
    #[error("{method} is served twice by this node")]
    Twice {
        /// "gallery.v1.Gallery/Thumbnail"
        method: &'static str,
    },
    /// Nothing would be served in this role.
    #[error(
        "node {name} has no method for role {role}: a worker serves plain `fn`s, an I/O node `async fn`s"
    )]
    NothingToServe {
        /// The node's name.
        name: String,
        /// The role asked for.
        role: crate::node::config::Role,
    },
    /// The threads for jobs could not be started.
    #[error("the pool cannot be started: {0}")]
    Pool(String),
    /// A client cannot dial what it was given.
    #[error("{address:?} cannot be dialled: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The thread that looks for `async fn`s that block could not be started.
    #[error("the watchdog cannot be started: {source}")]
    Watchdog {
        /// What the system said.
        source: std::io::Error,
    },
    /// No connection to the gateway.
    #[error("gateway {gateway} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        gateway: String,
        /// What the transport said.
        reason: String,
    },
    /// The gateway does not let this node in.
    #[error("gateway {gateway} refuses this node: {reason}")]
    Refused {
        /// Its address.
        gateway: String,
        /// What it said.
        reason: String,
    },
    /// The gateway has ended, and said so.
    #[error("gateway {gateway} has ended")]
    Ended {
        /// The gateway's address.
        gateway: String,
    },
    /// The link broke.
    #[error("link to {gateway} lost: {reason}")]
    Lost {
        /// The gateway's address.
        gateway: String,
        /// What the transport said.
        reason: String,
    },
}
