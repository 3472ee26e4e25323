//! The tutorial of Turno's README: an `async fn` that awaits a fetch and a job, a stream, and a job of one's own.

mod palette;

use futures_util::{Stream, StreamExt as _, stream};
use turno::cpu::v1::{ThumbnailRequest as Shrink, images};
use turno::io::v1::{FetchRequest, http};
use turno::{Context, Status};

mod proto {
    #![allow(missing_docs, reason = "the .proto documents it")]
    turno::include_proto!("gallery.v1");
}
pub use proto::{
    Colour, PaletteRequest, PaletteResponse, Picture, ThumbnailRequest, ThumbnailsRequest, gallery,
};

/// The service.
#[derive(Debug)]
pub struct Gallery;

#[turno::service(gallery)]
impl Gallery {
    /// Waits: awaited on an I/O node, beside thousands of others.
    async fn thumbnail(&self, ctx: Context, req: ThumbnailRequest) -> turno::Result<Picture> {
        thumbnail(&ctx, req.url, req.width).await
    }

    /// Waits, and answers one by one.
    async fn thumbnails(
        &self,
        ctx: Context,
        req: ThumbnailsRequest,
    ) -> turno::Result<impl Stream<Item = turno::Result<Picture>>> {
        let width = req.width;
        let pictures = req.urls.into_iter().map(move |url| {
            let ctx = ctx.clone();
            async move { thumbnail(&ctx, url, width).await }
        });
        Ok(stream::iter(pictures).buffer_unordered(16))
    }

    /// Works: a job on a worker's pool, and inside it rayon's iterators share that worker's slots.
    fn palette(&self, ctx: Context, req: PaletteRequest) -> turno::Result<PaletteResponse> {
        let picture = image::load_from_memory(&req.picture)
            .map_err(|error| Status::invalid_argument(format!("picture: {error}")))?;
        ctx.checkpoint()?;
        Ok(palette::of(&picture.to_rgb8(), if req.colours == 0 { 5 } else { req.colours.min(64) }))
    }
}

/// Fetched by an I/O node, made small by a worker: two calls, each where its own signature belongs.
async fn thumbnail(ctx: &Context, url: String, width: u32) -> turno::Result<Picture> {
    let fetched = ctx.call::<http::Fetch>(FetchRequest { url, ..FetchRequest::default() }).await?;
    if fetched.status != 200 {
        return Err(Status::not_found(format!("{} answered {}", fetched.url, fetched.status)));
    }
    let width = if width == 0 { 256 } else { width };
    let small =
        ctx.call::<images::Thumbnail>(Shrink { data: fetched.body, width, ..Shrink::default() }).await?;
    Ok(Picture {
        url: fetched.url,
        content_type: small.content_type,
        width: small.width,
        height: small.height,
        data: small.data,
    })
}
