//! From the pixels of a file to those of the answer: cut, scaled, then stood upright, which costs next to
//! nothing on the smaller picture. Scaling is `fast_image_resize`'s, on SIMD; alpha is multiplied in before and
//! divided out after, so that what is transparent lends its colour to nothing.

use fast_image_resize::{CropBox, FilterType, ResizeAlg, ResizeError, ResizeOptions, Resizer, SrcCropping};
use image::DynamicImage;

use super::encode::Picture;
use super::error::Error;
use super::source::{Decoded, lies};
use super::target::{Size, Target};

/// How new pixels are made of old ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// The nearest one: for pixel art.
    Nearest,
    /// Soft and quick.
    Bilinear,
    /// Between the two.
    CatmullRom,
    /// The sharpest.
    #[default]
    Lanczos3,
    /// Lanczos3 of what was averaged to twice the size before: to the eye the same as Lanczos3, in half to a
    /// third of its time when much is scaled down.
    Thumbnail,
}

impl Filter {
    fn algorithm(self) -> ResizeAlg {
        match self {
            Self::Nearest => ResizeAlg::Nearest,
            Self::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Self::CatmullRom => ResizeAlg::Convolution(FilterType::CatmullRom),
            Self::Lanczos3 | Self::Thumbnail => ResizeAlg::Convolution(FilterType::Lanczos3),
        }
    }
}

impl<'a> Decoded<'a> {
    /// Cuts, scales and stands it upright.
    pub fn render(self, target: Target, filter: Filter) -> Result<Picture<'a>, Error> {
        let Self { pixels, format, orientation, profile, wanted } = self;
        wanted.check()?;
        // The cut is even on both sides: it is the same whichever way the picture lies.
        let lying = if lies(orientation) { Target { size: target.size.turned(), ..target } } else { target };
        let mut pixels = scaled(pixels, lying, filter).map_err(|error| Error::internal(format, error))?;
        pixels.apply_orientation(orientation);
        Ok(Picture { pixels, format, profile, wanted })
    }
}

fn scaled(pixels: DynamicImage, target: Target, filter: Filter) -> Result<DynamicImage, ResizeError> {
    if size(&pixels) == target.size {
        return Ok(pixels);
    }
    let pixels = if filter == Filter::Thumbnail { averaged(pixels, target.size)? } else { pixels };
    let from = size(&pixels);
    let cut = kept(from, target);
    let by = filter.algorithm();
    match way(from, target.size, filter) {
        Way::AtOnce => pass(&pixels, target.size, cut, by),
        Way::WidthFirst => {
            let between = Size::new(target.size.width, from.height);
            let narrow = pass(&pixels, between, CropBox { top: 0.0, height: from.height.into(), ..cut }, by)?;
            pass(&narrow, target.size, CropBox { left: 0.0, width: between.width.into(), ..cut }, by)
        }
        Way::HeightFirst => {
            let between = Size::new(from.width, target.size.height);
            let flat = pass(&pixels, between, CropBox { left: 0.0, width: from.width.into(), ..cut }, by)?;
            pass(&flat, target.size, CropBox { top: 0.0, height: between.height.into(), ..cut }, by)
        }
    }
}

/// Twice the size of `to`, when the picture is at least four times that.
fn averaged(pixels: DynamicImage, to: Size) -> Result<DynamicImage, ResizeError> {
    let from = size(&pixels);
    if from.width / 4 < to.width || from.height / 4 < to.height {
        return Ok(pixels);
    }
    let twice = Size::new(to.width * 2, to.height * 2);
    pass(&pixels, twice, whole(from), ResizeAlg::Convolution(FilterType::Box))
}

/// In which order the two sides are scaled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    AtOnce,
    WidthFirst,
    HeightFirst,
}

/// The crate scales one side, then the other, in an order of its own. For a long strip that becomes a tall one,
/// the wrong order makes a picture in between that is a thousand times larger than both: 10,000,000 x 10 to
/// 6,000 x 16,384 would pass through 10,000,000 x 16,384. The better order never exceeds the larger of both.
pub(super) fn way(from: Size, to: Size, filter: Filter) -> Way {
    let width_first = Size::new(to.width, from.height).pixels();
    let height_first = Size::new(from.width, to.height).pixels();
    if filter == Filter::Nearest || width_first.max(height_first) <= from.pixels().max(to.pixels()) {
        Way::AtOnce
    } else if width_first < height_first {
        Way::WidthFirst
    } else {
        Way::HeightFirst
    }
}

/// The part of the picture that is kept.
fn kept(from: Size, target: Target) -> CropBox {
    let Size { width, height } = target.size;
    if target.cut {
        CropBox::fit_src_into_dst_size(from.width, from.height, width, height, Some((0.5, 0.5)))
    } else {
        whole(from)
    }
}

fn whole(from: Size) -> CropBox {
    CropBox { left: 0.0, top: 0.0, width: from.width.into(), height: from.height.into() }
}

fn pass(from: &DynamicImage, to: Size, cut: CropBox, by: ResizeAlg) -> Result<DynamicImage, ResizeError> {
    let mut made = DynamicImage::new(to.width, to.height, from.color());
    let mut options = ResizeOptions::new().resize_alg(by);
    options.cropping = SrcCropping::Crop(cut);
    Resizer::new().resize(from, &mut made, &options)?;
    Ok(made)
}

fn size(pixels: &DynamicImage) -> Size {
    Size::new(pixels.width(), pixels.height())
}
