//! What SQLite says, as what the caller can do about it.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::ffi;

use super::schema;
use crate::error::Error;
use crate::ticket::TicketId;

const BUSY: i32 = 5;
const READ_ONLY: i32 = 8;
const IO: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const NOT_A_DATABASE: i32 = 26;
/// `SQLITE_IOERR_SHMSIZE`: the file beside the log could not grow, which only happens where there is no space.
const INDEX_SIZE: i32 = IO | (19 << 8);

/// `error` for the caller. What is said goes no further than to people who run the gateway.
pub(super) fn told(error: sqlx::Error) -> Error {
    // It was another thread that asked the system.
    said(&error, code(&error), None)
}

/// Tickets whose own the damage is that they meet. If there are more, it may be a page that all are found by, and they whole
/// behind it: the others wait for a person, and none is put down as dead.
const OWN_DAMAGE: usize = 3;

/// The first tickets that met a damaged page since the store was opened.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Vec<TicketId>>>);

impl Unread {
    /// The same as [`told`] of what is read of one ticket: a page that is damaged is that one's, and no other is held up by it.
    pub(super) fn told_of(&self, ticket: TicketId, error: sqlx::Error) -> Error {
        let is_damage = code(&error) & 0xff == CORRUPT;
        let told = told(error);
        if !is_damage || !self.is_its_own(ticket) {
            return told;
        }
        tracing::error!(%ticket, error = %told, "what is stored of a ticket cannot be read");
        Error::Damaged(ticket)
    }

    fn is_its_own(&self, ticket: TicketId) -> bool {
        let mut first = self.0.lock();
        if first.len() < OWN_DAMAGE && !first.contains(&ticket) {
            first.push(ticket);
        }
        first.contains(&ticket)
    }
}

fn code(error: &sqlx::Error) -> i32 {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The same of the writer's connection. To be called on the thread that it failed on, before anything else is done there: SQLite
/// does not say why a write has failed, and what the system has said last on this thread does.
pub(super) fn failed(error: rusqlite::Error) -> Error {
    let system = io::Error::last_os_error().kind();
    said(&error, error.sqlite_error().map_or(0, |error| error.extended_code), Some(system))
}

fn said(error: &dyn std::error::Error, code: i32, system: Option<ErrorKind>) -> Error {
    tracing::debug!(%error, code, ?system, "sqlite");
    if is_full(code, system) {
        return Error::Full;
    }
    match code & 0xff {
        CORRUPT | NOT_A_DATABASE => damaged(&error.to_string()),
        READ_ONLY => Error::Unusable(format!(
            "the database can only be read ({error}): its file, what lies beside it and their directory have to be writable \
             for whoever runs the gateway"
        )),
        BUSY => Error::Unavailable(format!(
            "another program holds the database locked ({error}): end its transaction"
        )),
        // Where it is opened, nobody knows whether that is a quota that is full.
        IO => Error::Unavailable(format!(
            "the disk answers with an error ({error}): look at the system's log, and at the quota of whoever runs the gateway"
        )),
        _ => Error::Unavailable(error.to_string()),
    }
}

/// Whether there is no space. To SQLite a user's quota, and a limit of a file's length, are disks that fail.
fn is_full(code: i32, system: Option<ErrorKind>) -> bool {
    let is_limit = matches!(system, Some(ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge));
    // The system has been asked last by the write that failed; of other errors it may have said nothing.
    code & 0xff == FULL || code == INDEX_SIZE || (code == ffi::SQLITE_IOERR_WRITE && is_limit)
}

/// Puts a database of what can be read in the place of a damaged one, if any ticket can be. Not by `.recover`, which many builds
/// of `sqlite3` have and cannot do. A dump reads each table from both ends up to the damage; of a file that was cut short only
/// where the schema may be written, which newer shells have to be told (`defensive off`). It says neither whose the database is
/// nor its version: this program's stands, unless the file's own can be read. `saved.rs` knows it by its missing totals.
fn save() -> String {
    let marks = schema::marks(schema::VERSION);
    format!(
        "rm -f saved.sqlite3; (echo '{marks};'; sqlite3 tickets.sqlite3 '.dbconfig defensive off' .dump \
         '.print PRAGMA user_version=' 'PRAGMA writable_schema=1; PRAGMA user_version' '.print ;') \
         | sed '/ defensive off$/d; s/^ROLLBACK;.*/COMMIT;/' | sqlite3 saved.sqlite3; \
         n=$(sqlite3 saved.sqlite3 'SELECT count(*) FROM ticket'); if test 0$n -gt 0; \
         then mkdir damaged && mv tickets.* damaged && all=$(sqlite3 saved.sqlite3 \
         'SELECT waiting+running+done+failed+cancelled+dead FROM total; DELETE FROM total') \
         && mv saved.sqlite3 tickets.sqlite3 && echo $n of $all tickets saved, the damaged files are in damaged/; \
         else echo no ticket can be read, and nothing was moved >&2; false; fi"
    )
}

/// The database is not what was written.
pub(super) fn damaged(how: &str) -> Error {
    Error::Unusable(format!(
        "the database is damaged ({how}): stop the gateway and put back a copy of the data directory; or go on with what can \
         be read: run in it `{}`, which moves what is damaged to damaged/",
        save()
    ))
}

/// Whether a row with the same id is there already.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use rusqlite::ffi;

    use super::{Error, failed, said};

    #[test]
    fn a_database_that_can_only_be_read_is_for_a_person_to_look_at() {
        // Its file, and one that was replaced while it was open.
        for code in [ffi::SQLITE_READONLY, ffi::SQLITE_READONLY_DBMOVED] {
            let why = "attempt to write a readonly database".to_owned();
            let error = failed(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(why)));
            assert!(matches!(&error, Error::Unusable(why) if why.contains("can only be read")), "{error}");
        }
    }

    #[test]
    fn a_users_quota_that_is_full_is_a_disk_that_is() {
        let why = rusqlite::Error::InvalidQuery;
        for system in [ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            assert!(matches!(said(&why, ffi::SQLITE_IOERR_WRITE, Some(system)), Error::Full), "{system}");
            // It may be of something else.
            let read = said(&why, ffi::SQLITE_IOERR_READ, Some(system));
            assert!(matches!(read, Error::Unavailable(_)), "{read}");
        }
        let disk = said(&why, ffi::SQLITE_IOERR_WRITE, Some(ErrorKind::Other));
        assert!(matches!(disk, Error::Unavailable(_)), "{disk}");
    }

    #[test]
    fn where_nobody_knows_a_quota_is_among_what_a_person_looks_at() {
        let error = said(&rusqlite::Error::InvalidQuery, ffi::SQLITE_IOERR_WRITE, None);
        assert!(matches!(&error, Error::Unavailable(why) if why.contains("quota")), "{error}");
    }
}
