//! Opens a store by its address.

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::store::Store;
use crate::{postgres, sqlite};

/// Opens a store: a directory (SQLite in `DIRECTORY/tickets.sqlite3`, made if it is not there), or `postgres://…`.
///
/// Must be called in a tokio runtime, which the store's writer lives in.
///
/// # Errors
/// [`Error::Unusable`]: the text says what a person can do. [`Error::Full`].
pub async fn open(address: &str) -> Result<Arc<dyn Store>, Error> {
    if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        return Ok(Arc::new(postgres::open(address).await?));
    }
    if let Some((kind, _)) = address.split_once("://") {
        // What follows may hold a password.
        return Err(Error::Unusable(format!(
            "the store {kind}://… is of no kind that is known: give a directory, or postgres://…"
        )));
    }
    Ok(Arc::new(sqlite::open(Path::new(address)).await?))
}
