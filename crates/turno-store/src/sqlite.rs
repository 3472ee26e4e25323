//! The embedded store: SQLite in a directory of this process alone. One task writes (`book.rs`) and takes what has gathered
//! into one transaction; readers have connections of their own.

mod batch;
mod book;
mod changes;
mod directory;
mod errors;
mod memory;
mod rare;
mod reader;
mod rows;
mod schema;
mod shapes;

use std::path::Path;

use crate::error::Error;
use crate::group::Writer;
use crate::kept::Kept;
use book::Book;
use memory::Notes;
use reader::Reader;

/// Opens the store in `directory`, and makes it if there is none.
pub(crate) async fn open(directory: &Path) -> Result<Kept<Reader>, Error> {
    let opened = directory::open(directory).await?;
    let notes = Notes::default();
    let book = Book::new(opened.writer, opened.lock, notes.clone()).await?;
    let writer = Writer::start("turno.store.sqlite", book);
    Ok(Kept { writer, reader: Reader { pool: opened.readers, notes } })
}
