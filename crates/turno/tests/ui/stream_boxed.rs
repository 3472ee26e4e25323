//! A boxed stream, whose message a macro cannot see.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::stream::{self, BoxStream};
use streams::{Tick, WatchRequest, clock};

struct Clock;

#[turno::service(clock)]
impl Clock {
    async fn watch(&self, _: WatchRequest) -> turno::Result<BoxStream<'static, turno::Result<Tick>>> {
        Ok(Box::pin(stream::iter([Ok(Tick::default())])))
    }
}

fn main() {
    turno::node("clock").service(|| Clock);
}
