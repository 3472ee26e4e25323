//! Streams of requests that are no `turno::Streaming`.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::Stream;
use futures_util::stream::BoxStream;
use streams::{Tick, diary};

struct Diary;

#[turno::service(diary)]
impl Diary {
    async fn sum(&self, _: impl Stream<Item = Tick>) -> turno::Result<Tick> {
        Ok(Tick::default())
    }

    async fn delay(
        &self,
        ticks: BoxStream<'static, turno::Result<Tick>>,
    ) -> turno::Result<impl Stream<Item = turno::Result<Tick>>> {
        Ok(ticks)
    }
}

fn main() {
    turno::node("diary").service(|| Diary);
}
