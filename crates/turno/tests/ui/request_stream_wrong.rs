//! The messages of a stream of requests are others.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::Stream;
use streams::{Tick, WatchRequest, diary};

struct Diary;

#[turno::service(diary)]
impl Diary {
    async fn sum(&self, _: turno::Streaming<WatchRequest>) -> turno::Result<Tick> {
        Ok(Tick::default())
    }

    async fn delay(
        &self,
        ticks: turno::Streaming<Tick>,
    ) -> turno::Result<impl Stream<Item = turno::Result<Tick>>> {
        Ok(ticks)
    }
}

fn main() {
    turno::node("diary").service(|| Diary);
}
