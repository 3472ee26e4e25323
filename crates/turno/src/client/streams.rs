//! Streams that a client has open: no more than it has places for, be they calls that answer a stream, maps, or tickets that
//! are followed. A stream may be quiet for as long as it likes, so they have places of their own, apart from those of calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use turno_runtime::units::Rounded;

use crate::node::link::{CONNECTION_WINDOW, STREAM_WINDOW};

/// Places for the streams of one client.
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    most: usize,
}

/// Of one stream, until it has ended or is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

/// So many windows of the usual size are no more than that of their connection.
pub(crate) const USUAL: usize = 2000;
/// Fewer than a gateway takes on one connection, which may have to have all of them while the others are gone: what comes
/// above that waits in HTTP/2, unseen, and with it whatever comes behind it.
pub(crate) const MOST: usize = 8192;

impl Streams {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.clamp(1, MOST);
        Self { places: Arc::new(Semaphore::new(most)), most }
    }

    /// What a gateway may send of a stream that is not read: however many are not, those that are go on.
    pub(crate) fn window(&self) -> u32 {
        let most = u32::try_from(self.most).unwrap_or(u32::MAX);
        STREAM_WINDOW.min(CONNECTION_WINDOW / most)
    }

    /// A place, if there is one at once.
    pub(crate) fn place_now(&self) -> Option<Place> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// A place, as soon as there is one, and for so long at most.
    ///
    /// # Errors
    /// There is none in that time.
    pub(crate) async fn place(&self, longest: Option<Duration>) -> crate::Result<Place> {
        let waiting = self.places.clone().acquire_owned();
        let place = match longest {
            None => waiting.await,
            Some(longest) => {
                tokio::time::timeout(longest, waiting).await.map_err(|_| self.all_taken(longest))?
            }
        };
        Ok(place.expect("the semaphore is never closed"))
    }

    fn all_taken(&self, longest: Duration) -> Status {
        Status::resource_exhausted(format!(
            "this client has {} streams open, which is all that it may, and no place came free in {}: drop \
             those that nobody reads, or allow more (turno::client::Builder::streams)",
            self.most,
            Rounded(longest)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{CONNECTION_WINDOW, Duration, MOST, STREAM_WINDOW, Streams, USUAL};
    use tonic::Code;

    #[test]
    fn streams_that_are_not_read_leave_room_for_those_that_are() {
        for most in [0, 1, 100, USUAL, USUAL + 1, 3000, 4096, MOST, usize::MAX] {
            let streams = Streams::new(most);
            let all = u64::from(streams.window()) * streams.most as u64;
            assert!(all <= u64::from(CONNECTION_WINDOW), "{most}: {all} bytes");
            assert!(streams.window() >= STREAM_WINDOW / 8, "{most}");
        }
        assert_eq!(Streams::new(USUAL).window(), STREAM_WINDOW);
    }

    #[tokio::test]
    async fn who_finds_no_place_hears_what_to_do() {
        let streams = Streams::new(1);
        let place = streams.place(Some(Duration::ZERO)).await.unwrap();
        assert!(streams.place_now().is_none());
        let error = streams.place(Some(Duration::from_millis(10))).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted);
        assert!(error.message().contains("1 streams open"), "{error}");
        assert!(error.message().contains("came free in 10 ms"), "{error}");
        assert!(error.message().contains("Builder::streams"), "{error}");
        let (came, ()) = tokio::join!(streams.place(None), async move { drop(place) });
        assert!(came.is_ok());
    }
}
