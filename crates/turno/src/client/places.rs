//! Places for calls: taken at once where there is one, and in the order of those who wait otherwise.

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

/// `None` once the semaphore is closed. Waiting costs a span for tokio-console, so it is left to those who must.
pub(super) async fn take(places: &Semaphore) -> Option<SemaphorePermit<'_>> {
    match places.try_acquire() {
        Ok(place) => Some(place),
        Err(TryAcquireError::Closed) => None,
        Err(TryAcquireError::NoPermits) => places.acquire().await.ok(),
    }
}
