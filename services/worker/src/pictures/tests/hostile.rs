//! Bombs, stumps and noise: an error in words, never a panic, never the memory that a header asks for.

use image::{GrayAlphaImage, ImageFormat, Rgba, RgbaImage};

use super::{
    ANIMATED_GIF, ANIMATED_WEBP, CHELSEA, CMYK, LOSSY_WEBP, MOON, PALETTE, PROGRESSIVE, ROCKET, convert,
    encoded, quarters, thumbnail,
};
use crate::pictures::{Error, Format, Limits, Size, Source, Target};

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn png_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let named = [name, content].concat();
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes()[..], &named, &crc(&named).to_be_bytes()].concat()
}

fn png_bomb(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    let signature = b"\x89PNG\r\n\x1A\n".to_vec();
    [signature, png_chunk(b"IHDR", &header), png_chunk(b"IDAT", &[]), png_chunk(b"IEND", &[])].concat()
}

fn gif_bomb() -> Vec<u8> {
    let mut file = ANIMATED_GIF.to_vec();
    file[6..10].fill(0xFF);
    file
}

fn jpeg_bomb() -> Vec<u8> {
    let mut file = encoded(quarters(32, 32), ImageFormat::Jpeg);
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xF0, 0xFF, 0xF0]);
    file
}

/// 16383 x 16383, the most that the format can say.
fn webp_bomb() -> Vec<u8> {
    let mut file = encoded(quarters(32, 32), ImageFormat::WebP);
    let header = (u32::from_le_bytes(file[21..25].try_into().unwrap()) & 0xF000_0000) | 0x0FFF_BFFE;
    file[21..25].copy_from_slice(&header.to_le_bytes());
    file
}

#[test]
fn a_bomb_is_refused_with_both_figures_before_it_is_unpacked() {
    let limits = Limits::default();
    let refused = |file: &[u8]| Source::open(file, &limits).unwrap().decode().err().unwrap();
    let error = refused(&png_bomb(50_000, 50_000));
    assert!(matches!(error, Error::TooManyPixels { .. }));
    assert_eq!(
        error.to_string(),
        "50000 x 50000 are 2500000000 pixels, more than the 100000000 that are allowed"
    );
    for bomb in [gif_bomb(), jpeg_bomb(), webp_bomb()] {
        assert!(matches!(refused(&bomb), Error::TooManyPixels { limit: 100_000_000, .. }));
    }
}

#[test]
fn info_tells_what_a_bomb_announces() {
    let limits = Limits::default();
    let info = Source::open(&png_bomb(50_000, 40_000), &limits).unwrap().info();
    assert_eq!(info.size, Size::new(50_000, 40_000));
}

#[test]
fn a_line_that_no_memory_holds_is_refused() {
    let limits = Limits::default();
    match Source::open(&png_bomb(i32::MAX as u32, 1), &limits) {
        Ok(source) => assert!(matches!(source.decode(), Err(Error::TooManyPixels { .. }))),
        Err(error) => assert!(matches!(error, Error::TooMuchMemory { .. }), "{error}"),
    }
}

#[test]
fn a_gif_frame_larger_than_its_screen_is_kept_to_the_memory_limit() {
    let mut file = ANIMATED_GIF.to_vec();
    let frame = file.windows(9).position(|bytes| bytes == [0x2C, 0, 0, 0, 0, 24, 0, 16, 0]).unwrap();
    file[frame + 5..frame + 9].fill(0xFF);
    let refused = convert(&file, None).unwrap_err();
    assert!(matches!(refused, Error::TooMuchMemory { format: Format::Gif, .. }), "{refused}");
}

#[test]
fn a_picture_without_pixels_is_damaged() {
    let mut file = ANIMATED_GIF.to_vec();
    file[6..8].fill(0);
    assert!(matches!(convert(&file, None), Err(Error::Damaged { format: Format::Gif, .. })));
    assert!(convert(&png_bomb(0, 10), None).is_err());
}

#[test]
fn what_is_no_picture_is_told_so() {
    let others: [&[u8]; 5] = [b"", b"\xFF", b"hello, I am no picture at all", b"BM\0\0\0\0\0\0", b"%PDF-1.7"];
    for other in others {
        let refused = convert(other, None).unwrap_err();
        assert_eq!(refused.to_string(), "this is no picture: it is neither JPEG, PNG, WebP nor GIF");
    }
}

#[test]
fn a_header_alone_is_damaged() {
    let headers: [&[u8]; 4] = [b"\xFF\xD8\xFF\xE0", b"\x89PNG\r\n\x1A\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"];
    for header in headers {
        let refused = convert(header, None).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    }
}

#[test]
fn a_stump_is_damaged() {
    for file in [ROCKET, MOON, CHELSEA, CMYK, PROGRESSIVE, PALETTE, LOSSY_WEBP, ANIMATED_WEBP] {
        for part in [1, 2, 3] {
            let refused = thumbnail(&file[..file.len() * part / 4], 64, 64, None);
            let told = matches!(refused, Err(Error::Damaged { .. }));
            assert!(told, "{part} quarters of {} bytes: {:?}", file.len(), refused.err());
        }
    }
}

#[test]
fn what_hangs_behind_a_picture_is_passed_over() {
    for file in [ROCKET, MOON, LOSSY_WEBP, ANIMATED_GIF] {
        let longer = [file, b"and then some bytes that are no picture"].concat();
        assert_eq!(thumbnail(&longer, 20, 20, None).unwrap(), thumbnail(file, 20, 20, None).unwrap());
    }
}

/// A WebP whose EXIF chunk announces 4 GiB, of which nothing follows.
#[test]
fn a_chunk_that_reaches_beyond_its_file_is_damage() {
    let picture = encoded(quarters(32, 32), ImageFormat::WebP);
    let chunks: [&[u8]; 4] = [
        b"VP8X\x0A\0\0\0\x08\0\0\0\x1F\0\0\x1F\0\0",
        &picture[12..],
        b"EXIF\xF0\xFF\xFF\xFF",
        b"a few bytes",
    ];
    let content = [b"WEBP".to_vec(), chunks.concat()].concat();
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    let file = [b"RIFF".to_vec(), length.to_vec(), content].concat();
    assert!(matches!(convert(&file, None), Err(Error::Damaged { format: Format::WebP, .. })));
}

/// Marsaglia's xorshift: the same noise in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Small files of every kind: a thousand of them broken in a second.
fn seeds() -> Vec<Vec<u8>> {
    let grey = GrayAlphaImage::from_fn(20, 20, |x, y| image::LumaA([(x * y) as u8, (x * 12) as u8]));
    let colour = RgbaImage::from_fn(20, 20, |x, y| Rgba([(x * 12) as u8, (y * 12) as u8, 90, (x * y) as u8]));
    let mut seeds: Vec<Vec<u8>> = [CMYK, PROGRESSIVE, PALETTE, LOSSY_WEBP, ANIMATED_GIF, ANIMATED_WEBP]
        .iter()
        .map(|file| file.to_vec())
        .collect();
    seeds.push(encoded(grey, ImageFormat::Png));
    seeds.push(encoded(colour.clone(), ImageFormat::WebP));
    seeds.push(encoded(colour, ImageFormat::Gif));
    seeds.push(encoded(quarters(40, 24), ImageFormat::Jpeg));
    seeds
}

/// Whatever comes of it, it comes back.
fn survives(file: &[u8]) {
    let limits = Limits { max_pixels: 20_000, max_side: 500 };
    let Ok(source) = Source::open(file, &limits) else { return };
    let Ok(target) = Target::resize(source.size(), 7, 0, Default::default(), &limits) else { return };
    let Ok(decoded) = source.decode() else { return };
    let picture = decoded.render(target, Default::default()).expect("what is decoded can be scaled");
    let encoding = crate::pictures::Encoding::new(None, 0).unwrap();
    picture.encode(encoding).expect("what is scaled can be written");
}

#[test]
fn flipped_bytes_never_panic() {
    let mut noise = Noise(0x2545_F491_4F6C_DD1D);
    for seed in seeds() {
        for _ in 0..400 {
            let mut file = seed.clone();
            for _ in 0..=noise.next() % 4 {
                let at = noise.next() % file.len();
                file[at] = noise.byte();
            }
            survives(&file);
        }
    }
}

#[test]
fn cut_files_never_panic() {
    for seed in seeds() {
        let step = seed.len() / 150 + 1;
        (0..seed.len()).step_by(step).for_each(|end| survives(&seed[..end]));
    }
}

#[test]
fn noise_behind_a_true_signature_never_panics() {
    let mut noise = Noise(42);
    let signatures: [&[u8]; 5] =
        [b"", b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1A\n", b"GIF89a", b"RIFF\x80\0\0\0WEBPVP8X"];
    for signature in signatures {
        for _ in 0..200 {
            let rest = (0..noise.next() % 300).map(|_| noise.byte());
            survives(&signature.iter().copied().chain(rest).collect::<Vec<u8>>());
        }
    }
}
