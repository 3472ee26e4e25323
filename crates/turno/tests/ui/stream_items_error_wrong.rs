//! The items of a stream fail with what is no status.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::{Stream, stream};
use streams::{Tick, WatchRequest, clock};

struct Late;

struct Clock;

#[turno::service(clock)]
impl Clock {
    async fn watch(&self, _: WatchRequest) -> turno::Result<impl Stream<Item = Result<Tick, Late>>> {
        Ok(stream::iter([Err(Late)]))
    }
}

fn main() {
    turno::node("clock").service(|| Clock);
}
