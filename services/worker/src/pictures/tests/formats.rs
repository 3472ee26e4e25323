//! What is read, what is written, and what each comes out as.

use image::{ImageFormat, RgbImage};

use super::{
    ANIMATED_GIF, ANIMATED_WEBP, CHELSEA, CMYK, LOSSY_WEBP, MOON, PALETTE, PROGRESSIVE, ROCKET, assert_near,
    assert_quarters, convert, decoded, encoded, quarters, thumbnail,
};
use crate::pictures::{Encoding, Error, Format, Limits, Size, Source};

#[test]
fn real_pictures_give_thumbnails_in_every_format() {
    let files = [
        (ROCKET, Format::Jpeg, Size::new(64, 43)),
        (MOON, Format::Png, Size::new(64, 64)),
        (CHELSEA, Format::Png, Size::new(64, 43)),
        (PROGRESSIVE, Format::Jpeg, Size::new(64, 43)),
        (CMYK, Format::Jpeg, Size::new(32, 32)),
        (PALETTE, Format::Png, Size::new(64, 43)),
        (LOSSY_WEBP, Format::WebP, Size::new(43, 64)),
        (ANIMATED_WEBP, Format::WebP, Size::new(24, 16)),
    ];
    for (file, came_as, size) in files {
        for format in [None, Some(Format::Jpeg), Some(Format::Png), Some(Format::WebP)] {
            let made = thumbnail(file, 64, 64, format).unwrap();
            assert_eq!((made.format, made.size), (format.unwrap_or(came_as), size));
            assert_eq!(Format::of(&made.data).unwrap(), made.format);
            decoded(&made);
        }
    }
}

#[test]
fn a_thumbnail_looks_like_its_picture() {
    let whole = image::load_from_memory(CHELSEA).unwrap();
    let slow = whole.resize_exact(64, 43, image::imageops::FilterType::Lanczos3).to_rgb8();
    let made = decoded(&thumbnail(CHELSEA, 64, 64, None).unwrap()).to_rgb8();
    let apart: u64 = made.iter().zip(slow.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(apart / (slow.len() as u64) < 2, "{apart} levels over {} bytes", slow.len());
}

#[test]
fn of_what_moves_the_first_frame_is_taken() {
    let made = convert(ANIMATED_GIF, None).unwrap();
    assert_eq!((made.format, made.size), (Format::Png, Size::new(24, 16)));
    assert_near(&decoded(&made).to_rgb8().get_pixel(12, 8).0, &[200, 30, 30], 8);
    let made = convert(ANIMATED_WEBP, None).unwrap();
    assert_near(&decoded(&made).to_rgb8().get_pixel(12, 8).0, &[200, 30, 30], 0);
}

#[test]
fn a_large_gif_is_read() {
    let made = thumbnail(&encoded(quarters(1000, 1000), ImageFormat::Gif), 100, 100, None).unwrap();
    assert_quarters(&decoded(&made));
}

#[test]
fn a_conversion_changes_the_format_alone() {
    let file = encoded(quarters(96, 64), ImageFormat::Png);
    for format in [Format::Jpeg, Format::Png, Format::WebP] {
        let made = convert(&file, Some(format)).unwrap();
        assert_eq!((made.format, made.size), (format, Size::new(96, 64)));
        assert_quarters(&decoded(&made));
    }
}

#[test]
fn quality_is_for_jpeg_and_has_its_bounds() {
    let limits = Limits::default();
    let length = |quality| {
        let source = Source::open(CHELSEA, &limits).unwrap();
        let target = crate::pictures::Target::whole(source.size());
        let picture = source.decode().unwrap().render(target, Default::default()).unwrap();
        picture.encode(Encoding::new(Some(Format::Jpeg), quality).unwrap()).unwrap().data.len()
    };
    assert!(length(1) < length(50) && length(50) < length(100));
    assert_eq!(length(0), length(80));
    for quality in [101, 256, u32::MAX] {
        let refused = Encoding::new(Some(Format::Png), quality).unwrap_err();
        assert_eq!(refused.to_string(), format!("quality {quality} is not in 1 to 100"));
    }
}

#[test]
fn gif_is_not_written() {
    assert!(matches!(Encoding::new(Some(Format::Gif), 0), Err(Error::BadArgument(_))));
}

#[test]
fn a_side_too_long_for_the_format_is_refused() {
    let strip = encoded(RgbImage::new(70_000, 1), ImageFormat::Png);
    let refused = convert(&strip, Some(Format::Jpeg)).unwrap_err();
    assert_eq!(refused.to_string(), "70000 x 1 is over the 65535 pixels that a side of a JPEG can have");
    assert!(matches!(convert(&strip, Some(Format::WebP)), Err(Error::BadArgument(_))));
    assert_eq!(convert(&strip, None).unwrap().size, Size::new(70_000, 1));
}

#[test]
fn content_types() {
    let types = [Format::Jpeg, Format::Png, Format::WebP, Format::Gif].map(Format::content_type);
    assert_eq!(types, ["image/jpeg", "image/png", "image/webp", "image/gif"]);
}
