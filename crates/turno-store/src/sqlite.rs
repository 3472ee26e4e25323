//! The embedded store: SQLite in a directory of this process alone. One task writes and takes what has gathered
//! into one transaction; readers have connections of their own.

mod bulk;
mod directory;
mod errors;
mod log;
mod mark;
mod memory;
mod reader;
mod rows;
mod schema;
mod session;
mod shapes;
mod tables;

use std::path::Path;

use crate::book::Book;
use crate::error::Error;
use crate::group::Writer;
use crate::kept::Kept;
use memory::Notes;
use reader::Reader;
use tables::Shelves;

/// Opens the store in `directory`, and makes it if there is none.
pub(crate) async fn open(directory: &Path) -> Result<Kept<Reader>, Error> {
    let opened = directory::open(directory).await?;
    let notes = Notes::default();
    let shelves = Shelves::new(opened.writer, opened.mark, notes.clone()).await?;
    let writer = Writer::start("turno.store.sqlite", Book::new(shelves));
    Ok(Kept { writer, reader: Reader { pool: opened.readers, notes } })
}
