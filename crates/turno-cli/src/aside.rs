//! Standard error, for what is said beside what was asked for.

use std::io::{self, Write};

/// Whoever no longer reads it changes nothing: no panic, as of `eprintln!`, and no other exit code.
pub(crate) struct Aside;

impl Write for Aside {
    fn write(&mut self, words: &[u8]) -> io::Result<usize> {
        let _unheard = io::stderr().write_all(words);
        Ok(words.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
