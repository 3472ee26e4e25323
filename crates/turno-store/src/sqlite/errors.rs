//! What SQLite says, as what the caller can do about it.

use rusqlite::ffi;

use crate::error::Error;

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
    let code = error.as_database_error().and_then(|error| error.code());
    said(&error, code.and_then(|code| code.parse().ok()).unwrap_or(0))
}

/// The same of the writer's connection.
pub(super) fn failed(error: rusqlite::Error) -> Error {
    said(&error, error.sqlite_error().map_or(0, |error| error.extended_code))
}

fn said(error: &dyn std::error::Error, code: i32) -> Error {
    tracing::debug!(%error, code, "sqlite");
    match code & 0xff {
        FULL => Error::Full,
        _ if code == INDEX_SIZE => Error::Full,
        CORRUPT | NOT_A_DATABASE => damaged(&error.to_string()),
        READ_ONLY => Error::Unusable(format!(
            "the database can only be read ({error}): its file, what lies beside it and their directory have to be writable \
             for whoever runs the gateway"
        )),
        BUSY => Error::Unavailable(format!(
            "another program holds the database locked ({error}): end its transaction"
        )),
        // SQLite says no more where a user's quota is full: it knows that a disk is full by the disk's word alone.
        IO => Error::Unavailable(format!(
            "the disk answers with an error ({error}): look at the system's log, and at the quota of whoever runs the gateway"
        )),
        _ => Error::Unavailable(error.to_string()),
    }
}

/// The database is not what was written.
pub(super) fn damaged(how: &str) -> Error {
    Error::Unusable(format!(
        "the database is damaged ({how}): stop the gateway and put back a copy of the data directory, or save what can be \
         read with `sqlite3 tickets.sqlite3 .recover`"
    ))
}

/// Whether a row with the same id is there already.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::{Error, failed};

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
    fn a_users_quota_that_is_full_is_among_what_a_person_looks_at() {
        let why = "disk I/O error".to_owned();
        let error = ffi::Error::new(ffi::SQLITE_IOERR_WRITE);
        let error = failed(rusqlite::Error::SqliteFailure(error, Some(why)));
        assert!(matches!(&error, Error::Unavailable(why) if why.contains("quota")), "{error}");
    }
}
