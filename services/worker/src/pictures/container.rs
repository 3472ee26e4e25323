//! What `image`'s decoders do not look at in a file's outer structure: that a JPEG is all there (its decoder
//! paints what is missing grey), and that a WebP's chunks lie inside the file (its decoder allocates up to
//! 4 GiB on the word of a chunk's header). `source.rs` calls it.

use super::error::Error;
use super::format::Format;

const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];
const START_OF_SCAN: u8 = 0xDA;
const RIFF_HEADER: usize = 12;
const CHUNK_HEADER: usize = 8;

/// Refuses a JPEG whose pixels break off: one with no end marker behind the start of its pixels.
pub(super) fn check_jpeg_is_whole(data: &[u8]) -> Result<(), Error> {
    let pixels = scan_start(data).and_then(|start| data.get(start..)).unwrap_or_default();
    match pixels.windows(2).rposition(|pair| pair == END_OF_IMAGE) {
        Some(_) => Ok(()),
        None => Err(Error::damaged(Format::Jpeg, "it breaks off before its end")),
    }
}

/// Where the first scan begins. The segments before it are stepped over: a preview in EXIF has an end marker too.
fn scan_start(data: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        match *data.get(at..at + 4)? {
            [0xFF, START_OF_SCAN, ..] => return Some(at),
            [0xFF, 0xFF, ..] => at += 1,
            [0xFF, _, high, low] => at += 2 + usize::from(u16::from_be_bytes([high, low])),
            _ => at += 1,
        }
    }
}

/// The top level of a WebP file.
pub(super) struct WebP<'a> {
    /// The file, without what may hang behind it.
    pub(super) file: &'a [u8],
    chunks: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> WebP<'a> {
    /// Refuses a file that ends before one of its chunks does.
    pub(super) fn read(data: &'a [u8]) -> Result<Self, Error> {
        Self::parse(data).ok_or_else(|| Error::damaged(Format::WebP, "it breaks off before its end"))
    }

    fn parse(data: &'a [u8]) -> Option<Self> {
        let file = data.get(..CHUNK_HEADER.checked_add(length(data)?)?)?;
        let mut rest = file.get(RIFF_HEADER..)?;
        let mut chunks = Vec::new();
        while rest.len() >= CHUNK_HEADER {
            let end = CHUNK_HEADER.checked_add(length(rest)?)?;
            chunks.push((&rest[..4], rest.get(CHUNK_HEADER..end)?));
            // A chunk of odd length is padded; some writers forget it behind the last one.
            rest = rest.get(end + end % 2..).unwrap_or_default();
        }
        Some(Self { file, chunks })
    }

    /// The content of the first chunk of that name.
    pub(super) fn chunk(&self, name: &[u8; 4]) -> Option<&'a [u8]> {
        self.chunks.iter().find(|(found, _)| found == name).map(|(_, content)| *content)
    }
}

/// The length that the header of a chunk announces.
fn length(chunk: &[u8]) -> Option<usize> {
    let field = chunk.get(4..CHUNK_HEADER)?;
    Some(u32::from_le_bytes(field.try_into().ok()?) as usize)
}
