//! A data directory that is deleted under its store: SQLite would go on with files that nobody finds again.

use std::fs;
use std::path::Path;

use turno_store::{Error, Store};

use crate::suite::{new, submit};

/// What is said of `data`.
async fn refused(store: &dyn Store, data: &Path) {
    match store.submit(new()).await {
        Err(Error::Unusable(why)) => assert!(why.contains(data.to_str().unwrap()), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_that_would_be_gone_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (directory.path().join("data"), directory.path().join("elsewhere"));
    let store = turno_store::open(data.to_str().unwrap()).await.unwrap();
    submit(&*store, new()).await;
    fs::rename(&data, &elsewhere).unwrap();
    refused(&*store, &data).await;
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tickets.sqlite3"), b"another").unwrap();
    refused(&*store, &data).await;
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&elsewhere, &data).unwrap();
    submit(&*store, new()).await;
    assert_eq!(store.counts().await.unwrap().waiting, 2, "what was refused is not stored");
    fs::remove_dir_all(&data).unwrap();
    refused(&*store, &data).await;
}
