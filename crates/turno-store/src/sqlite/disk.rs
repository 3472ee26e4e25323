//! Looks how full the disk is before a transaction, and takes the log into the database where that makes room. What may be added
//! then is decided in `space.rs`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::session::Session;
use crate::change::Change;
use crate::error::Error;
use crate::space::{self, Database, Disk, Space};

/// For so long a disk that had no space is believed to have none for what is new.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where the database lies.
pub(super) struct Files {
    directory: PathBuf,
    database: PathBuf,
    log: PathBuf,
    /// When SQLite has found no space.
    ran_out: Option<Instant>,
}

impl Files {
    pub(super) fn new(directory: &Path, database: PathBuf, log: PathBuf) -> Self {
        Self { directory: directory.to_owned(), database, log, ran_out: None }
    }

    /// What there is space for. Between two transactions: nothing is taken in within one.
    pub(super) fn space(&mut self, session: &Session, changes: &[Change]) -> Result<Space, Error> {
        let found = self.found(session, changes)?;
        Ok(if self.has_run_out() { found.without_new() } else { found })
    }

    /// By what the system says.
    fn found(&mut self, session: &Session, changes: &[Change]) -> Result<Space, Error> {
        let Some(disk) = self.disk() else { return Ok(Space::BOUNDLESS) };
        let (needed, least) = (space::needed(changes), disk.at_least());
        if least.has(needed) {
            return Ok(least);
        }
        let database = self.database(session)?;
        if self.has_run_out() || !disk.is_short(database, needed) {
            return Ok(disk.space(database));
        }
        match session.take_in_log() {
            Err(Error::Full) => {
                self.ran_out = Some(Instant::now());
                return Ok(disk.space(database));
            }
            taken => taken?,
        }
        let database = self.database(session)?;
        Ok(self.disk().map_or(Space::BOUNDLESS, |disk| disk.space(database)))
    }

    /// SQLite has found no space, whatever the system says: there are quotas, and others who write. A log that
    /// can be taken in begins anew, in the space that it has.
    pub(super) fn ran_out(&mut self, session: &Session) {
        if self.has_run_out() {
            return;
        }
        self.ran_out = Some(Instant::now());
        if let Err(error) = session.take_in_log() {
            tracing::debug!(%error, "the log is not taken in");
        }
    }

    fn has_run_out(&self) -> bool {
        self.ran_out.is_some_and(|since| since.elapsed() < LOOK_AGAIN)
    }

    /// `None` where nobody can say.
    fn disk(&self) -> Option<Disk> {
        Some(Disk { free: free(&self.directory)?, log: length(&self.log) })
    }

    fn database(&self, session: &Session) -> Result<Database, Error> {
        let (whole, unused) = session.pages()?;
        Ok(Database { owed: whole.saturating_sub(length(&self.database)), unused })
    }
}

/// Bytes that whoever runs this may still write to the directory's disk; `None` where nobody can say.
pub(crate) fn free(directory: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(directory).ok().filter(|found| found.f_blocks > 0)?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// By its name: whoever opens a database's file and closes it takes this process's locks off it.
pub(super) fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}
