//! A plain `fn` that answers a stream.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::{Stream, stream};
use streams::{Tick, WatchRequest, clock};

struct Clock;

#[turno::service(clock)]
impl Clock {
    fn watch(&self, _: WatchRequest) -> turno::Result<impl Stream<Item = turno::Result<Tick>>> {
        Ok(stream::iter([Ok(Tick::default())]))
    }
}

fn main() {
    turno::node("clock").service(|| Clock);
}
