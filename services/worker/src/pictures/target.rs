//! What size a picture is to become: arithmetic alone. Sizes are those of the upright picture; `render.rs`
//! turns them where the pixels are stored lying.

use std::fmt;

use super::error::Error;
use super::limits::Limits;

/// The side of a thumbnail's box, when the caller names none.
const DEFAULT_BOX: u32 = 256;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

impl Size {
    /// Width, then height.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// How many pixels that are.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    pub(super) fn longest(self) -> u32 {
        self.width.max(self.height)
    }

    pub(super) fn turned(self) -> Self {
        Self::new(self.height, self.width)
    }

    /// These proportions at that width.
    fn at_width(self, width: u32) -> Self {
        Self::new(width, follow(self.height, width, self.width))
    }

    /// These proportions at that height.
    fn at_height(self, height: u32) -> Self {
        Self::new(follow(self.width, height, self.height), height)
    }

    /// These proportions, as large as fits into `bounds`.
    fn inside(self, bounds: Self) -> Self {
        let wider = u64::from(self.width) * u64::from(bounds.height)
            >= u64::from(self.height) * u64::from(bounds.width);
        if wider { self.at_width(bounds.width) } else { self.at_height(bounds.height) }
    }
}

/// `side × part ÷ whole`, rounded, and never nothing.
fn follow(side: u32, part: u32, whole: u32) -> u32 {
    let (side, part, whole) = (u128::from(side), u128::from(part), u128::from(whole));
    let rounded = (side * part + whole / 2) / whole;
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.width, self.height)
    }
}

/// How a picture goes into a size of other proportions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// Stretched to exactly that size.
    #[default]
    Stretch,
    /// As large as fits inside.
    Contain,
    /// Covers all of it; what hangs over is cut off evenly.
    Cover,
}

/// The size that comes out, and whether the picture is cut to its proportions first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) size: Size,
    pub(super) cut: bool,
}

impl Target {
    /// The picture as it is.
    pub fn whole(source: Size) -> Self {
        Self { size: source, cut: false }
    }

    /// The picture inside a box, never enlarged. A side that is zero does not bound; with both zero the box
    /// is 256 x 256.
    pub fn thumbnail(source: Size, width: u32, height: u32) -> Self {
        let bounds = match (width, height) {
            (0, 0) => Size::new(DEFAULT_BOX, DEFAULT_BOX),
            (0, height) => Size::new(source.width, height),
            (width, 0) => Size::new(width, source.height),
            (width, height) => Size::new(width, height),
        };
        if source.width <= bounds.width && source.height <= bounds.height {
            return Self::whole(source);
        }
        Self { size: source.inside(bounds), cut: false }
    }

    /// The size that was asked for. A side that is zero follows from the other; both zero is an error.
    pub fn resize(source: Size, width: u32, height: u32, fit: Fit, limits: &Limits) -> Result<Self, Error> {
        let size = match (width, height, fit) {
            (0, 0, _) => {
                return Err(Error::BadArgument("width and height are both zero: name one at least".into()));
            }
            (width, 0, _) => source.at_width(width),
            (0, height, _) => source.at_height(height),
            (width, height, Fit::Contain) => source.inside(Size::new(width, height)),
            (width, height, Fit::Stretch | Fit::Cover) => Size::new(width, height),
        };
        limits.check_target(size)?;
        Ok(Self { size, cut: fit == Fit::Cover && width != 0 && height != 0 })
    }
}
