//! The colours that make up a picture: counted in boxes of 32 shades a channel, the fullest boxes first.

use std::collections::HashMap;

use image::RgbImage;
use rayon::prelude::{IntoParallelIterator as _, ParallelIterator as _};

use crate::{Colour, PaletteResponse};

type Counts = HashMap<[u8; 3], Box3>;

/// The pixels of one box of shades.
#[derive(Clone, Copy, Default)]
struct Box3 {
    pixels: u64,
    sum: [u64; 3],
}

/// Rows are counted side by side: inside a job, rayon runs on the worker's own slots.
pub(crate) fn of(picture: &RgbImage, colours: u32) -> PaletteResponse {
    let width = picture.width() as usize * 3;
    let rows: Vec<&[u8]> = picture.as_raw().chunks(width.max(3)).collect();
    let counts = rows.into_par_iter().fold(Counts::new, count).reduce(Counts::new, merge);
    let all: u64 = counts.values().map(|found| found.pixels).sum();
    let mut found: Vec<([u8; 3], Box3)> = counts.into_iter().collect();
    found.sort_by_key(|(shade, found)| (std::cmp::Reverse(found.pixels), *shade));
    let colours = found.iter().take(colours as usize).map(|(_, found)| colour(found, all)).collect();
    PaletteResponse { colours }
}

fn count(mut counts: Counts, row: &[u8]) -> Counts {
    for pixel in row.chunks_exact(3) {
        let found = counts.entry([pixel[0] >> 5, pixel[1] >> 5, pixel[2] >> 5]).or_default();
        found.pixels += 1;
        for (sum, channel) in found.sum.iter_mut().zip(pixel) {
            *sum += u64::from(*channel);
        }
    }
    counts
}

fn merge(mut one: Counts, other: Counts) -> Counts {
    for (shade, more) in other {
        let found = one.entry(shade).or_default();
        found.pixels += more.pixels;
        for (sum, channel) in found.sum.iter_mut().zip(more.sum) {
            *sum += channel;
        }
    }
    one
}

fn colour(found: &Box3, all: u64) -> Colour {
    let [red, green, blue] = found.sum.map(|sum| sum / found.pixels.max(1));
    Colour { hex: format!("#{red:02x}{green:02x}{blue:02x}"), share: found.pixels as f32 / all.max(1) as f32 }
}

#[cfg(test)]
mod tests {
    use super::of;
    use image::{Rgb, RgbImage};

    #[test]
    fn the_most_frequent_colour_comes_first() {
        let picture =
            RgbImage::from_fn(10, 10, |x, _| if x < 7 { Rgb([200, 100, 50]) } else { Rgb([0, 0, 255]) });
        let palette = of(&picture, 5).colours;
        assert_eq!(palette.len(), 2);
        assert_eq!((palette[0].hex.as_str(), palette[0].share), ("#c86432", 0.7));
        assert_eq!(palette[1].hex, "#0000ff");
    }
}
