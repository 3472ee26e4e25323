//! The way in: a file's header, its pixels only when they are asked for and allowed.

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::container::{self, WebP};
use super::error::Error;
use super::format::Format;
use super::limits::Limits;
use super::profile;
use super::target::Size;
use super::wanted::{Sips, Wanted};

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Told from the content.
    pub format: Format,
    /// Upright.
    pub size: Size,
    /// EXIF's number, 1 to 8; 1 when the file says nothing of it.
    pub orientation: u8,
    /// Whether the pixels have an alpha channel. Those of a GIF always do.
    pub has_alpha: bool,
}

/// A picture file whose header has been read, and nothing but its header.
pub struct Source<'a> {
    data: &'a [u8],
    format: Format,
    webp: Option<WebP<'a>>,
    orientation: Orientation,
    decoder: Box<dyn ImageDecoder + 'a>,
    limits: &'a Limits,
    wanted: Wanted<'a>,
}

static ALWAYS: fn() -> bool = || true;

impl<'a> Source<'a> {
    /// Reads the header. How many pixels it announces is not judged yet: see [`Source::decode`].
    pub fn open(data: &'a [u8], limits: &'a Limits) -> Result<Self, Error> {
        Self::open_while(data, limits, &ALWAYS)
    }

    /// The same, for a picture that is made only as long as it is `wanted`. That is asked often, some hundred or thousand
    /// times a second; once the answer is no, every stage ends soon, with [`Error::Unwanted`].
    pub fn open_while(
        data: &'a [u8],
        limits: &'a Limits,
        wanted: &'a dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let (format, wanted) = (Format::of(data)?, Wanted(wanted));
        let webp = if format == Format::WebP { Some(WebP::read(data)?) } else { None };
        let data = webp.as_ref().map_or(data, |webp| webp.file);
        let mut decoder = decoder(data, format, limits, wanted)?;
        let orientation = orientation(webp.as_ref(), decoder.as_mut());
        let source = Self { data, format, webp, orientation, decoder, limits, wanted };
        source.check_not_empty()?;
        Ok(source)
    }

    fn check_not_empty(&self) -> Result<(), Error> {
        let size = self.stored();
        match size.pixels() {
            0 => Err(Error::damaged(self.format, format!("it announces {size} pixels"))),
            _ => Ok(()),
        }
    }

    /// All that the header says.
    pub fn info(&self) -> Info {
        Info {
            format: self.format,
            size: self.size(),
            orientation: self.orientation.to_exif(),
            has_alpha: self.decoder.color_type().has_alpha(),
        }
    }

    /// Upright.
    pub fn size(&self) -> Size {
        if lies(self.orientation) { self.stored().turned() } else { self.stored() }
    }

    /// As the pixels lie in the file.
    fn stored(&self) -> Size {
        let (width, height) = self.decoder.dimensions();
        Size::new(width, height)
    }

    /// Unpacks the pixels, unless there are more than the limits allow.
    pub fn decode(mut self) -> Result<Decoded<'a>, Error> {
        self.wanted.check()?;
        self.limits.check_pixels(self.stored())?;
        if self.format == Format::Jpeg {
            container::check_jpeg_is_whole(self.data)?;
        }
        let profile = profile::fitting(self.profile(), self.decoder.color_type());
        let pixels = pixels(self.decoder, self.limits)
            .map_err(|error| Error::decoding(self.format, self.limits.max_bytes(), &error))
            .map_err(|error| self.wanted.or(error))?;
        let (format, orientation, wanted) = (self.format, self.orientation, self.wanted);
        Ok(Decoded { pixels, format, orientation, profile, wanted })
    }

    fn profile(&mut self) -> Option<Vec<u8>> {
        match &self.webp {
            Some(webp) => webp.chunk(b"ICCP").map(<[u8]>::to_vec),
            None => self.decoder.icc_profile().ok().flatten(),
        }
    }
}

fn decoder<'a>(
    data: &'a [u8],
    format: Format,
    limits: &Limits,
    wanted: Wanted<'a>,
) -> Result<Box<dyn ImageDecoder + 'a>, Error> {
    let mut reader = ImageReader::with_format(Sips::new(data, wanted), ImageFormat::from(format));
    reader.limits(limits.of_decoder());
    match reader.into_decoder() {
        Ok(decoder) => Ok(Box::new(decoder)),
        Err(error) => Err(wanted.or(Error::decoding(format, limits.max_bytes(), &error))),
    }
}

/// What EXIF says; a picture with broken EXIF is taken as it lies.
fn orientation(webp: Option<&WebP<'_>>, decoder: &mut dyn ImageDecoder) -> Orientation {
    let found = match webp {
        Some(webp) => webp.chunk(b"EXIF").and_then(Orientation::from_exif_chunk),
        None => decoder.orientation().ok(),
    };
    found.unwrap_or(Orientation::NoTransforms)
}

fn pixels(mut decoder: Box<dyn ImageDecoder + '_>, limits: &Limits) -> image::ImageResult<DynamicImage> {
    let mut rest = limits.of_decoder();
    rest.reserve(decoder.total_bytes())?;
    decoder.set_limits(rest)?;
    DynamicImage::from_decoder(decoder)
}

/// Whether width and height change places when the picture is stood upright.
pub(super) fn lies(orientation: Orientation) -> bool {
    orientation.to_exif() >= 5
}

/// A picture's pixels, as they lie in the file: not upright yet.
pub struct Decoded<'a> {
    pub(super) pixels: DynamicImage,
    pub(super) format: Format,
    pub(super) orientation: Orientation,
    pub(super) profile: Option<Vec<u8>>,
    pub(super) wanted: Wanted<'a>,
}
