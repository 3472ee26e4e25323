//! Draws the pictures that the demo works on when it is given none: landscapes of ridges, water, clouds and a
//! sun, another for each seed, detailed enough that a photograph's work is in them. Called by the demo.

mod noise;
mod palettes;

use std::f32::consts::TAU;

use anyhow::{Context as _, ensure};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use self::noise::{Dice, Tile, line};
use self::palettes::{Color, Palette, mix};

/// The sky is painted this much coarser than the picture and smoothed out.
const COARSE: usize = 4;
const QUALITY: u8 = 88;

/// Draws the picture of `seed` and answers it as a JPEG.
pub(crate) fn picture(seed: u64, width: u32, height: u32) -> anyhow::Result<Vec<u8>> {
    let size = 16..=u32::from(u16::MAX);
    ensure!(size.contains(&width) && size.contains(&height), "no picture of {width} x {height} can be drawn");
    let pixels = Scene::new(seed, width as usize, height as usize).paint();
    let mut jpeg = Vec::with_capacity(pixels.len() / 8);
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&pixels, width, height, ExtendedColorType::Rgb8)
        .context("the picture cannot be encoded")?;
    Ok(jpeg)
}

/// What is where on a picture. Lengths are pixels, y grows downwards.
struct Scene {
    width: usize,
    height: usize,
    palette: Palette,
    /// Where this picture lies on the tile.
    offset: [i32; 2],
    sun: [f32; 2],
    /// Where the sky ends.
    horizon: f32,
    /// From far to near.
    ridges: Vec<Ridge>,
    /// Below it is water.
    shore: usize,
    stars: Vec<Star>,
}

/// A range of hills.
struct Ridge {
    /// Its upper edge at each column.
    crest: Vec<f32>,
    /// The crest's highest and lowest.
    peak: f32,
    bottom: f32,
    rock: Color,
    /// What it fades into at its foot.
    mist: Color,
    /// Where the mist begins, and how deep down it is full.
    top: f32,
    depth: f32,
    contrast: f32,
    snow: Color,
    /// Above it lies snow.
    snow_line: f32,
    offset: [i32; 2],
}

struct Star {
    x: usize,
    y: usize,
    light: f32,
}

impl Scene {
    fn new(seed: u64, width: usize, height: usize) -> Self {
        let mut dice = Dice::new(seed.wrapping_mul(0x51_7c_c1_b7_27_22_0a_95));
        let palette = palettes::ALL[(seed % palettes::ALL.len() as u64) as usize].clone();
        let h = height as f32;
        let horizon = h * dice.between(0.56, 0.68);
        let water = dice.chance(0.55);
        let shore = if water { (h * dice.between(0.68, 0.76)) as usize } else { height };
        let across = if dice.chance(0.5) { dice.between(0.16, 0.4) } else { dice.between(0.6, 0.84) };
        let sun = [width as f32 * across, horizon - h * dice.between(0.12, 0.36)];
        let ridges = ridges(&mut dice, &palette, width, h, horizon, shore as f32);
        let stars = (0..palette.stars).map(|_| Star::new(&mut dice, width, horizon)).collect();
        let offset = [dice.roll() as i32 & 1023, dice.roll() as i32 & 1023];
        Self { width, height, palette, offset, sun, horizon, ridges, shore, stars }
    }

    /// All of it as rows of red, green and blue.
    fn paint(&self) -> Vec<u8> {
        let mut pixels = vec![0; self.width * self.height * 3];
        let (land, water) = pixels.split_at_mut(self.shore * self.width * 3);
        let sky = self.sky();
        land.par_chunks_exact_mut(self.width * 3)
            .enumerate()
            .for_each(|(y, row)| self.land_row(&sky, y, row));
        self.stars.iter().for_each(|star| self.star(star, land));
        let rows = water.par_chunks_exact_mut(self.width * 3).enumerate();
        rows.for_each(|(y, row)| self.water_row(land, y, row));
        pixels
    }

    fn coarse_width(&self) -> usize {
        self.width / COARSE + 2
    }

    /// The sky, coarse.
    fn sky(&self) -> Vec<Color> {
        let width = self.coarse_width();
        let mut sky = vec![[0.0; 3]; width * (self.height / COARSE + 2)];
        sky.par_chunks_exact_mut(width).enumerate().for_each(|(y, row)| {
            for (x, color) in row.iter_mut().enumerate() {
                *color = self.sky_at((x * COARSE) as f32, (y * COARSE) as f32);
            }
        });
        sky
    }

    fn sky_at(&self, x: f32, y: f32) -> Color {
        let palette = &self.palette;
        let down = (y / self.horizon).clamp(0.0, 1.0) * 2.999;
        let band = down as usize;
        let clear = mix(palette.sky[band], palette.sky[band + 1], down.fract());
        let clouded = if palette.aurora { self.aurora(clear, x, y) } else { self.cloud(clear, x, y) };
        self.shine(clouded, x, y)
    }

    fn cloud(&self, clear: Color, x: f32, y: f32) -> Color {
        let [ox, oy] = self.offset.map(|offset| offset as f32);
        let unit = self.height as f32 / 1000.0;
        // They flatten towards the horizon, as clouds do.
        let far = 0.35 + y / self.horizon;
        let noise = |scale: f32| {
            Tile::shared().smooth(ox + x / unit * 0.28 * scale * far, oy + y / unit * 0.85 * scale * far)
        };
        let thickness = noise(1.0) + 0.35 * noise(2.6) + (self.palette.clouds - 0.55) * 0.9;
        let lit = 0.75 + 0.6 * noise(1.9) - 0.25 * smooth_step(0.4, 1.0, thickness);
        let shadow = mix(clear, self.palette.sky[1], 0.5);
        let color = mix(shadow, self.palette.cloud, lit.clamp(0.0, 1.0));
        mix(clear, color, smooth_step(0.0, 0.5, thickness) * 0.9)
    }

    fn aurora(&self, clear: Color, x: f32, y: f32) -> Color {
        let [ox, oy] = self.offset.map(|offset| offset as f32);
        let unit = self.height as f32 / 1000.0;
        let (x, y) = (x / unit, y / unit);
        let drift = Tile::shared().smooth(ox + x * 0.12, oy + y * 0.05) * 160.0;
        let foot = 420.0 + drift + 90.0 * (x * TAU / 1300.0 + ox).sin();
        let folds = 0.55 + 0.45 * Tile::shared().smooth(ox + x * 0.55 + drift, oy + y * 0.01);
        let rise = (foot - y) / 420.0;
        let light = folds * smooth_step(-0.08, 0.05, rise) * (1.0 - smooth_step(0.05, 1.0, rise));
        let violet = [0.55, 0.3, 0.85];
        let color = mix(self.palette.cloud, violet, smooth_step(0.15, 0.9, rise));
        mix(clear, color, light * self.palette.clouds)
    }

    /// The sun's disc and its glow.
    fn shine(&self, color: Color, x: f32, y: f32) -> Color {
        let height = self.height as f32;
        let distance = ((x - self.sun[0]).powi(2) + (y - self.sun[1]).powi(2)).sqrt() / height;
        let halo = self.palette.glow / (1.0 + (distance / 0.13).powi(2));
        let color = mix(color, self.palette.sun, halo.min(0.9));
        if self.palette.disc == 0.0 {
            return color;
        }
        let edge = 2.0 * COARSE as f32 / height;
        mix(self.palette.sun, color, smooth_step(self.palette.disc - edge, self.palette.disc, distance))
    }

    /// The ridges that a row can show: a range that fills it hides what is behind.
    fn ridges_at(&self, y: f32) -> &[Ridge] {
        let first = self.ridges.iter().rposition(|ridge| ridge.bottom <= y).unwrap_or(0);
        let end = self.ridges.iter().rposition(|ridge| ridge.peak < y + 1.0).map_or(first, |last| last + 1);
        &self.ridges[first..end]
    }

    fn land_row(&self, sky: &[Color], y: usize, row: &mut [u8]) {
        let tile = Tile::shared();
        let ridges = self.ridges_at(y as f32);
        let width = self.coarse_width();
        let ty = (y % COARSE) as f32 / COARSE as f32;
        let above = &sky[y / COARSE * width..][..width];
        let below = &sky[(y / COARSE + 1) * width..][..width];
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let hidden = ridges.iter().rposition(|ridge| ridge.crest[x] <= y as f32);
            let mut color = match hidden {
                Some(ridge) => ridges[ridge].at(tile, x, y),
                None => {
                    let (cell, tx) = (x / COARSE, (x % COARSE) as f32 / COARSE as f32);
                    mix(mix(above[cell], above[cell + 1], tx), mix(below[cell], below[cell + 1], tx), ty)
                }
            };
            for ridge in &ridges[hidden.map_or(0, |ridge| ridge + 1)..] {
                // Crests run between pixels.
                let cover = y as f32 + 1.0 - ridge.crest[x];
                if cover > 0.0 {
                    color = mix(color, ridge.at(tile, x, y), cover);
                }
            }
            write(pixel, color, x, y);
        }
    }

    fn star(&self, star: &Star, land: &mut [u8]) {
        let covered = |x: usize| self.ridges.iter().any(|ridge| ridge.crest[x] <= star.y as f32 + 4.0);
        let size = (self.height / 600).max(1);
        for (dx, dy) in (0..size).flat_map(|dx| (0..size).map(move |dy| (dx, dy))) {
            let (x, y) = (star.x + dx, star.y + dy);
            if x < self.width && y < self.shore && !covered(x) {
                let pixel = &mut land[(y * self.width + x) * 3..][..3];
                pixel.iter_mut().for_each(|value| *value = value.saturating_add((star.light * 255.0) as u8));
            }
        }
    }

    /// The sun's way over the water, on the waves that look at it.
    fn glitter(&self, x: usize, near: f32, ripple: f32) -> f32 {
        let aside = (x as f32 - self.sun[0]) / (self.width as f32 * (0.02 + 0.05 * near));
        let facing = smooth_step(0.05, 0.4, ripple);
        0.9 * self.palette.glow * facing / (1.0 + aside * aside)
    }

    /// Water shows what is above it, upside down and rippled.
    fn water_row(&self, land: &[u8], down: usize, row: &mut [u8]) {
        let tile = Tile::shared();
        let near = down as f32 / (self.height - self.shore) as f32;
        let (y, unit) = (self.shore + down, self.height as f32 / 1000.0);
        let deep = mix(self.palette.near, self.palette.sky[1], 0.35);
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let stretch = 0.9 / (0.15 + near) / unit;
            let along = x as f32 * (0.08 + 0.1 * (1.0 - near)) / unit;
            let ripple =
                tile.smooth(along + self.offset[0] as f32, down as f32 * stretch + self.offset[1] as f32);
            let depth = 1.35 * down as f32 + ripple * unit * (6.0 + 70.0 * near);
            let from_y = (self.shore as f32 - 1.0 - depth).clamp(0.0, self.shore as f32 - 1.0) as usize;
            let aside = x as f32 + ripple * unit * (3.0 + 14.0 * near);
            let from_x = aside.clamp(0.0, self.width as f32 - 1.0) as usize;
            let mirrored = &land[(from_y * self.width + from_x) * 3..][..3];
            let mirrored = [mirrored[0], mirrored[1], mirrored[2]].map(|value| f32::from(value) / 255.0);
            let color = mix(mirrored, deep, 0.16 + 0.34 * near - 0.1 * ripple);
            write(pixel, mix(color, self.palette.sun, self.glitter(x, near, ripple)), x, y);
        }
    }
}

impl Ridge {
    fn at(&self, tile: &Tile, x: usize, y: usize) -> Color {
        let (tx, ty) = (x as i32 + self.offset[0], y as i32 + self.offset[1]);
        let [height, relief] = tile.rock(tx, ty);
        let snowed = self.snow_line - y as f32 + height * 0.35 * self.depth;
        let ground = mix(self.rock, self.snow, (snowed / (0.16 * self.depth) + relief).clamp(0.0, 0.9));
        let light = 1.0 + relief * self.contrast;
        let below = (y as f32 - self.top) / self.depth;
        mix(ground.map(|c| c * light), self.mist, below.clamp(0.0, 1.0) * 0.8)
    }
}

impl Star {
    fn new(dice: &mut Dice, width: usize, horizon: f32) -> Self {
        let light = dice.between(0.0, 1.0);
        Self {
            x: dice.between(0.0, width as f32 - 1.0) as usize,
            y: dice.between(0.0, horizon) as usize,
            light: 0.1 + 0.9 * light.powi(3),
        }
    }
}

/// Ranges from the horizon to the foreground, each nearer one lower, darker and rougher.
fn ridges(
    dice: &mut Dice,
    palette: &Palette,
    width: usize,
    height: f32,
    horizon: f32,
    shore: f32,
) -> Vec<Ridge> {
    let count = 4 + (dice.roll() % 3) as usize;
    let sharp = dice.between(0.25, 0.85);
    let trees = dice.chance(0.65);
    let floor = shore.min(height * 0.97);
    (0..count)
        .map(|index| {
            let near = index as f32 / (count - 1) as f32;
            let base = horizon + (floor - horizon) * (0.05 + 0.8 * near.powf(1.3));
            let rise = height * (0.3 - 0.22 * near) * dice.between(0.8, 1.25);
            let mut crest = crest(dice, width, height, base, rise, sharp * (1.0 - 0.6 * near));
            if trees && index + 1 == count {
                plant(dice, &mut crest, height);
            }
            let rock = mix(palette.far, palette.near, near.powf(0.8));
            Ridge {
                peak: crest.iter().copied().fold(f32::INFINITY, f32::min),
                bottom: crest.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                crest,
                rock,
                mist: mix(palette.sky[3], rock, 0.25 + 0.6 * near),
                top: base - rise * 0.7,
                depth: height * (0.26 + 0.1 * near),
                contrast: 0.5 + 0.7 * near,
                snow: mix(palette.sky[3], palette.sun, 0.45),
                snow_line: if palette.snow && near < 0.35 { base - rise * 0.12 } else { -height },
                offset: [dice.roll() as i32 & 1023, dice.roll() as i32 & 1023],
            }
        })
        .collect()
}

fn crest(dice: &mut Dice, width: usize, height: f32, base: f32, rise: f32, sharp: f32) -> Vec<f32> {
    let seed = dice.roll() as u32;
    let start = dice.between(0.0, 1000.0);
    let step = dice.between(1.6, 2.6) / height;
    (0..width).map(|x| base - rise * line(start + x as f32 * step, 9, sharp, seed) * 1.2).collect()
}

/// Firs on a crest, in groves.
fn plant(dice: &mut Dice, crest: &mut [f32], height: f32) {
    let seed = dice.roll() as u32;
    let ground = crest.to_vec();
    let mut x = 0.0;
    while (x as usize) < crest.len() {
        let grove = line(x / height * 3.0, 3, 0.0, seed);
        let tall = height * dice.between(0.02, 0.05) * (1.0 + grove);
        if grove > -0.25 {
            fir(crest, &ground, x as usize, tall);
        }
        x += tall.max(4.0) * dice.between(0.16, 0.7);
    }
}

/// A fir is as wide as a third of its height, and its branches hang in tiers.
fn fir(crest: &mut [f32], ground: &[f32], at: usize, tall: f32) {
    let half = (tall * 0.19).max(1.0);
    let foot = ground[at];
    for x in at.saturating_sub(half as usize)..(at + half as usize + 1).min(crest.len()) {
        let aside = x.abs_diff(at) as f32 / half;
        let tier = (aside * 5.0).fract() * 0.1;
        let top = foot - tall * (1.0 - aside.powf(0.8) + tier);
        crest[x] = crest[x].min(top);
    }
}

fn smooth_step(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Sets a pixel, with the grain that a sensor would give it.
fn write(pixel: &mut [u8], color: Color, x: usize, y: usize) {
    let mut h = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    let grain = (h >> 24) as f32 / 255.0 * 5.0 - 2.0;
    for (value, light) in pixel.iter_mut().zip(color) {
        *value = (light * 255.0 + grain) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::picture;

    #[test]
    fn a_picture_is_a_jpeg_of_the_size_that_was_asked_for() {
        let picture = image::load_from_memory(&picture(3, 320, 213).unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (320, 213));
    }

    #[test]
    fn a_seed_draws_the_same_and_others_draw_others() {
        let pictures: Vec<_> = (0..20).map(|seed| picture(seed, 160, 107).unwrap()).collect();
        assert_eq!(pictures[4], picture(4, 160, 107).unwrap());
        let distinct: std::collections::BTreeSet<_> = pictures.iter().collect();
        assert_eq!(distinct.len(), 20);
    }

    #[test]
    fn every_shape_can_be_drawn() {
        for (width, height) in [(16, 16), (17, 400), (400, 19), (61, 59)] {
            for seed in 0..18 {
                picture(seed, width, height).unwrap();
            }
        }
        assert!(picture(1, 0, 10).is_err() && picture(1, 100, 70_000).is_err());
    }
}
