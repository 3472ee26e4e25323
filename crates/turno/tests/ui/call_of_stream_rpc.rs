//! A nested call by the verb of another kind of rpc.

#[path = "streams/mod.rs"]
mod streams;

use futures_util::stream;
use streams::{Tick, WatchRequest, clock, diary};

async fn tell(ctx: turno::Context) -> turno::Result<()> {
    ctx.call::<clock::Watch>(WatchRequest::default()).await?;
    ctx.client_stream::<diary::Delay>(stream::iter([Tick::default()])).await?;
    Ok(())
}

fn main() {
    let _ = tell;
}
