//! Makes changes: begins a transaction, decides each change (`book/changes.rs`, `book/rare.rs`; whose turn it is, `book/turns.rs`), writes what has gathered,
//! commits. The same for every database.

mod changes;
mod rare;
mod turns;

use std::collections::HashSet;

use crate::change::{Answered, Change};
use crate::error::Error;
use crate::group::Ledger;
use crate::tables::Tables;
use turns::Turns;

/// The writer's side of a store.
pub(crate) struct Book<T> {
    tables: T,
    turns: Turns,
    /// That tickets were submitted for, as far as this process knows that to be on disk.
    methods: HashSet<String>,
    /// Nothing of this process comes behind its last ends.
    is_ending: bool,
}

impl<T: Tables> Book<T> {
    pub(crate) fn new(tables: T) -> Self {
        Self { tables, turns: Turns::default(), methods: HashSet::new(), is_ending: false }
    }

    async fn make(&mut self, changes: &[Change]) -> Result<Vec<Answered>, Error> {
        let mut batch = self.tables.begin(changes).await?;
        if self.is_ending {
            batch.space = batch.space.for_last_ends();
        }
        let mut answers = Vec::with_capacity(changes.len());
        for change in changes {
            if !self.finds_space(change, &mut batch) {
                answers.push(Err(Error::Full));
                continue;
            }
            match self.change(change, &mut batch).await {
                Err(error) if !error.is_refusal() => return Err(error),
                answered => answers.push(answered),
            }
        }
        self.tables.flush(&mut batch).await?;
        let methods = std::mem::take(&mut batch.methods);
        self.tables.commit(batch).await?;
        self.methods.extend(methods.into_iter().map(str::to_owned));
        Ok(answers)
    }
}

impl<T: Tables> Ledger for Book<T> {
    async fn apply(&mut self, changes: &[Change]) -> Result<Vec<Answered>, Error> {
        let made = self.make(changes).await;
        if let Err(why) = &made {
            self.tables.roll_back(why).await;
        }
        made
    }
}

#[cfg(test)]
mod tests;
