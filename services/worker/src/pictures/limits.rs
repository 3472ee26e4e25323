//! How large a picture may be, in and out: a part of the worker's configuration.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::target::Size;

/// The widest pixel of the formats that are read: four channels of 16 bits.
const WIDEST_PIXEL: u64 = 8;
/// What a decoder may want beside the pixels: profiles, text, lines in work.
const BESIDE_THE_PIXELS: u64 = 64 << 20;

/// What this worker takes and makes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most pixels of a picture, going in or coming out. A picture of 100 megapixels wants 300 to 800 MB
    /// while it is worked on; a progressive JPEG twice that.
    pub max_pixels: u64,
    /// The longest side that may be asked for.
    pub max_side: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 100_000_000, max_side: 16_384 }
    }
}

impl Limits {
    /// Refuses a picture that is too large to be unpacked or made.
    pub(super) fn check_pixels(&self, size: Size) -> Result<(), Error> {
        if size.pixels() > self.max_pixels {
            return Err(Error::TooManyPixels { size, limit: self.max_pixels });
        }
        Ok(())
    }

    /// Refuses a size that was asked for.
    pub(super) fn check_target(&self, size: Size) -> Result<(), Error> {
        if size.longest() > self.max_side {
            let limit = self.max_side;
            return Err(Error::BadArgument(format!("{size} is over the {limit} pixels allowed on a side")));
        }
        self.check_pixels(size)
    }

    /// The memory of a decoder, its pixels included.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(WIDEST_PIXEL).saturating_add(BESIDE_THE_PIXELS)
    }

    pub(super) fn of_decoder(&self) -> image::Limits {
        let mut limits = image::Limits::no_limits();
        limits.max_alloc = Some(self.max_bytes());
        limits
    }
}
