//! The items of a stream are another message.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::{Stream, stream};
use streams::{WatchRequest, clock};

struct Clock;

#[turno::service(clock)]
impl Clock {
    async fn watch(&self, _: WatchRequest) -> turno::Result<impl Stream<Item = turno::Result<WatchRequest>>> {
        Ok(stream::iter([Ok(WatchRequest::default())]))
    }
}

fn main() {
    turno::node("clock").service(|| Clock);
}
