//! Rpcs that take a stream, implemented as ones that take one message.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::{Stream, stream};
use streams::{Tick, diary};

struct Diary;

#[turno::service(diary)]
impl Diary {
    async fn sum(&self, tick: Tick) -> turno::Result<Tick> {
        Ok(tick)
    }

    async fn delay(&self, tick: Tick) -> turno::Result<impl Stream<Item = turno::Result<Tick>>> {
        Ok(stream::iter([Ok(tick)]))
    }
}

fn main() {
    turno::node("diary").service(|| Diary);
}
