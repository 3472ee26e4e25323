//! Holds every store to its promises: one suite, run for each.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test fails by it, or says why it is skipped")]

mod faults;
mod suite;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use suite::Place;
use turno_store::{Error, Store};

/// SQLite in a directory of its own.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Place for Directory {
    async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        turno_store::open(self.0.path().to_str().unwrap()).await
    }

    fn keeps_leases(&self) -> bool {
        false
    }

    async fn ask(&self, sql: &str) -> Option<i64> {
        let options = SqliteConnectOptions::new().filename(self.0.path().join("tickets.sqlite3"));
        let mut person = options.connect().await.unwrap();
        let sql = AssertSqlSafe(sql.replace("turno.", ""));
        let answered: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&mut person).await.unwrap();
        person.close().await.unwrap();
        answered.first().copied()
    }
}

/// A database of its own in PostgreSQL.
struct Database(String);

impl Database {
    fn new() -> Option<Self> {
        let server = suite::server::shared()?;
        Some(Self(server.address(&server.database())))
    }
}

#[async_trait]
impl Place for Database {
    async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        turno_store::open(&self.0).await
    }

    fn keeps_leases(&self) -> bool {
        true
    }

    async fn ask(&self, sql: &str) -> Option<i64> {
        let mut person = PgConnection::connect(&self.0).await.unwrap();
        let sql = AssertSqlSafe(sql.to_owned());
        let answered: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&mut person).await.unwrap();
        person.close().await.unwrap();
        answered.first().copied()
    }
}

#[test]
fn sqlite_agrees_with_a_model() {
    suite::history::agree_with_a_model(64, || Some(Box::new(Directory::new())));
}

#[test]
fn postgres_agrees_with_a_model() {
    let database = || Some(Box::new(Database::new()?) as Box<dyn Place>);
    suite::history::agree_with_a_model(24, database);
}

/// A test for each promise and store.
macro_rules! promises {
    ($($part:ident: $($promise:ident)*;)*) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::suite::$part::$promise(&super::Directory::new()).await;
                }
            )*)*
        }

        mod postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    if let Some(database) = super::Database::new() {
                        super::suite::$part::$promise(&database).await;
                    }
                }
            )*)*
        }
    };
}

promises! {
    submits:
        a_ticket_reads_as_it_was_submitted
        an_attempt_begins_with_the_ticket
        no_attempt_begins_early_or_without_a_lease
        an_id_is_stored_once
        many_at_once_are_all_stored
        a_method_is_known_once_a_ticket_was_submitted_for_it
        what_nobody_heard_of_is_given_back
        what_a_database_cannot_keep_spoils_no_other
        everything_is_there_when_it_is_opened_again;
    keys:
        the_same_key_is_the_same_ticket
        a_key_is_taken_by_what_it_was_first_given_to
        of_many_at_once_with_one_key_one_is_stored
        a_key_is_forgotten_when_its_time_is_over
        a_key_outlives_its_ticket
        a_key_says_how_its_ticket_ended
        a_submit_with_its_key_takes_a_delete_back;
    runs:
        the_longest_due_is_claimed_first
        a_ticket_ends_once_and_for_all
        a_failure_comes_back_as_it_was
        a_retry_is_due_after_its_pause
        what_is_released_is_due_after_its_pause
        what_a_dead_gateway_held_is_taken_over
        a_lease_ends_by_itself
        what_its_gateway_does_not_know_of_is_due_again
        a_claim_takes_one_and_no_more_bytes_than_it_may
        a_long_queue_is_passed_over_where_it_is_full
        a_method_that_nobody_serves_is_passed_over
        of_many_queues_the_one_that_has_something_due_is_found
        progress_is_seen_while_it_runs_and_after;
    ends:
        what_nobody_holds_is_cancelled_then_and_there
        what_runs_is_asked_to_stop
        a_wish_to_cancel_outlives_a_gateway
        a_deleted_ticket_is_gone_when_it_has_ended
        only_what_is_dead_is_edited
        a_dead_ticket_is_redriven_once
        results_expire;
    bodies:
        bodies_of_every_size_come_back
        small_tickets_pass_a_large_one
        what_was_written_for_nobody_is_swept;
    maps:
        a_map_comes_back_with_its_inputs
        inputs_that_are_not_all_there_are_not_submitted
        inputs_that_are_dropped_are_gone
        results_are_those_of_the_current_attempt
        a_map_goes_with_all_that_it_had
        a_map_of_more_parts_than_one_sweep_takes_goes_whole
        a_dead_map_is_neither_edited_nor_redriven;
    finding:
        a_listing_goes_from_page_to_page
        every_part_of_a_query_must_hold
        counts_say_how_many_there_are;
}
