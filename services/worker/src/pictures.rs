//! Pictures, bytes in and bytes out: what the service `turno.cpu.v1.Images` does, with nothing of a service in
//! it. `images.rs` calls it, and says how to ask whether anybody still waits: that is asked between two stages, and in
//! the middle of those that take long (`wanted.rs`), as far as their libraries can be stopped there:
//!
//! ```text
//! Source::open ─▶ Target::… ─▶ Source::decode ─▶ Decoded::render ─▶ Picture::encode
//!  the header     what size     the pixels        cut, scale,        bytes again
//!                                                 stand upright
//! ```
//!
//! Nothing in here panics on hostile bytes, and nothing is unpacked before its size is known and allowed.

mod container;
mod encode;
mod error;
mod format;
mod limits;
mod profile;
mod render;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod wanted;

pub use encode::{Encoded, Encoding, Picture};
pub use error::Error;
pub use format::Format;
pub use limits::Limits;
pub use render::Filter;
pub use source::{Decoded, Info, Source};
pub use target::{Fit, Size, Target};
