//! A database of what could be read of a damaged one, as `errors.rs` says that it is made: tickets are missing, and it has no
//! totals. Called where it is opened, and puts it in order once.

use sqlx::{Connection as _, SqliteConnection};

use super::errors::told;
use super::schema;
use crate::error::Error;

/// Of tickets that are missing nothing is left that others would be taken for: their numbers are given again, and by its key
/// one that had not ended would be done.
const ORDER: &str = "
DELETE FROM attempt WHERE ticket NOT IN (SELECT seq FROM ticket);
DELETE FROM idempotency WHERE state IS NULL AND ticket NOT IN (SELECT id FROM ticket);
INSERT INTO total (waiting, running, done, failed, cancelled, dead) SELECT
    count(*) FILTER (WHERE state = 'waiting'),
    count(*) FILTER (WHERE state = 'running'),
    count(*) FILTER (WHERE state = 'done'),
    count(*) FILTER (WHERE state = 'failed'),
    count(*) FILTER (WHERE state = 'cancelled'),
    count(*) FILTER (WHERE state = 'dead') FROM ticket;
";

/// Does nothing where there are totals.
pub(super) async fn put_in_order(connection: &mut SqliteConnection) -> Result<(), Error> {
    if schema::number(connection, "SELECT count(*) FROM total").await? > 0 {
        return Ok(());
    }
    let mut transaction = connection.begin().await.map_err(told)?;
    sqlx::raw_sql(ORDER).execute(&mut *transaction).await.map_err(told)?;
    transaction.commit().await.map_err(told)
}
