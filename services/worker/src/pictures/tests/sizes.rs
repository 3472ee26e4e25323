//! What size comes out, and what is cut off.

use image::{GrayImage, ImageFormat, Luma, RgbImage};

use super::{Encoded, decoded, encoded, thumbnail};
use crate::pictures::render::{Way, way};
use crate::pictures::{Encoding, Error, Filter, Fit, Limits, Size, Source, Target};

fn resized(
    file: &[u8],
    width: u32,
    height: u32,
    fit: Fit,
    filter: Filter,
    limits: &Limits,
) -> Result<Encoded, Error> {
    let source = Source::open(file, limits)?;
    let target = Target::resize(source.size(), width, height, fit, limits)?;
    source.decode()?.render(target, filter)?.encode(Encoding::new(None, 0)?)
}

#[test]
fn a_thumbnail_fits_its_box_and_is_never_enlarged() {
    let cases = [
        ((640, 427), (256, 256), (256, 171)),
        ((640, 427), (0, 0), (256, 171)),
        ((427, 640), (0, 0), (171, 256)),
        ((640, 427), (0, 100), (150, 100)),
        ((640, 427), (100, 0), (100, 67)),
        ((640, 427), (640, 427), (640, 427)),
        ((640, 427), (9000, 9000), (640, 427)),
        ((640, 427), (9000, 0), (640, 427)),
        ((10_000, 1), (256, 256), (256, 1)),
        ((1, 10_000), (256, 256), (1, 256)),
        ((1, 1), (256, 256), (1, 1)),
        ((3, 3), (1, 2), (1, 1)),
        ((i32::MAX as u32, 1), (u32::MAX, u32::MAX), (i32::MAX as u32, 1)),
    ];
    for ((width, height), bounds, (wide, high)) in cases {
        let made = Target::thumbnail(Size::new(width, height), bounds.0, bounds.1);
        assert_eq!(made.size, Size::new(wide, high), "{width} x {height} into {bounds:?}");
    }
}

#[test]
fn a_resize_gives_what_was_asked_for() {
    let limits = Limits::default();
    let of = |width, height, fit| Target::resize(Size::new(640, 427), width, height, fit, &limits).unwrap();
    assert_eq!(of(300, 300, Fit::Stretch).size, Size::new(300, 300));
    assert_eq!(of(300, 300, Fit::Cover).size, Size::new(300, 300));
    assert_eq!(of(300, 300, Fit::Contain).size, Size::new(300, 200));
    assert_eq!(of(1280, 9000, Fit::Contain).size, Size::new(1280, 854), "it may enlarge");
    for fit in [Fit::Stretch, Fit::Contain, Fit::Cover] {
        assert_eq!(of(320, 0, fit), Target { size: Size::new(320, 214), cut: false });
        assert_eq!(of(0, 854, fit), Target { size: Size::new(1280, 854), cut: false });
    }
}

#[test]
fn a_size_that_makes_no_sense_is_refused_with_the_limit() {
    let limits = Limits { max_pixels: 1_000_000, max_side: 5_000 };
    let refused = |width, height| {
        Target::resize(Size::new(10, 1000), width, height, Fit::Stretch, &limits).unwrap_err()
    };
    assert!(matches!(refused(0, 0), Error::BadArgument(_)));
    assert!(matches!(refused(5_001, 1), Error::BadArgument(_)));
    assert_eq!(refused(51, 0).to_string(), "51 x 5100 is over the 5000 pixels allowed on a side");
    assert!(matches!(refused(u32::MAX, 0), Error::BadArgument(_)), "the other side is beyond counting");
    let many = refused(1000, 1001);
    assert!(matches!(many, Error::TooManyPixels { .. }));
    assert_eq!(many.to_string(), "1000 x 1001 are 1001000 pixels, more than the 1000000 that are allowed");
}

/// Black, but for a white band in the middle third.
fn banded(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, _| {
        Luma([if (width / 3..width * 2 / 3).contains(&x) { 255 } else { 0 }])
    })
}

#[test]
fn cover_cuts_evenly_on_both_sides() {
    let file = encoded(banded(300, 100), ImageFormat::Png);
    let limits = Limits::default();
    let made = decoded(&resized(&file, 50, 50, Fit::Cover, Filter::Lanczos3, &limits).unwrap()).to_luma8();
    assert!(made.pixels().all(|pixel| pixel.0[0] > 200), "the middle third alone is left");
    let whole = decoded(&resized(&file, 50, 50, Fit::Stretch, Filter::Lanczos3, &limits).unwrap()).to_luma8();
    assert_eq!([5, 25, 45].map(|x| whole.get_pixel(x, 25).0[0] > 128), [false, true, false]);
}

#[test]
fn nearest_makes_no_new_colours_and_the_others_do() {
    let file = encoded(banded(30, 4), ImageFormat::Png);
    let limits = Limits::default();
    for filter in [Filter::Nearest, Filter::Bilinear, Filter::CatmullRom, Filter::Lanczos3] {
        let made = resized(&file, 77, 9, Fit::Stretch, filter, &limits).unwrap();
        let pure = decoded(&made).to_luma8().pixels().all(|pixel| matches!(pixel.0[0], 0 | 255));
        assert_eq!(pure, filter == Filter::Nearest, "{filter:?}");
    }
}

#[test]
fn odd_shapes_come_out_in_the_size_that_was_asked_for() {
    let limits = Limits::default();
    let sides = [1, 2, 3, 7, 50];
    for (width, height) in sides.iter().flat_map(|w| sides.iter().map(move |h| (*w, *h))) {
        let file = encoded(RgbImage::new(width, height), ImageFormat::Png);
        for (wide, high) in sides.iter().flat_map(|w| sides.iter().map(move |h| (*w, *h))) {
            for fit in [Fit::Stretch, Fit::Cover] {
                let made = resized(&file, wide, high, fit, Filter::Lanczos3, &limits).unwrap();
                assert_eq!(made.size, Size::new(wide, high), "from {width} x {height}, {fit:?}");
            }
        }
    }
}

#[test]
fn one_pixel_and_a_strip() {
    let dot = encoded(RgbImage::from_pixel(1, 1, image::Rgb([9, 8, 7])), ImageFormat::Png);
    assert_eq!(decoded(&thumbnail(&dot, 0, 0, None).unwrap()).to_rgb8().get_pixel(0, 0).0, [9, 8, 7]);
    let strip = encoded(RgbImage::new(10_000, 1), ImageFormat::Png);
    let made = thumbnail(&strip, 256, 256, None).unwrap();
    assert_eq!(made.size, Size::new(256, 1));
    decoded(&made);
}

#[test]
fn the_picture_in_between_is_never_larger_than_both() {
    let lanczos = Filter::Lanczos3;
    assert_eq!(way(Size::new(3200, 2135), Size::new(256, 171), lanczos), Way::AtOnce);
    assert_eq!(way(Size::new(100, 100), Size::new(1000, 1000), lanczos), Way::AtOnce);
    assert_eq!(way(Size::new(10_000_000, 10), Size::new(6_000, 16_384), lanczos), Way::WidthFirst);
    assert_eq!(way(Size::new(10, 10_000_000), Size::new(16_384, 6_000), lanczos), Way::HeightFirst);
    assert_eq!(way(Size::new(10_000_000, 10), Size::new(6_000, 16_384), Filter::Nearest), Way::AtOnce);
}

#[test]
fn a_long_strip_becomes_a_tall_one_in_little_memory() {
    // In the crate's own order this passes through 3,000,000,000 pixels.
    let limits = Limits::default();
    let file = encoded(banded(200_000, 4), ImageFormat::Png);
    let made = resized(&file, 40, 15_000, Fit::Stretch, Filter::Bilinear, &limits).unwrap();
    let pixels = decoded(&made).to_luma8();
    assert_eq!([5, 20, 35].map(|x| pixels.get_pixel(x, 9_000).0[0]), [0, 255, 0]);
    let cut = resized(&file, 40, 15_000, Fit::Cover, Filter::Bilinear, &limits).unwrap();
    assert!(decoded(&cut).to_luma8().pixels().all(|pixel| pixel.0[0] == 255));
}
