//! A stream that is not in a result.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::{Stream, stream};
use streams::{Tick, WatchRequest, clock};

struct Clock;

#[turno::service(clock)]
impl Clock {
    async fn watch(&self, _: WatchRequest) -> impl Stream<Item = turno::Result<Tick>> {
        stream::iter([Ok(Tick::default())])
    }
}

fn main() {
    turno::node("clock").service(|| Clock);
}
