//! What a caller has written, in what he is told of it.

use std::borrow::Cow;

/// A status travels in trailers, of which gRPC's core takes 8 KiB; and there a character may have twelve bytes.
const MOST: usize = 200;

/// The beginning of a text that may be of any length.
pub(crate) fn beginning(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, beginning};

    #[test]
    fn only_what_is_long_is_cut() {
        for short in [String::new(), "operations/7".to_owned(), "ß".repeat(MOST)] {
            assert_eq!(beginning(&short), short);
        }
        assert_eq!(beginning(&"ß".repeat(20_000)), "ß".repeat(MOST) + "…");
    }
}
