//! The failures that a store finds by itself. The codes are `google.rpc.Code`'s.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::ticket::Failure;

/// `UNAVAILABLE`
pub(crate) static LOST: LazyLock<Failure> =
    LazyLock::new(|| failure(14, "the gateway that ran it has ended, or its lease has"));

/// `DATA_LOSS`
pub(crate) static DAMAGED: LazyLock<Failure> =
    LazyLock::new(|| failure(15, "what is stored of it is damaged: it cannot be run"));

/// `DATA_LOSS`, in the place of what an attempt has failed with.
pub(crate) static UNREADABLE: LazyLock<Failure> = LazyLock::new(|| {
    failure(15, "what is stored of this attempt is damaged: nobody knows what it failed with")
});

impl Failure {
    /// Whether a store has found it by itself: it says nothing of what a method did.
    pub fn is_the_stores(&self) -> bool {
        [&*LOST, &*DAMAGED, &*UNREADABLE].contains(&self)
    }
}

fn failure(code: i32, message: &str) -> Failure {
    Failure { code, message: message.to_owned(), details: Bytes::new() }
}
