//! Tests of the whole way from bytes to bytes, and what they share.

mod colours;
mod formats;
mod hostile;
mod sizes;
mod upright;
mod wanted;

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};

use super::{Encoded, Encoding, Error, Filter, Format, Limits, Source, Target};

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255, 255, 255];

const ROCKET: &[u8] = include_bytes!("../../testdata/rocket.jpg");
const MOON: &[u8] = include_bytes!("../../testdata/moon.png");
const CHELSEA: &[u8] = include_bytes!("../../testdata/chelsea.png");
const CMYK: &[u8] = include_bytes!("../../testdata/cmyk.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../../testdata/progressive.jpg");
const PALETTE: &[u8] = include_bytes!("../../testdata/palette.png");
const LOSSY_WEBP: &[u8] = include_bytes!("../../testdata/lossy.webp");
const ANIMATED_GIF: &[u8] = include_bytes!("../../testdata/animated.gif");
const ANIMATED_WEBP: &[u8] = include_bytes!("../../testdata/animated.webp");

/// Every stage, as `images.rs` walks them.
fn through(
    data: &[u8],
    target: impl FnOnce(&Source<'_>) -> Result<Target, Error>,
    filter: Filter,
    format: Option<Format>,
) -> Result<Encoded, Error> {
    let limits = Limits { max_pixels: 1_000_000, ..Limits::default() };
    let source = Source::open(data, &limits)?;
    let target = target(&source)?;
    source.decode()?.render(target, filter)?.encode(Encoding::new(format, 90)?)
}

fn thumbnail(data: &[u8], width: u32, height: u32, format: Option<Format>) -> Result<Encoded, Error> {
    through(data, |source| Ok(Target::thumbnail(source.size(), width, height)), Filter::Thumbnail, format)
}

fn convert(data: &[u8], format: Option<Format>) -> Result<Encoded, Error> {
    through(data, |source| Ok(Target::whole(source.size())), Filter::Lanczos3, format)
}

fn encoded(pixels: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut data = Cursor::new(Vec::new());
    pixels.into().write_to(&mut data, format).unwrap();
    data.into_inner()
}

fn decoded(file: &Encoded) -> DynamicImage {
    let pixels = image::load_from_memory_with_format(&file.data, file.format.into()).unwrap();
    assert_eq!((pixels.width(), pixels.height()), (file.size.width, file.size.height), "what is announced");
    pixels
}

/// Red and green above blue and white.
fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb(match (x < width / 2, y < height / 2) {
            (true, true) => RED,
            (false, true) => GREEN,
            (true, false) => BLUE,
            (false, false) => WHITE,
        })
    })
}

/// The colours in the middle of the four quarters: top left, top right, bottom left, bottom right.
fn corners(pixels: &DynamicImage) -> [[u8; 3]; 4] {
    let pixels = pixels.to_rgb8();
    let (width, height) = pixels.dimensions();
    let (right, low) = (width * 3 / 4, height * 3 / 4);
    [(width / 4, height / 4), (right, height / 4), (width / 4, low), (right, low)]
        .map(|(x, y)| pixels.get_pixel(x, y).0)
}

fn assert_near(found: &[u8], wanted: &[u8], apart: u8) {
    let near = found.iter().zip(wanted).all(|(a, b)| a.abs_diff(*b) <= apart);
    assert!(near && found.len() == wanted.len(), "{found:?} is not {wanted:?} within {apart}");
}

fn assert_quarters(pixels: &DynamicImage) {
    for (found, wanted) in corners(pixels).iter().zip([RED, GREEN, BLUE, WHITE]) {
        assert_near(found, &wanted, 12);
    }
}
