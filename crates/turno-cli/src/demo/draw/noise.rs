//! Chance that can be repeated, and the clouds and rock that are made of it. Pure arithmetic.

use std::sync::LazyLock;

/// Cells along an edge of the tile; a power of two.
const EDGE: usize = 1024;

/// Numbers by chance, the same ones for the same seed (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` up to `high`.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.roll() >> 40) as f32 / (1 << 24) as f32
    }

    pub(super) fn chance(&mut self, of: f32) -> bool {
        self.between(0.0, 1.0) < of
    }
}

/// A number from -1 to 1 for a point of a lattice.
fn lattice(x: u32, y: u32, seed: u32) -> f32 {
    let mut h = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77) ^ seed.wrapping_mul(0xc2b2_ae3d);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    ((h ^ (h >> 15)) >> 8) as f32 / (1 << 23) as f32 - 1.0
}

fn ease(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// A rolling line: octaves of noise along `x`, each half as high and twice as fine as the one before. `sharp`
/// folds it into peaks.
pub(super) fn line(x: f32, octaves: u32, sharp: f32, seed: u32) -> f32 {
    let (mut sum, mut height, mut x) = (0.0, 0.5, x);
    for octave in 0..octaves {
        let cell = x.floor();
        let at = |cell: f32| lattice(cell as i32 as u32, octave, seed);
        let value = mix(at(cell), at(cell + 1.0), ease(x - cell));
        sum += height * mix(value, 1.0 - 2.0 * value.abs(), sharp);
        height *= 0.5;
        x *= 2.03;
    }
    sum
}

/// Noise in the plane that repeats without a seam, drawn once for all pictures.
pub(super) struct Tile {
    /// The noise, and how much it rises to the light.
    cells: Vec<[f32; 2]>,
}

impl Tile {
    pub(super) fn shared() -> &'static Self {
        static TILE: LazyLock<Tile> = LazyLock::new(Tile::new);
        &TILE
    }

    fn new() -> Self {
        let mut height = vec![0.0; EDGE * EDGE];
        for octave in 0..8_u32 {
            add_octave(&mut height, 4 << octave, 0.55_f32.powi(octave as i32 + 1), octave);
        }
        let at = |x: usize, y: usize| height[(y % EDGE) * EDGE + x % EDGE];
        let slope = |i: usize| at(i % EDGE, i / EDGE) - at(i % EDGE + EDGE - 3, i / EDGE + EDGE - 4);
        Self { cells: (0..EDGE * EDGE).map(|i| [height[i], slope(i)]).collect() }
    }

    /// The noise, about -1 to 1.
    pub(super) fn height(&self, x: i32, y: i32) -> f32 {
        self.rock(x, y)[0]
    }

    /// The noise, and how much it rises to the light: what makes rock of it.
    pub(super) fn rock(&self, x: i32, y: i32) -> [f32; 2] {
        self.cells[cell(x, y)]
    }

    /// The noise between its cells.
    pub(super) fn smooth(&self, x: f32, y: f32) -> f32 {
        // Pictures lie on its positive side, where `as` is the floor, and without a call.
        let (left, top) = (x as i32, y as i32);
        let (tx, ty, x, y) = (x - left as f32, y - top as f32, left, top);
        let above = mix(self.height(x, y), self.height(x + 1, y), tx);
        let below = mix(self.height(x, y + 1), self.height(x + 1, y + 1), tx);
        mix(above, below, ty)
    }
}

fn cell(x: i32, y: i32) -> usize {
    let wrap = |v: i32| v as usize & (EDGE - 1);
    wrap(y) * EDGE + wrap(x)
}

fn add_octave(cells: &mut [f32], period: u32, height: f32, seed: u32) {
    let scale = period as f32 / EDGE as f32;
    for (y, row) in cells.chunks_exact_mut(EDGE).enumerate() {
        let fy = y as f32 * scale;
        let (top, ty) = (fy as u32, ease(fy.fract()));
        for (x, cell) in row.iter_mut().enumerate() {
            let fx = x as f32 * scale;
            let (left, tx) = (fx as u32, ease(fx.fract()));
            let at = |x: u32, y: u32| lattice(x % period, y % period, seed);
            let above = mix(at(left, top), at(left + 1, top), tx);
            *cell += height * mix(above, mix(at(left, top + 1), at(left + 1, top + 1), tx), ty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Dice, EDGE, Tile, line};

    #[test]
    fn chance_is_repeatable_and_within_its_bounds() {
        let rolls =
            |seed| (0..100).map(|_| 0.0).scan(Dice::new(seed), |dice, _: f32| Some(dice.between(2.0, 3.0)));
        assert!(rolls(7).eq(rolls(7)) && !rolls(7).eq(rolls(8)));
        assert!(rolls(7).all(|value| (2.0..=3.0).contains(&value)));
    }

    #[test]
    fn the_tile_has_no_seam() {
        let tile = Tile::shared();
        let edge = EDGE as i32;
        let step = |x: i32| (tile.height(x, 5) - tile.height(x + 1, 5)).abs();
        let largest = (0..edge - 1).map(step).fold(0.0, f32::max);
        assert!(step(edge - 1) <= largest);
        assert_eq!(tile.height(-1, -1), tile.height(edge - 1, edge - 1));
        assert_eq!(tile.smooth(3.0, 4.0), tile.height(3, 4));
    }

    #[test]
    fn lines_stay_within_one() {
        assert!((0..10_000).all(|i| line(i as f32 * 0.173 - 800.0, 8, 0.5, 3).abs() <= 1.0));
    }
}
