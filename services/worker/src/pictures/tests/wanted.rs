//! Work that nobody waits for ends soon, wherever it is; and to ask changes no byte of it.

use std::cell::Cell;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::{Encoded, decoded, encoded, quarters};
use crate::pictures::{Encoding, Error, Filter, Format, Limits, Source, Target};

/// No two pixels alike, so that its files are large.
fn grainy(side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| {
        let grain = ((x << 16) | y).wrapping_mul(0x9E37_79B1);
        let grain = (grain ^ (grain >> 15)).wrapping_mul(0x85EB_CA6B);
        let [red, green, blue, _] = (grain ^ (grain >> 13)).to_le_bytes();
        Rgb([red, green, blue])
    })
}

/// What a conversion comes to when nobody waits any more after so many questions, and how many there were.
fn asked(file: &[u8], format: Format, patience: u32) -> (Result<Encoded, Error>, u32) {
    let (limits, asked) = (Limits::default(), Cell::new(0));
    let wanted = || {
        asked.set(asked.get() + 1);
        asked.get() <= patience
    };
    let made = Source::open_while(file, &limits, &wanted).and_then(|source| {
        let target = Target::whole(source.size());
        source.decode()?.render(target, Filter::default())?.encode(Encoding::new(Some(format), 90)?)
    });
    (made, asked.get())
}

#[test]
fn what_nobody_waits_for_ends_wherever_it_is() {
    let files = [
        (encoded(grainy(300), ImageFormat::Png), Format::Jpeg),
        (encoded(grainy(200), ImageFormat::WebP), Format::Png),
        (encoded(grainy(200), ImageFormat::Jpeg), Format::WebP),
        (encoded(quarters(200, 200), ImageFormat::Gif), Format::Png),
    ];
    for (file, format) in files {
        let (made, questions) = asked(&file, format, u32::MAX);
        made.unwrap();
        // Before each stage.
        assert!(questions >= 3, "{questions}");
        for patience in (0..questions).step_by(questions as usize / 9 + 1) {
            let (made, more) = asked(&file, format, patience);
            assert!(matches!(made, Err(Error::Unwanted)), "{patience} of {questions}: {:?}", made.err());
            // Again by who wonders what has gone wrong.
            assert!(more <= patience + 4, "{more} for {patience}");
        }
    }
}

#[test]
fn what_takes_long_asks_meanwhile() {
    let files = [ImageFormat::Png, ImageFormat::WebP].map(|format| encoded(grainy(600), format));
    for file in files {
        let (made, read) = asked(&file, Format::Png, u32::MAX);
        made.unwrap();
        assert!(read > 5, "{read} while it is read");
        let (made, written) = asked(&file, Format::Jpeg, u32::MAX);
        made.unwrap();
        assert!(written > read + 5, "{written} of which it is written after {read}");
    }
}

#[test]
fn to_be_asked_changes_no_byte() {
    let picture = DynamicImage::from(grainy(300));
    let made = |file: &[u8], format| asked(file, format, u32::MAX).0.unwrap();
    let files = [ImageFormat::Png, ImageFormat::WebP].map(|format| encoded(picture.clone(), format));
    let (mut jpeg, mut webp) = (Vec::new(), Vec::new());
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, 90)).unwrap();
    picture.write_with_encoder(WebPEncoder::new_lossless(&mut webp)).unwrap();
    for file in files {
        assert!(decoded(&made(&file, Format::Png)).as_bytes() == picture.as_bytes());
        assert!(made(&file, Format::Jpeg).data == jpeg);
        assert!(made(&file, Format::WebP).data == webp);
    }
}
