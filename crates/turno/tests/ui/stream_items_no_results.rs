//! The items of a stream are no results.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::{Stream, stream};
use streams::{Tick, WatchRequest, clock};

struct Clock;

#[turno::service(clock)]
impl Clock {
    async fn watch(&self, _: WatchRequest) -> turno::Result<impl Stream<Item = Tick>> {
        Ok(stream::iter([Tick::default()]))
    }
}

fn main() {
    turno::node("clock").service(|| Clock);
}
