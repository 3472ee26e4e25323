//! What `turno-build` makes of `clock.proto`, for the cases that need rpcs with streams: a case has no
//! build script. A test of `turno-build` sees to it that this stays what it makes.

include!("clock.v1.rs");
