//! One HTTP exchange in the name of a caller whom the node does not trust: guarded, limited, timed. Called by
//! `http.rs`, which puts it on the wire; knows neither the SDK nor its messages.
//!
//! - `target`: which addresses a node may reach, a pure function.
//! - `resolver`: the same rule for the addresses that a name has at the moment of connecting.
//! - `hop`: one request of a chain, and the one that a redirect makes of it.
//! - `body`: a response's body, cut at a limit.
//! - `fetcher`: sends hop after hop over connections that are kept.
//!
//! No byte ever goes to an address that `target::allowed` has not let through, whatever the URL, DNS or a
//! redirect say; nothing is read from the environment but the platform's root certificates.

mod body;
mod error;
mod fetcher;
mod hop;
mod message;
mod resolver;
pub mod target;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use fetcher::{FetchConfig, Fetcher};
pub use message::{Request, Response};
