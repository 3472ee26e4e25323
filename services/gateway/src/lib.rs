//! The gateway: takes any gRPC call, finds the node for it, and never decodes a user's message.
//!
//! A call's way through the files: `listen` accepts a connection, `edge` reads a request, `admission` lets it
//! in, `calls` carries it through attempts, `router` picks an I/O node or `queue` waits for a worker's slot,
//! `link` and `carry` bring it to the node and its outcome back. `methods` and `nodes` are what is known;
//! `scheduler` and `window` decide, and touch neither clock nor network. `course` notes how far a call is, and `bill` what it
//! leaves behind. `tickets` keeps what was submitted, and has it run.

mod account;
mod admin;
mod admission;
mod attempts;
mod batch;
mod bill;
mod calls;
mod carry;
mod clients;
mod config;
mod course;
mod descriptors;
mod edge;
mod error;
mod gateway;
mod health;
mod limit;
mod link;
mod listen;
mod map;
mod mesh;
mod methods;
mod nodes;
mod outliers;
mod policy;
mod quarantine;
mod queue;
mod quote;
mod reflection;
mod router;
mod run;
pub mod scheduler;
mod spending;
mod store_url;
mod tenants;
mod tickets;
mod token;
mod trouble;
mod unread;
pub mod window;
mod wishes;

pub use config::{GatewayConfig, GatewayFlags};
pub use error::Error;
pub use gateway::{Gateway, Running};
pub use run::run;
pub use store_url::without_password;
