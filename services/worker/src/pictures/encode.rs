//! The way out: an upright picture into the bytes of a file, with its colour profile and nothing else of what
//! came with it.

use std::io::Write;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ColorType, DynamicImage, ImageEncoder, ImageResult, RgbImage};

use super::error::Error;
use super::format::Format;
use super::target::Size;
use super::wanted::{Page, Wanted};

const DEFAULT_QUALITY: u8 = 80;
const WHITE: u32 = 255;

/// What is to come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    format: Option<Format>,
    quality: u8,
}

impl Encoding {
    /// `None` is the format the picture came in, a PNG for a GIF. `quality` is 1 to 100, and 80 when zero.
    pub fn new(format: Option<Format>, quality: u32) -> Result<Self, Error> {
        if format == Some(Format::Gif) {
            return Err(Error::BadArgument("GIF is read only: ask for JPEG, PNG or WebP".into()));
        }
        let quality = match u8::try_from(quality) {
            Ok(0) => DEFAULT_QUALITY,
            Ok(quality @ 1..=100) => quality,
            _ => return Err(Error::BadArgument(format!("quality {quality} is not in 1 to 100"))),
        };
        Ok(Self { format, quality })
    }
}

/// A picture in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The file.
    pub data: Vec<u8>,
    /// Its format.
    pub format: Format,
    /// Its size.
    pub size: Size,
}

/// An upright picture, ready to be written.
pub struct Picture<'a> {
    pub(super) pixels: DynamicImage,
    pub(super) format: Format,
    pub(super) profile: Option<Vec<u8>>,
    pub(super) wanted: Wanted<'a>,
}

impl Picture<'_> {
    /// Writes it.
    pub fn encode(self, encoding: Encoding) -> Result<Encoded, Error> {
        let format = encoding.format.unwrap_or(self.format.written_as());
        let size = Size::new(self.pixels.width(), self.pixels.height());
        check_fits(size, format)?;
        self.wanted.check()?;
        let mut page = Page::new(self.wanted);
        match format {
            Format::Jpeg => {
                let encoder = JpegEncoder::new_with_quality(&mut page, encoding.quality);
                write(encoder, &opaque(self.pixels), self.profile)
            }
            Format::WebP => write(WebPEncoder::new_lossless(&mut page), &of_bytes(self.pixels), self.profile),
            Format::Png | Format::Gif => write(png(&mut page), &self.pixels, self.profile),
        }
        .map_err(|error| self.wanted.or(Error::internal(format, error)))?;
        Ok(Encoded { data: page.into_file(), format, size })
    }
}

fn check_fits(size: Size, format: Format) -> Result<(), Error> {
    let limit = format.longest_side();
    if size.longest() > limit {
        let reason = format!("{size} is over the {limit} pixels that a side of a {format} can have");
        return Err(Error::BadArgument(reason));
    }
    Ok(())
}

/// The slower levels take sixty times as long for three parts in a hundred.
fn png<W: Write>(page: W) -> PngEncoder<W> {
    PngEncoder::new_with_quality(page, CompressionType::Fast, FilterType::Adaptive)
}

fn write(mut encoder: impl ImageEncoder, pixels: &DynamicImage, profile: Option<Vec<u8>>) -> ImageResult<()> {
    if let Some(profile) = profile {
        encoder.set_icc_profile(profile).map_err(image::ImageError::Unsupported)?;
    }
    pixels.write_with_encoder(encoder)
}

/// Eight bits a channel.
fn of_bytes(pixels: DynamicImage) -> DynamicImage {
    match pixels.color() {
        ColorType::L16 => pixels.into_luma8().into(),
        ColorType::La16 => pixels.into_luma_alpha8().into(),
        ColorType::Rgb16 => pixels.into_rgb8().into(),
        ColorType::Rgba16 => pixels.into_rgba8().into(),
        _ => pixels,
    }
}

/// Eight bits a channel and laid on white: a JPEG is never transparent.
fn opaque(pixels: DynamicImage) -> DynamicImage {
    match of_bytes(pixels) {
        DynamicImage::ImageLumaA8(gray) => {
            let (width, height) = gray.dimensions();
            image::GrayImage::from_fn(width, height, |x, y| {
                let [level, alpha] = gray.get_pixel(x, y).0;
                image::Luma([on_white(level, alpha)])
            })
            .into()
        }
        DynamicImage::ImageRgba8(colour) => {
            let (width, height) = colour.dimensions();
            RgbImage::from_fn(width, height, |x, y| {
                let [red, green, blue, alpha] = colour.get_pixel(x, y).0;
                image::Rgb([red, green, blue].map(|level| on_white(level, alpha)))
            })
            .into()
        }
        opaque => opaque,
    }
}

fn on_white(level: u8, alpha: u8) -> u8 {
    let (level, alpha) = (u32::from(level), u32::from(alpha));
    let mixed = level * alpha + WHITE * (255 - alpha);
    u8::try_from((mixed + 127) / 255).expect("a mean of two bytes is a byte")
}
