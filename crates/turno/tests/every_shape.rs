//! Every shape that a method can have, without a warning. No case of `ui.rs`: trybuild makes all dependencies once more for
//! one that is to pass, and only checks them for those that fail.

#![deny(warnings)]

#[path = "ui/streams/mod.rs"]
#[expect(unreachable_pub, reason = "as turno-build makes it")]
mod streams;

use futures_util::Stream;
use turno::cpu::v1::{
    ConvertRequest, Image, InfoRequest, InfoResponse, ResizeRequest, ThumbnailRequest, images,
};
use turno::io::v1::{FetchRequest, FetchResponse, http};
use turno::{Context, Status, Streaming};

use streams::{Tick, WatchRequest, clock, diary};

struct Sour;

impl std::fmt::Display for Sour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sour")
    }
}

impl From<Sour> for Status {
    fn from(_: Sour) -> Self {
        Self::failed_precondition("the milk is sour")
    }
}

struct Shop;

impl Shop {
    fn helper(&self) -> turno::Result<Image> {
        Err(Sour.into())
    }
}

#[turno::service(images)]
impl Shop {
    fn info(&self, _: InfoRequest, ctx: Context) -> turno::Result<InfoResponse> {
        ctx.checkpoint()?;
        Ok(InfoResponse::default())
    }

    fn thumbnail(&self, ctx: Context, _: ThumbnailRequest) -> Result<Image, Status> {
        ctx.checkpoint()?;
        self.helper()
    }

    fn resize(&self, _: ResizeRequest) -> Result<Image, Sour> {
        Err(Sour)
    }

    async fn convert(&self, ctx: turno::Context, _: ConvertRequest) -> turno::Result<Image> {
        ctx.cancelled().await;
        self.helper()
    }
}

struct Hand;

#[turno::service(http)]
impl Hand {
    #[cfg(any())]
    fn fetch(&self, _: FetchRequest) -> turno::Result<FetchResponse> {
        Err(Sour.into())
    }

    #[cfg(not(any()))]
    async fn fetch(&self, FetchRequest { url, .. }: FetchRequest) -> Result<FetchResponse, Sour> {
        Ok(FetchResponse { url, ..FetchResponse::default() })
    }
}

struct Clock;

#[turno::service(clock)]
impl Clock {
    async fn watch(&self, request: WatchRequest) -> Result<impl Stream<Item = Result<Tick, Sour>>, Sour> {
        let ticks = (0..u64::from(request.count)).map(|number| Ok(Tick { number }));
        Ok(futures_util::stream::iter(ticks))
    }
}

struct Diary;

#[turno::service(diary)]
impl Diary {
    async fn sum(&self, mut ticks: Streaming<Tick>, ctx: Context) -> Result<Tick, Sour> {
        let mut number = 0;
        while let Ok(Some(tick)) = ticks.message().await {
            number += tick.number;
        }
        if ctx.is_cancelled() { Err(Sour) } else { Ok(Tick { number }) }
    }

    async fn delay(
        &self,
        ctx: Context,
        ticks: turno::Streaming<Tick>,
    ) -> turno::Result<impl Stream<Item = turno::Result<Tick>>> {
        ctx.checkpoint()?;
        Ok(ticks)
    }
}

#[test]
fn is_a_node() {
    turno::node("shop").service(|| Shop).service(|| Ok::<_, Sour>(Hand)).service(|| Clock).service(|| Diary);
}
