//! The lights that a landscape is drawn in.

/// Red, green, blue, each from 0 to 1.
pub(super) type Color = [f32; 3];

/// `t` of the way from `a` to `b`.
pub(super) fn mix(a: Color, b: Color, t: f32) -> Color {
    [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}

/// A light.
#[derive(Clone)]
pub(super) struct Palette {
    /// The sky from its top to the horizon.
    pub(super) sky: [Color; 4],
    /// The sun or the moon, and the glow about it.
    pub(super) sun: Color,
    pub(super) glow: f32,
    /// Its size, of the picture's height.
    pub(super) disc: f32,
    pub(super) cloud: Color,
    /// How much of the sky is clouded.
    pub(super) clouds: f32,
    /// What the farthest ridge and the nearest are made of.
    pub(super) far: Color,
    pub(super) near: Color,
    pub(super) snow: bool,
    /// Stars on a picture.
    pub(super) stars: u32,
    /// Curtains of light.
    pub(super) aurora: bool,
}

const fn rgb(hex: u32) -> Color {
    [(hex >> 16 & 255) as f32 / 255.0, (hex >> 8 & 255) as f32 / 255.0, (hex & 255) as f32 / 255.0]
}

const DAY: Palette = Palette {
    sky: [rgb(0x2f6fb5), rgb(0x5d9bd4), rgb(0x9cc8e8), rgb(0xdbeaf0)],
    sun: rgb(0xfff6dc),
    glow: 0.5,
    disc: 0.03,
    cloud: rgb(0xffffff),
    clouds: 0.55,
    far: rgb(0x7d9dbb),
    near: rgb(0x2c4a2e),
    snow: true,
    stars: 0,
    aurora: false,
};

/// All of them, so ordered that neighbours differ.
pub(super) const ALL: [Palette; 9] = [
    // Sunset.
    Palette {
        sky: [rgb(0x2b2a5e), rgb(0x8a3f7c), rgb(0xe8695a), rgb(0xffc371)],
        sun: rgb(0xfff0b8),
        glow: 0.9,
        disc: 0.055,
        cloud: rgb(0xff8f6b),
        clouds: 0.5,
        far: rgb(0xb5566e),
        near: rgb(0x1a1230),
        snow: false,
        ..DAY
    },
    DAY,
    // A clear night.
    Palette {
        sky: [rgb(0x050a1e), rgb(0x0d1b3e), rgb(0x1f3a68), rgb(0x46628f)],
        sun: rgb(0xf4f1de),
        glow: 0.35,
        disc: 0.04,
        cloud: rgb(0x4a5f8a),
        clouds: 0.25,
        far: rgb(0x2e4671),
        near: rgb(0x04070f),
        stars: 900,
        ..DAY
    },
    // A misty morning in the woods.
    Palette {
        sky: [rgb(0x8fb4b3), rgb(0xb4cfc8), rgb(0xd9e4d4), rgb(0xf5efd9)],
        sun: rgb(0xfffbe6),
        glow: 0.7,
        disc: 0.05,
        cloud: rgb(0xf3f5ea),
        clouds: 0.35,
        far: rgb(0x8fb3ab),
        near: rgb(0x12302e),
        snow: false,
        ..DAY
    },
    // The desert.
    Palette {
        sky: [rgb(0x3e7ea6), rgb(0x83b3c4), rgb(0xe2cfa9), rgb(0xf8d9a0)],
        sun: rgb(0xfff4d0),
        glow: 0.8,
        disc: 0.045,
        cloud: rgb(0xfbe6c8),
        clouds: 0.3,
        far: rgb(0xcf9a6d),
        near: rgb(0x6b2f1a),
        snow: false,
        ..DAY
    },
    // Dawn.
    Palette {
        sky: [rgb(0x4a6fa5), rgb(0x9a9fce), rgb(0xf2b5c4), rgb(0xffe3c9)],
        sun: rgb(0xfff3e0),
        glow: 0.8,
        disc: 0.045,
        cloud: rgb(0xffc9c9),
        clouds: 0.55,
        far: rgb(0x9d8fb8),
        near: rgb(0x232a4a),
        ..DAY
    },
    // Northern lights.
    Palette {
        sky: [rgb(0x03071a), rgb(0x071c33), rgb(0x0d3b4a), rgb(0x1d5c5e)],
        sun: rgb(0xd9f5e4),
        glow: 0.12,
        disc: 0.0,
        cloud: rgb(0x5dffb0),
        clouds: 0.6,
        far: rgb(0x1d4a55),
        near: rgb(0x02090f),
        snow: false,
        stars: 700,
        aurora: true,
    },
    // Autumn.
    Palette {
        sky: [rgb(0x6c8ebf), rgb(0xa9bdd3), rgb(0xe9dcc3), rgb(0xfbe5b6)],
        sun: rgb(0xfff2cf),
        glow: 0.7,
        disc: 0.04,
        cloud: rgb(0xfff1dd),
        clouds: 0.6,
        far: rgb(0xb59a86),
        near: rgb(0x5a2a12),
        ..DAY
    },
    // Dusk.
    Palette {
        sky: [rgb(0x191338), rgb(0x443472), rgb(0xa45c9a), rgb(0xf3a3a3)],
        sun: rgb(0xffe2d1),
        glow: 0.7,
        disc: 0.05,
        cloud: rgb(0xd07fb0),
        clouds: 0.45,
        far: rgb(0x7b558f),
        near: rgb(0x100b26),
        snow: false,
        stars: 160,
        ..DAY
    },
];
