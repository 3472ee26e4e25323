//! The embedded store: SQLite in a directory of this process alone. One thread writes, and takes what has gathered
//! into one transaction; readers have connections of their own.

mod bulk;
mod directory;
mod disk;
mod errors;
mod leftovers;
mod log;
mod mark;
mod memory;
mod presence;
mod reader;
mod rows;
mod saved;
mod schema;
mod session;
mod tables;

use std::path::Path;

use crate::book::Book;
use crate::error::Error;
use crate::group::Writer;
use crate::kept::Kept;
pub(crate) use disk::free;
use errors::Unread;
use memory::Notes;
pub(crate) use reader::Reader;
pub(crate) use tables::Shelves;

/// Opens the store in `directory`, and makes it if there is none.
pub(crate) async fn open(directory: &Path) -> Result<Kept<Reader>, Error> {
    let (book, reader) = parts(directory).await?;
    Ok(Kept { writer: Writer::start_thread("store", book, directory)?, reader })
}

/// What makes changes, and what reads.
pub(crate) async fn parts(directory: &Path) -> Result<(Book<Shelves>, Reader), Error> {
    let opened = directory::open(directory).await?;
    let notes = Notes::default();
    let shelves = Shelves::new(opened.session, opened.files, opened.mark, notes.clone(), opened.last);
    let reader = Reader { pool: opened.readers, notes, unread: Unread::default() };
    Ok((Book::new(shelves), reader))
}
