//! How many transactions were acknowledged, beside the database, in the file that the directory is locked by. It is not
//! synced, and written after each commit: it may lag behind the database, never lead. A database that has had fewer
//! transactions than the mark says has lost some: it, or its log, was cut short, damaged, or put back from an older copy.
//! The file's time is that of the last one, or of one before it that was later by a clock that was set back since.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;

/// The mark.
pub(super) struct Mark {
    file: File,
    commits: i64,
}

impl Mark {
    /// Of a database that has had so many transactions; `path` is the locked file's.
    pub(super) fn new(file: File, path: &Path, commits: i64) -> Result<Self, Error> {
        Self::check(&file, path, commits)?;
        let mark = Self { file, commits };
        mark.write();
        Ok(mark)
    }

    /// Refuses a database that has had fewer than there must be.
    pub(super) fn check(file: &File, path: &Path, commits: i64) -> Result<(), Error> {
        let mut marked = [0; 8];
        // One that is not there yet says nothing.
        let marked = file.read_exact_at(&mut marked, 0).map_or(0, |()| i64::from_le_bytes(marked));
        if marked <= commits {
            return Ok(());
        }
        Err(Error::Unusable(format!(
            "the last {} transactions that were acknowledged are missing: the database or its log was cut short, or moved \
             away, or is an older copy. Put back a whole copy of the data directory; or, to go on without them, delete {}",
            marked - commits,
            path.display()
        )))
    }

    /// One more. `latest` is the store's time: it does not go back, as the clock may that the file's time is from.
    pub(super) fn advance(&mut self, latest: i64) {
        self.commits += 1;
        self.write();
        let latest = UNIX_EPOCH + Duration::from_millis(latest.unsigned_abs());
        if latest > SystemTime::now()
            && let Err(error) = self.file.set_modified(latest)
        {
            tracing::debug!(%error, "the mark does not say that the clock was set back");
        }
    }

    fn write(&self) {
        // A mark that lags is a check that sees less, and no harm.
        if let Err(error) = self.file.write_all_at(&self.commits.to_le_bytes(), 0) {
            tracing::debug!(%error, "the mark is not written");
        }
    }
}
