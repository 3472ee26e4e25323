//! A stream that holds an `Rc`.

#[path = "streams/mod.rs"]
mod streams;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::Stream;
use streams::{Tick, WatchRequest, clock};

struct Ticks(Rc<u64>);

impl Stream for Ticks {
    type Item = turno::Result<Tick>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Ok(Tick { number: *self.0 })))
    }
}

struct Clock;

#[turno::service(clock)]
impl Clock {
    async fn watch(&self, _: WatchRequest) -> turno::Result<impl Stream<Item = turno::Result<Tick>>> {
        Ok(Ticks(Rc::new(1)))
    }
}

fn main() {
    turno::node("clock").service(|| Clock);
}
