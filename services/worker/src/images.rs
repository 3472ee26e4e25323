//! The service `turno.cpu.v1.Images`: between the messages of its .proto and [`pictures`]. Its three heavy methods
//! end when nobody waits for the answer any more.

use std::sync::Arc;

use turno::cpu::v1::{
    ConvertRequest, Filter, Fit, Format, Image, InfoRequest, InfoResponse, ResizeRequest, ThumbnailRequest,
    images,
};
use turno::{Code, Context, Status};

use crate::pictures::{self, Encoded, Encoding, Limits, Size, Source, Target};

/// Reads, scales and converts pictures.
pub struct Images {
    limits: Limits,
}

impl Images {
    /// A service that takes and makes pictures up to these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

#[turno::service(images)]
impl Images {
    fn info(&self, req: InfoRequest) -> turno::Result<InfoResponse> {
        let info = Source::open(&req.data, &self.limits)?.info();
        Ok(InfoResponse {
            format: Format::from(info.format).into(),
            width: info.size.width,
            height: info.size.height,
            exif_orientation: info.orientation.into(),
            has_alpha: info.has_alpha,
        })
    }

    fn thumbnail(&self, ctx: Context, req: ThumbnailRequest) -> turno::Result<Image> {
        let encoding = encoding(req.format, req.quality)?;
        let target = |size| Ok(Target::thumbnail(size, req.width, req.height));
        self.made(&ctx, &req.data, target, pictures::Filter::Thumbnail, encoding)
    }

    fn resize(&self, ctx: Context, req: ResizeRequest) -> turno::Result<Image> {
        let (fit, filter) = (fit(req.fit)?, filter(req.filter)?);
        let encoding = encoding(req.format, req.quality)?;
        let target = |size| Target::resize(size, req.width, req.height, fit, &self.limits);
        self.made(&ctx, &req.data, target, filter, encoding)
    }

    fn convert(&self, ctx: Context, req: ConvertRequest) -> turno::Result<Image> {
        let encoding = encoding(req.format, req.quality)?;
        let target = |size| Ok(Target::whole(size));
        self.made(&ctx, &req.data, target, pictures::Filter::default(), encoding)
    }
}

impl Images {
    /// All stages, for as long as somebody waits.
    fn made(
        &self,
        ctx: &Context,
        data: &[u8],
        target: impl FnOnce(Size) -> Result<Target, pictures::Error>,
        filter: pictures::Filter,
        encoding: Encoding,
    ) -> turno::Result<Image> {
        let wanted = || ctx.checkpoint().is_ok();
        let made = Source::open_while(data, &self.limits, &wanted).and_then(|source| {
            let target = target(source.size())?;
            source.decode()?.render(target, filter)?.encode(encoding)
        });
        if matches!(made, Err(pictures::Error::Unwanted)) {
            // It knows why.
            ctx.checkpoint()?;
        }
        Ok(made?.into())
    }
}

fn encoding(format: i32, quality: u32) -> turno::Result<Encoding> {
    let format = match Format::try_from(format).map_err(|_| unknown("format", format))? {
        Format::Unspecified => None,
        Format::Jpeg => Some(pictures::Format::Jpeg),
        Format::Png => Some(pictures::Format::Png),
        Format::Webp => Some(pictures::Format::WebP),
        Format::Gif => Some(pictures::Format::Gif),
    };
    Ok(Encoding::new(format, quality)?)
}

fn fit(number: i32) -> turno::Result<pictures::Fit> {
    Ok(match Fit::try_from(number).map_err(|_| unknown("fit", number))? {
        Fit::Unspecified => pictures::Fit::Stretch,
        Fit::Contain => pictures::Fit::Contain,
        Fit::Cover => pictures::Fit::Cover,
    })
}

fn filter(number: i32) -> turno::Result<pictures::Filter> {
    Ok(match Filter::try_from(number).map_err(|_| unknown("filter", number))? {
        Filter::Unspecified | Filter::Lanczos3 => pictures::Filter::Lanczos3,
        Filter::Nearest => pictures::Filter::Nearest,
        Filter::Bilinear => pictures::Filter::Bilinear,
        Filter::CatmullRom => pictures::Filter::CatmullRom,
    })
}

fn unknown(field: &str, number: i32) -> Status {
    Status::invalid_argument(format!("there is no {field} {number}"))
}

impl From<pictures::Format> for Format {
    fn from(format: pictures::Format) -> Self {
        match format {
            pictures::Format::Jpeg => Self::Jpeg,
            pictures::Format::Png => Self::Png,
            pictures::Format::WebP => Self::Webp,
            pictures::Format::Gif => Self::Gif,
        }
    }
}

impl From<Encoded> for Image {
    fn from(encoded: Encoded) -> Self {
        Self {
            data: encoded.data.into(),
            format: Format::from(encoded.format).into(),
            width: encoded.size.width,
            height: encoded.size.height,
            content_type: encoded.format.content_type().to_owned(),
        }
    }
}

impl From<pictures::Error> for Status {
    fn from(error: pictures::Error) -> Self {
        let mut status = Self::new(code(&error), error.to_string());
        status.set_source(Arc::new(error));
        status
    }
}

fn code(error: &pictures::Error) -> Code {
    use pictures::Error;
    match error {
        Error::NotAPicture | Error::Damaged { .. } | Error::Unsupported { .. } | Error::BadArgument(_) => {
            Code::InvalidArgument
        }
        Error::TooManyPixels { .. } | Error::TooMuchMemory { .. } => Code::ResourceExhausted,
        Error::Unwanted => Code::Cancelled,
        Error::Internal { .. } => Code::Internal,
    }
}
