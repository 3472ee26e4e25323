//! Whether the database's file is still where it was opened. SQLite goes on with one that was deleted, or that another one was
//! put in the place of, and what it stores there then is lost with the process.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A file that was there.
pub(super) struct Presence {
    path: PathBuf,
    /// By its number SQLite tells it too.
    inode: u64,
}

impl Presence {
    /// Of the file at `path`. It is never opened for this: to close it would be to let go of SQLite's locks on it.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let found = std::fs::metadata(path);
        let found = found.map_err(|error| Error::Unusable(format!("its file cannot be found: {error}")))?;
        Ok(Self { path: path.to_owned(), inode: found.ino() })
    }

    /// Refuses what would be stored nowhere.
    pub(super) fn check(&self) -> Result<(), Error> {
        let is_there = match std::fs::metadata(&self.path) {
            Ok(found) => found.ino() == self.inode,
            Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        };
        if is_there {
            return Ok(());
        }
        Err(Error::Unusable(format!(
            "{} was deleted, or moved, or another file put in its place, while the gateway has it open: nothing is stored, for \
             it would be lost. Put the data directory back, or stop the gateway and start it on what is there",
            self.path.display()
        )))
    }
}
