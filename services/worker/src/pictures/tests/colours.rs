//! Colour, grey, depth, transparency and profiles survive what they can survive.

use image::codecs::png::PngEncoder;
use image::{
    ColorType, DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageDecoder, ImageEncoder, ImageFormat,
    Luma, LumaA, Rgb, Rgba, RgbaImage,
};

use super::{
    CMYK, MOON, assert_near, assert_quarters, convert, corners, decoded, encoded, quarters, thumbnail,
};
use crate::pictures::{Format, Limits, Source};

#[test]
fn grey_stays_grey() {
    for format in [Format::Jpeg, Format::Png] {
        let made = decoded(&thumbnail(MOON, 64, 64, Some(format)).unwrap());
        assert_eq!(made.color(), ColorType::L8, "{format}");
    }
}

#[test]
fn sixteen_bits_stay_sixteen_in_a_png_and_become_eight_elsewhere() {
    let grey = ImageBuffer::from_pixel(40, 30, Luma([0x8000_u16]));
    let rgb = ImageBuffer::from_pixel(40, 30, Rgb([0xFFFF_u16, 0x8000, 0]));
    let grey_alpha = ImageBuffer::from_pixel(40, 30, LumaA([0x8000_u16, 0xFFFF]));
    let rgba = ImageBuffer::from_pixel(40, 30, Rgba([0xFFFF_u16, 0x8000, 0, 0xFFFF]));
    let pictures: [DynamicImage; 4] = [grey.into(), rgb.into(), grey_alpha.into(), rgba.into()];
    for picture in pictures {
        let file = encoded(picture.clone(), ImageFormat::Png);
        let png = decoded(&thumbnail(&file, 20, 20, None).unwrap());
        assert_eq!((png.color(), png.height()), (picture.color(), 15));
        assert_eq!(png.to_rgb16().get_pixel(7, 7), picture.to_rgb16().get_pixel(7, 7));
        for format in [Format::Jpeg, Format::WebP] {
            let made = decoded(&thumbnail(&file, 20, 20, Some(format)).unwrap());
            assert_near(&made.to_rgb8().get_pixel(7, 7).0, &picture.to_rgb8().get_pixel(7, 7).0, 3);
        }
    }
}

/// Opaque red on the left, transparent green on the right.
fn half_red() -> RgbaImage {
    RgbaImage::from_fn(64, 64, |x, _| Rgba(if x < 32 { [255, 0, 0, 255] } else { [0, 255, 0, 0] }))
}

#[test]
fn what_is_transparent_lends_its_colour_to_nothing() {
    let file = encoded(half_red(), ImageFormat::Png);
    for format in [Format::Png, Format::WebP] {
        let made = decoded(&thumbnail(&file, 9, 9, Some(format)).unwrap()).to_rgba8();
        let fringe = made.get_pixel(4, 4).0;
        assert!((1..255).contains(&fringe[3]), "the edge is half transparent: {fringe:?}");
        assert_near(&fringe[..3], &[255, 0, 0], 2);
    }
    let grey = GrayAlphaImage::from_fn(64, 64, |x, _| LumaA(if x < 32 { [200, 255] } else { [0, 0] }));
    let made = decoded(&thumbnail(&encoded(grey, ImageFormat::Png), 9, 9, None).unwrap());
    assert_eq!(made.color(), ColorType::La8);
    assert_near(&made.to_luma_alpha8().get_pixel(4, 4).0[..1], &[200], 2);
}

#[test]
fn a_jpeg_of_something_transparent_lies_on_white() {
    let colour = thumbnail(&encoded(half_red(), ImageFormat::WebP), 32, 32, Some(Format::Jpeg)).unwrap();
    let [red, white, ..] = corners(&decoded(&colour));
    assert_near(&red, &[255, 0, 0], 8);
    assert_near(&white, &[255, 255, 255], 8);

    let grey = GrayAlphaImage::from_fn(64, 64, |x, _| LumaA(if x < 32 { [0, 255] } else { [0, 128] }));
    let made = decoded(&convert(&encoded(grey, ImageFormat::Png), Some(Format::Jpeg)).unwrap());
    assert_eq!(made.color(), ColorType::L8);
    let [black, middle, ..] = corners(&made);
    assert_near(&black, &[0; 3], 4);
    assert_near(&middle, &[127; 3], 4);
}

#[test]
fn a_cmyk_jpeg_has_the_colours_of_its_print() {
    let made = decoded(&convert(CMYK, Some(Format::Png)).unwrap());
    assert_eq!(made.color(), ColorType::Rgb8);
    assert_quarters(&made);
}

/// The 128 bytes that every profile begins with, as far as anybody here looks at them.
fn profile(space: &[u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[16..20].copy_from_slice(space);
    bytes
}

fn profile_of(file: &[u8]) -> Option<Vec<u8>> {
    image::ImageReader::new(std::io::Cursor::new(file))
        .with_guessed_format()
        .unwrap()
        .into_decoder()
        .unwrap()
        .icc_profile()
        .unwrap()
}

fn with_profile(picture: &DynamicImage, space: &[u8; 4]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut encoder = PngEncoder::new(&mut data);
    encoder.set_icc_profile(profile(space)).unwrap();
    encoder.write_image(picture.as_bytes(), 96, 64, picture.color().into()).unwrap();
    data
}

#[test]
fn a_profile_is_carried_over_where_it_still_holds() {
    let colour = with_profile(&quarters(96, 64).into(), b"RGB ");
    let grey = with_profile(&GrayImage::new(96, 64).into(), b"GRAY");
    for format in [Format::Jpeg, Format::Png, Format::WebP] {
        let made = thumbnail(&colour, 32, 32, Some(format)).unwrap();
        assert_eq!(profile_of(&made.data), Some(profile(b"RGB ")), "{format}");
        let again = convert(&made.data, Some(Format::Png)).unwrap();
        assert_eq!(profile_of(&again.data), Some(profile(b"RGB ")), "out of a {format}");
    }
    assert!(profile_of(&thumbnail(&grey, 32, 32, None).unwrap().data).is_some());
    let press = with_profile(&quarters(96, 64).into(), b"CMYK");
    assert_eq!(profile_of(&convert(&press, None).unwrap().data), None);
}

#[test]
fn info_tells_of_alpha() {
    let limits = Limits::default();
    let has_alpha = |file: &[u8]| Source::open(file, &limits).unwrap().info().has_alpha;
    assert!(has_alpha(&encoded(half_red(), ImageFormat::Png)));
    assert!(has_alpha(super::PALETTE));
    assert!(has_alpha(super::LOSSY_WEBP));
    assert!(!has_alpha(MOON) && !has_alpha(CMYK) && !has_alpha(super::ROCKET));
}
