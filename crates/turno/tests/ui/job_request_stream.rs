//! A plain `fn` that takes a stream.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::Stream;
use streams::{Tick, diary};

struct Diary;

#[turno::service(diary)]
impl Diary {
    fn sum(&self, _: turno::Streaming<Tick>) -> turno::Result<Tick> {
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
