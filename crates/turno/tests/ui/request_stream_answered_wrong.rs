//! A client stream that answers a stream, and a bidirectional one that answers once.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::Stream;
use streams::{Tick, diary};

struct Diary;

#[turno::service(diary)]
impl Diary {
    async fn sum(
        &self,
        ticks: turno::Streaming<Tick>,
    ) -> turno::Result<impl Stream<Item = turno::Result<Tick>>> {
        Ok(ticks)
    }

    async fn delay(&self, _: turno::Streaming<Tick>) -> turno::Result<Tick> {
        Ok(Tick::default())
    }
}

fn main() {
    turno::node("diary").service(|| Diary);
}
