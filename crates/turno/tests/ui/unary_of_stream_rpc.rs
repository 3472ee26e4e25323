//! An rpc that answers a stream, implemented as one that answers once.

#[path = "streams/mod.rs"]
mod streams;

use streams::{Tick, WatchRequest, clock};

struct Clock;

#[turno::service(clock)]
impl Clock {
    async fn watch(&self, _: WatchRequest) -> turno::Result<Tick> {
        Ok(Tick::default())
    }
}

fn main() {
    turno::node("clock").service(|| Clock);
}
