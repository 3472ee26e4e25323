//! What PostgreSQL says, as what the caller can do about it.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::error::Error;

/// `error` for the caller.
pub(super) fn told(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
    tracing::debug!(%error, code, "postgres");
    said(code.as_deref(), is_last_word(&error), text(&error))
}

/// In its own words, without the line of its source.
pub(super) fn text(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

/// The same of its code. After a last word the connection is over, and nobody knows what became of a commit.
fn said(code: Option<&str>, is_last_word: bool, text: String) -> Error {
    match code {
        // disk_full. Where there is no room for its log, all of it ends: what the log has of a commit counts.
        Some("53100") if is_last_word => Error::Unavailable(format!(
            "PostgreSQL ends for want of space ({text}): make some, and start it again"
        )),
        Some("53100") => Error::Full,
        // serialization_failure, deadlock_detected
        Some("40001" | "40P01") => Error::Contended,
        // lock_not_available, query_canceled
        Some("55P03" | "57014") => Error::Late(text),
        // unique_violation
        Some("23505") => Error::Exists(crate::ticket::TicketId(uuid::Uuid::nil())),
        // io_error
        Some("58030") => {
            Error::Unavailable(format!("PostgreSQL's disk answers with an error ({text}): look at its log"))
        }
        // data_corrupted, index_corrupted
        Some("XX001" | "XX002") => {
            Error::Unusable(format!("the database is damaged ({text}): put back a copy of it"))
        }
        // invalid_password, invalid_authorization, no such database, insufficient_privilege
        Some("28P01" | "28000" | "3D000" | "42501") => Error::Unusable(text),
        // data_exception: a NUL character in a text, say. Not program_limit_exceeded: it is also what all writes hear for as
        // long as transactions have no numbers left.
        Some(code) if code.starts_with("22") => Error::Unfit(text),
        // cannot_connect_now: it starts, or recovers, or ends.
        Some("57P03") => Error::Unavailable(format!("PostgreSQL takes no connections now: {text}")),
        // It ends a connection with a word if it has the time.
        Some(code) if code.starts_with("57P") => Error::Unavailable(format!("PostgreSQL is ending: {text}")),
        _ => Error::Unavailable(text),
    }
}

/// Whether the connection is of no use any more.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(said) => {
            is_last_word(error) || said.code().is_some_and(|code| code.starts_with("57P"))
        }
        sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Encode(_) => false,
        _ => true,
    }
}

/// Whether the server takes no changes, as one that is another's copy.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    // read_only_sql_transaction
    error.as_database_error().is_some_and(|said| said.code().is_some_and(|code| code == "25006"))
}

/// Whether it is the last that this connection has to say, whatever its code.
fn is_last_word(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    said.is_some_and(|said| is_final(said.severity()))
}

fn is_final(severity: PgSeverity) -> bool {
    matches!(severity, PgSeverity::Fatal | PgSeverity::Panic)
}

#[cfg(test)]
mod tests {
    use super::super::server;
    use super::{PgSeverity, is_final, is_last_word, is_lost, said, told};
    use crate::error::Error;
    use sqlx::{Connection as _, PgConnection};

    fn of(code: &str, is_last_word: bool) -> Error {
        said(Some(code), is_last_word, "as PostgreSQL has it".to_owned())
    }

    #[test]
    fn after_a_last_word_there_is_none() {
        assert!(is_final(PgSeverity::Fatal) && is_final(PgSeverity::Panic));
        for other in [PgSeverity::Error, PgSeverity::Warning, PgSeverity::Notice, PgSeverity::Log] {
            assert!(!is_final(other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_ends_a_connection_has_had_its_last_word() {
        let Some(server) = server::shared() else { return };
        // Of a connection that it does not take: of its code alone nobody would know.
        let lost = PgConnection::connect(&server.address("nowhere")).await.unwrap_err();
        assert!(is_last_word(&lost) && is_lost(&lost), "{lost:?}");
        let mut person = PgConnection::connect(&server.address(&server.database())).await.unwrap();
        let refused = sqlx::query("SELECT 1 / 0").execute(&mut person).await.unwrap_err();
        assert!(!is_last_word(&refused) && !is_lost(&refused), "{refused:?}");
        let told = told(refused);
        assert!(matches!(&told, Error::Unfit(text) if text == "division by zero"), "{told}");
        let sql = "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)";
        let ended = sqlx::query(sql).execute(&mut person).await.unwrap_err();
        assert!(is_last_word(&ended) && is_lost(&ended), "{ended:?}");
    }

    #[test]
    fn a_full_disk_is_told_from_one_that_ends_the_server() {
        assert!(matches!(of("53100", false), Error::Full));
        // The transaction may be in what the log has: nobody may say that nothing was stored.
        let ended = of("53100", true);
        assert!(matches!(&ended, Error::Unavailable(why) if why.contains("start it again")), "{ended}");
    }

    #[test]
    fn what_passes_is_asked_again_and_what_does_not_is_for_a_person() {
        // Too many connections, no memory, no files, no numbers left for transactions; a shutdown, a crash, a start; a disk that
        // fails; a link that breaks.
        for code in ["53300", "53200", "53000", "54000", "57P01", "57P02", "57P03", "58030", "08006", "XX000"]
        {
            for is_last_word in [false, true] {
                assert!(matches!(of(code, is_last_word), Error::Unavailable(_)), "{code}");
            }
        }
        let starts = said(Some("57P03"), true, "the database system is starting up".to_owned());
        assert!(!starts.to_string().contains("ending"), "{starts}");
        for code in ["28P01", "28000", "3D000", "42501"] {
            assert!(matches!(of(code, true), Error::Unusable(_)), "{code}");
        }
        for code in ["XX001", "XX002"] {
            assert!(matches!(of(code, false), Error::Unusable(_)), "{code}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_for_what_it_is() {
        assert!(matches!(of("40001", false), Error::Contended));
        assert!(matches!(of("40P01", false), Error::Contended));
        assert!(matches!(of("55P03", false), Error::Late(_)));
        assert!(matches!(of("57014", false), Error::Late(_)));
        assert!(matches!(of("23505", false), Error::Exists(_)));
        assert!(matches!(of("22021", false), Error::Unfit(_)));
        assert!(matches!(said(None, false, "it is gone".to_owned()), Error::Unavailable(_)));
    }
}
