//! The formats, and how one is told from its first bytes: names and content types are not believed.

use std::fmt;

use image::ImageFormat;

use super::error::Error;

/// A format that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Photographs; no transparency.
    Jpeg,
    /// Lossless, up to 16 bits a channel.
    Png,
    /// Read in all its kinds, written without loss.
    WebP,
    /// Read, its first frame alone; not written.
    Gif,
}

impl Format {
    /// The format that `data` begins like.
    pub fn of(data: &[u8]) -> Result<Self, Error> {
        match image::guess_format(data) {
            Ok(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(ImageFormat::Png) => Ok(Self::Png),
            Ok(ImageFormat::WebP) => Ok(Self::WebP),
            Ok(ImageFormat::Gif) => Ok(Self::Gif),
            _ => Err(Error::NotAPicture),
        }
    }

    /// As HTTP names it: `image/jpeg`.
    pub fn content_type(self) -> &'static str {
        ImageFormat::from(self).to_mime_type()
    }

    /// What a picture that came in this format leaves in, when nobody asks for another.
    pub(super) fn written_as(self) -> Self {
        if self == Self::Gif { Self::Png } else { self }
    }

    /// The longest side that a file of this format can have.
    pub(super) fn longest_side(self) -> u32 {
        match self {
            Self::Jpeg | Self::Gif => 65_535,
            Self::WebP => 16_383,
            Self::Png => i32::MAX as u32,
        }
    }
}

impl From<Format> for ImageFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Jpeg => Self::Jpeg,
            Format::Png => Self::Png,
            Format::WebP => Self::WebP,
            Format::Gif => Self::Gif,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
        })
    }
}
