//! EXIF's eight orientations.

use image::{ImageFormat, RgbImage};

use super::{LOSSY_WEBP, ROCKET, assert_quarters, convert, decoded, encoded, quarters, through, thumbnail};
use crate::pictures::{Filter, Fit, Format, Limits, Size, Source, Target};

const UPRIGHT: (u32, u32) = (96, 64);

/// How a camera would have stored `upright`: EXIF says where the stored first row and first column belong.
fn stored(upright: &RgbImage, orientation: u16) -> RgbImage {
    let (right, low) = (upright.width() - 1, upright.height() - 1);
    let lies = orientation >= 5;
    let (width, height) = if lies { (low + 1, right + 1) } else { (right + 1, low + 1) };
    RgbImage::from_fn(width, height, |column, row| {
        let (x, y) = match orientation {
            1 => (column, row),
            2 => (right - column, row),
            3 => (right - column, low - row),
            4 => (column, low - row),
            5 => (row, column),
            6 => (right - row, column),
            7 => (right - row, low - column),
            _ => (row, low - column),
        };
        *upright.get_pixel(x, y)
    })
}

/// A JPEG with an EXIF segment that holds the orientation alone, in big-endian order.
fn with_exif(jpeg: &[u8], orientation: u16) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    exif.extend_from_slice(&orientation.to_be_bytes());
    exif.extend_from_slice(&[0; 6]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

fn photograph(orientation: u16) -> Vec<u8> {
    let upright = quarters(UPRIGHT.0, UPRIGHT.1);
    with_exif(&encoded(stored(&upright, orientation), ImageFormat::Jpeg), orientation)
}

#[test]
fn a_thumbnail_stands_upright() {
    for orientation in 1..=8 {
        let made = thumbnail(&photograph(orientation), 48, 48, None).unwrap();
        assert_eq!(made.size, Size::new(48, 32), "orientation {orientation}");
        assert_quarters(&decoded(&made));
    }
}

#[test]
fn what_is_stretched_or_cut_stands_upright() {
    for orientation in 1..=8 {
        for fit in [Fit::Stretch, Fit::Contain, Fit::Cover] {
            let limits = Limits::default();
            let target = |source: &Source<'_>| Target::resize(source.size(), 30, 60, fit, &limits);
            let made =
                through(&photograph(orientation), target, Filter::Lanczos3, Some(Format::Png)).unwrap();
            let wanted = if fit == Fit::Contain { Size::new(30, 20) } else { Size::new(30, 60) };
            assert_eq!(made.size, wanted, "orientation {orientation}, {fit:?}");
            assert_quarters(&decoded(&made));
        }
    }
}

#[test]
fn a_conversion_stands_upright_and_says_so() {
    for orientation in 1..=8 {
        let made = convert(&photograph(orientation), Some(Format::Jpeg)).unwrap();
        assert_quarters(&decoded(&made));
        let limits = Limits::default();
        let info = Source::open(&made.data, &limits).unwrap().info();
        assert_eq!((info.orientation, info.size), (1, Size::new(96, 64)));
    }
}

#[test]
fn info_tells_the_orientation_and_the_upright_size() {
    let limits = Limits::default();
    for orientation in 1..=8 {
        let file = photograph(orientation);
        let info = Source::open(&file, &limits).unwrap().info();
        assert_eq!(u16::from(info.orientation), orientation);
        assert_eq!(info.size, Size::new(96, 64));
    }
    let info = Source::open(LOSSY_WEBP, &limits).unwrap().info();
    assert_eq!((info.orientation, info.size), (6, Size::new(64, 96)));
    assert_eq!(Source::open(ROCKET, &limits).unwrap().info().orientation, 1);
}

#[test]
fn an_orientation_that_does_not_exist_is_none() {
    let file = with_exif(&encoded(quarters(96, 64), ImageFormat::Jpeg), 9);
    assert_quarters(&decoded(&thumbnail(&file, 48, 48, None).unwrap()));
}
