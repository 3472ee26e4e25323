//! What the demo measures: the same calls one after the other and together. Three rounds of work, alternating; the
//! medians count.

use std::future::Future;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use serde::Serialize;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest as _, Status};
use tonic_prost::ProstCodec;
use turno::cpu::v1::{Format, Image, InfoRequest, ThumbnailRequest, images};
use turno::io::v1::{FetchRequest, http};
use turno::rpc::Unary;
use turno_runtime::units::Span;

use crate::demo::ROUND_PATIENCE;
use crate::demo::sheet::{Bar, Figure, Sheet, Thumbnail};
use crate::demo::shop::Shop;

/// One comparison, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    /// One call at a time.
    pub(crate) alone_s: f64,
    /// All at once.
    pub(crate) together_s: f64,
    /// The first ÷ the second.
    pub(crate) ratio: f64,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) waiting: Times,
    pub(crate) working: Times,
    pub(crate) megapixels: f64,
    pub(crate) thumbnails: Vec<Thumbnail>,
}

const WORKING_ROUNDS: usize = 3;
const BOX: u32 = 320;

/// Fetches and thumbnails every picture of the shop.
pub(crate) async fn run(clients: u16, shop: &Shop, bar: impl Fn(&str, u64) -> ProgressBar) -> Result<Story> {
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{clients}"))?.connect().await?;
    let count = shop.len();
    let fetch = |number: usize| fetched(channel.clone(), shop.url(number));
    let (alone_s, _) = one_by_one(&bar("fetching one after the other", count as u64), count, fetch).await?;
    let (together_s, pictures) = together(&bar("fetching together", count as u64), count, fetch).await?;
    let waiting = times(alone_s, together_s);
    let thumbnail = |number: usize| {
        let (channel, picture) = (channel.clone(), pictures[number].clone());
        async move { thumbnailed(channel, picture).await.with_context(|| shop.pictures()[number].name.clone()) }
    };
    let working_bar = bar("thumbnails: one slot, then all", (2 * WORKING_ROUNDS * count) as u64);
    let (mut alone, mut all, mut made) = (Vec::new(), Vec::new(), Vec::new());
    // The first calls warm the pools up, and count for neither side.
    together(&ProgressBar::hidden(), count.min(4), thumbnail).await?;
    for _ in 0..WORKING_ROUNDS {
        alone.push(one_by_one(&working_bar, count, thumbnail).await?.0);
        let (seconds, thumbnails) = together(&working_bar, count, thumbnail).await?;
        all.push(seconds);
        made = thumbnails;
    }
    let working = times(median(alone), median(all));
    let sizes =
        together(&ProgressBar::hidden(), count, |number| sized(channel.clone(), pictures[number].clone()))
            .await?
            .1;
    let megapixels =
        sizes.iter().map(|(width, height)| f64::from(*width) * f64::from(*height) / 1e6).sum::<f64>()
            / count as f64;
    let names = shop.pictures().iter().map(|picture| picture.name.clone());
    let thumbnails =
        names.zip(made).zip(sizes).map(|((name, image), size)| card(name, image, size)).collect();
    Ok(Story { waiting, working, megapixels, thumbnails })
}

/// The page that shows it.
pub(crate) fn sheet(story: &Story, latency: Span, slots: u32, workers: u32) -> Sheet {
    let figure = |label: &str, times: Times, detail: String, bars: [&str; 2]| Figure {
        label: label.to_owned(),
        value: format!("{:.1} ×", times.ratio),
        detail,
        bars: vec![
            Bar { label: bars[0].to_owned(), seconds: times.alone_s },
            Bar { label: bars[1].to_owned(), seconds: times.together_s },
        ],
    };
    let waiting =
        format!("async fn Http/Fetch on one I/O node; the server makes each request wait {latency}");
    let working = format!("fn Images/Thumbnail on {workers} workers, {slots} slots in all");
    Sheet {
        title: "The signature is the schedule".to_owned(),
        subtitle: format!("{} pictures, fetched and thumbnailed by a Turno mesh", story.thumbnails.len()),
        figures: vec![
            figure("Waiting together", story.waiting, waiting, ["one after the other", "together"]),
            figure("Working in parallel", story.working, working, ["on one slot", "on all slots"]),
        ],
        thumbnails: story.thumbnails.clone(),
    }
}

fn card(name: String, image: Image, (width, height): (u32, u32)) -> Thumbnail {
    let detail = format!("{width} × {height}");
    Thumbnail { name, bytes: image.data.to_vec(), width: image.width, height: image.height, detail }
}

async fn fetched(channel: Channel, url: String) -> Result<Bytes> {
    let request = FetchRequest { url, ..FetchRequest::default() };
    let fetched = call::<http::Fetch>(channel, request).await.map_err(said)?;
    ensure!(fetched.status == 200, "{} answered {}", fetched.url, fetched.status);
    Ok(fetched.body)
}

async fn thumbnailed(channel: Channel, data: Bytes) -> Result<Image> {
    let request = ThumbnailRequest { data, width: BOX, height: BOX, format: Format::Jpeg.into(), quality: 0 };
    call::<images::Thumbnail>(channel, request).await.map_err(said)
}

async fn sized(channel: Channel, data: Bytes) -> Result<(u32, u32)> {
    let info = call::<images::Info>(channel, InfoRequest { data }).await.map_err(said)?;
    Ok((info.width, info.height))
}

/// A status in gRPC's own words.
fn said(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", turno_proto::status::code_name(status.code()), status.message())
}

async fn call<R: Unary>(channel: Channel, request: R::Request) -> Result<R::Response, Status> {
    let mut client =
        Grpc::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(R::PATH);
    Ok(client.unary(request.into_request(), path, ProstCodec::default()).await?.into_inner())
}

async fn one_by_one<T, F: Future<Output = Result<T>>>(
    bar: &ProgressBar,
    count: usize,
    call: impl Fn(usize) -> F,
) -> Result<(f64, Vec<T>)> {
    timed(async {
        let mut done = Vec::with_capacity(count);
        for number in 0..count {
            done.push(call(number).await?);
            bar.inc(1);
        }
        Ok(done)
    })
    .await
}

async fn together<T, F: Future<Output = Result<T>>>(
    bar: &ProgressBar,
    count: usize,
    call: impl Fn(usize) -> F,
) -> Result<(f64, Vec<T>)> {
    let counted = |number| {
        let call = call(number);
        async move { call.await.inspect(|_| bar.inc(1)) }
    };
    timed(try_join_all((0..count).map(counted))).await
}

async fn timed<T>(round: impl Future<Output = Result<T>>) -> Result<(f64, T)> {
    let started = Instant::now();
    let done = tokio::time::timeout(ROUND_PATIENCE, round).await.context("a round took too long")??;
    Ok((started.elapsed().as_secs_f64(), done))
}

fn times(alone_s: f64, together_s: f64) -> Times {
    Times { alone_s, together_s, ratio: alone_s / together_s }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
