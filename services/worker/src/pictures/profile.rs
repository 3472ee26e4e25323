//! The ICC profile that says what a picture's colours mean. It is carried over into what comes out, when it
//! still describes that: the profile of a CMYK picture is wrong for the RGB that was made of it.

use image::ColorType;

/// A larger one is for printing presses and would dwarf a thumbnail.
const LONGEST: usize = 1 << 20;

/// `profile`, if it is one for pixels of that color type.
pub(super) fn fitting(profile: Option<Vec<u8>>, color: ColorType) -> Option<Vec<u8>> {
    let space: &[u8] = if color.has_color() { b"RGB " } else { b"GRAY" };
    profile.filter(|bytes| bytes.len() <= LONGEST && bytes.get(16..20) == Some(space))
}
