//! What PostgreSQL says, as what the caller can do about it.

use crate::error::Error;

/// `error` for the caller.
pub(super) fn told(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
    tracing::debug!(%error, code, "postgres");
    match code.as_deref() {
        // disk_full
        Some("53100") => Error::Full,
        // serialization_failure, deadlock_detected
        Some("40001" | "40P01") => Error::Contended,
        // lock_not_available, query_canceled
        Some("55P03" | "57014") => Error::Late(error.to_string()),
        // unique_violation
        Some("23505") => Error::Exists(crate::ticket::TicketId(uuid::Uuid::nil())),
        // data_corrupted, index_corrupted
        Some("XX001" | "XX002") => {
            Error::Unusable(format!("the database is damaged ({error}): put back a copy of it"))
        }
        // invalid_password, invalid_authorization, no such database, insufficient_privilege
        Some("28P01" | "28000" | "3D000" | "42501") => Error::Unusable(error.to_string()),
        // data_exception: a NUL character in a text, say
        Some(code) if code.starts_with("22") => Error::Unfit(error.to_string()),
        // It ends a connection with a word if it has the time.
        Some(code) if code.starts_with("57P") => Error::Unavailable(format!("PostgreSQL is ending: {error}")),
        _ => Error::Unavailable(error.to_string()),
    }
}

/// Whether the connection is of no use any more.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Encode(_) => false,
        _ => true,
    }
}
