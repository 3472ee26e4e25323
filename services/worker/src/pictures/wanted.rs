//! Whether anybody still waits for a picture: asked between two stages and, by what a decoder reads from and an encoder
//! writes to, in the middle of those that take long. What is read and written is the same.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom, Write};

use super::error::Error;

/// The question.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a>(pub(super) &'a dyn Fn() -> bool);

impl Wanted<'_> {
    pub(super) fn check(self) -> Result<(), Error> {
        if (self.0)() { Ok(()) } else { Err(Error::Unwanted) }
    }

    /// What an error of a library means that may have come of this.
    pub(super) fn or(self, error: Error) -> Error {
        self.check().err().unwrap_or(error)
    }
}

/// A file as a decoder reads it, in sips.
pub(super) struct Sips<'a> {
    file: Cursor<&'a [u8]>,
    wanted: Wanted<'a>,
    taken: u32,
}

/// A decoder comes back for more after so many bytes, and may make a thousand times as many of them.
const SIP: usize = 4096;
/// One comes for eight bytes at a time.
const ASK_EVERY: u32 = 32;

impl<'a> Sips<'a> {
    pub(super) fn new(file: &'a [u8], wanted: Wanted<'a>) -> Self {
        Self { file: Cursor::new(file), wanted, taken: 0 }
    }
}

impl BufRead for Sips<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.taken = self.taken.wrapping_add(1);
        if self.taken.is_multiple_of(ASK_EVERY) {
            self.wanted.check().map_err(io::Error::other)?;
        }
        let rest = self.file.fill_buf()?;
        Ok(&rest[..rest.len().min(SIP)])
    }

    fn consume(&mut self, length: usize) {
        self.file.consume(length);
    }
}

impl Read for Sips<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let sip = self.fill_buf()?;
        let length = sip.len().min(into.len());
        into[..length].copy_from_slice(&sip[..length]);
        self.consume(length);
        Ok(length)
    }

    /// The decoder has the whole file then, and does not come back.
    fn read_to_end(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.file.read_to_end(into)
    }
}

impl Seek for Sips<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A file as an encoder writes it.
pub(super) struct Page<'a> {
    file: Vec<u8>,
    wanted: Wanted<'a>,
    ask_at: usize,
}

/// A JPEG of 24 megapixels is more than a megabyte, and takes a second.
const ASK_AFTER: usize = 16 * 1024;

impl<'a> Page<'a> {
    pub(super) fn new(wanted: Wanted<'a>) -> Self {
        Self { file: Vec::new(), wanted, ask_at: ASK_AFTER }
    }

    pub(super) fn into_file(self) -> Vec<u8> {
        self.file
    }
}

impl Write for Page<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.len() >= self.ask_at {
            self.wanted.check().map_err(io::Error::other)?;
            self.ask_at = self.file.len() + ASK_AFTER;
        }
        self.file.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
