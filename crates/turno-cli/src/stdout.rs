//! Standard output, for what was asked for.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

/// Its errors tell its own reader, who has had enough, as `head` has, from that of another pipe, who has lost something.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, words: &[u8]) -> io::Result<usize> {
        io::stdout().write(words).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(marked)
    }
}

/// Whether it is that nobody reads standard output any more.
pub(crate) fn is_unread(error: &anyhow::Error) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<Unread>())
}

fn marked(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::BrokenPipe => io::Error::new(kind, Unread),
        _ => error,
    }
}

#[derive(Debug)]
struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads standard output")
    }
}

impl Error for Unread {}

#[cfg(test)]
mod tests {
    use super::{is_unread, marked};
    use anyhow::Context as _;
    use std::io::{self, ErrorKind};

    #[test]
    fn another_pipe_whose_reader_has_left_is_an_error() {
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(!is_unread(&broken().into()));
        let full = marked(ErrorKind::StorageFull.into());
        assert!(!is_unread(&full.into()));
        let own = marked(broken());
        assert_eq!(own.kind(), ErrorKind::BrokenPipe);
        let told: io::Result<()> = Err(own);
        assert!(is_unread(&told.context("cannot write answers").unwrap_err()));
    }
}
