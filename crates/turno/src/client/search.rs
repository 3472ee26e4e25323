//! One call's way to a gateway, and its patience: the client's, once for all that the call does before it is given up. Time
//! in which a gateway has it does not count; that without one does, also while the call waits for its turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;
use turno_runtime::units::Rounded;

use crate::client::link::Link;
use crate::client::links::Links;
use crate::client::streams::Place;
use crate::node::dialer::{LONGEST_WAIT, waits};
use crate::unsent::nothing_left;

/// Of one call.
pub(crate) struct Search<'a> {
    links: &'a Links,
    /// What a gateway has on it.
    load: fn(&Link) -> usize,
    /// What is left of patience.
    left: Duration,
    /// Since when it looks for a gateway, if that is not now: the clock is not read for calls that find one at once.
    since: Option<Instant>,
    /// Made for those that need it.
    pauses: Option<Pauses>,
}

type Pauses = Box<dyn Iterator<Item = Duration> + Send>;

impl<'a> Search<'a> {
    pub(crate) fn new(links: &'a Links) -> Self {
        Self { links, load: Link::load, left: links.patience(), since: None, pauses: None }
    }

    /// For a stream.
    pub(crate) fn of_stream(links: &'a Links) -> Self {
        Self { load: Link::load_of_streams, ..Self::new(links) }
    }

    /// Its turn among the calls of the client. To be taken before a gateway is looked for, which may be gone by then.
    pub(crate) async fn place<'p>(&mut self, places: &'p Semaphore) -> SemaphorePermit<'p> {
        if let Ok(place) = places.try_acquire() {
            return place;
        }
        self.since = Some(Instant::now());
        places.acquire().await.expect("the semaphore is never closed")
    }

    /// Its turn among the streams of the client, which may have no end: who has no deadline waits for it no longer than for
    /// a gateway.
    ///
    /// # Errors
    /// No place came free, and nothing was sent.
    pub(crate) async fn place_of_stream(&mut self, has_deadline: bool) -> crate::Result<Place> {
        if let Some(place) = self.links.streams.place_now() {
            return Ok(place);
        }
        self.since = Some(Instant::now());
        let longest = (!has_deadline).then(|| self.links.patience());
        self.links.streams.place(longest).await.map_err(nothing_left)
    }

    /// The gateway with the least on it, as soon as there is one.
    ///
    /// # Errors
    /// Patience is at its end.
    pub(crate) async fn link(&mut self) -> crate::Result<Arc<Link>> {
        let since = self.since.take();
        match self.links.pick(self.load) {
            Some(link) => Ok(link),
            None => Box::pin(self.wait(since.unwrap_or_else(Instant::now))).await,
        }
    }

    async fn wait(&mut self, since: Instant) -> crate::Result<Arc<Link>> {
        // While others had their turns, there may have been one.
        let since = since.max(self.links.without_since());
        let found = self.links.live_within(self.left.saturating_sub(since.elapsed()), self.load).await;
        self.left = self.left.saturating_sub(since.elapsed());
        found.map_err(|nobody| {
            let patience = Rounded(self.links.patience());
            Status::unavailable(format!("{}; gave up after {patience}", nobody.message()))
        })
    }

    /// A gateway did not take what it was sent at that time: waits a little, longer each time. The first one may have been
    /// well until a moment ago: patience begins with its end.
    ///
    /// # Errors
    /// What is said of it, when patience is at its end.
    pub(crate) async fn pause(&mut self, sent: Instant, status: Status) -> crate::Result<()> {
        if self.pauses.is_some() {
            self.left = self.left.saturating_sub(sent.elapsed());
        }
        if self.left.is_zero() {
            return Err(status);
        }
        let pauses = self.pauses.get_or_insert_with(|| Box::new(waits()));
        let pause = pauses.next().unwrap_or(LONGEST_WAIT).min(self.left);
        self.left -= pause;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Links, Search, Status};
    use crate::client::streams::Streams;
    use crate::never_sent;
    use tokio::sync::Semaphore;
    use tonic::Code;

    const PATIENCE: Duration = Duration::from_millis(300);
    /// More than all of it.
    const LATER: Duration = Duration::from_millis(400);

    fn links() -> Links {
        Links::new("10.0.0.1:7070".to_owned(), PATIENCE, Streams::new(1))
    }

    #[tokio::test]
    async fn who_has_waited_for_a_turn_is_not_patient_for_longer() {
        let (links, places, began) = (links(), Semaphore::new(0), Instant::now());
        let turn = async {
            tokio::time::sleep(LATER).await;
            places.add_permits(1);
        };
        let mut search = Search::new(&links);
        let (_place, ()) = tokio::join!(search.place(&places), turn);
        let waited = began.elapsed();
        assert_eq!(search.link().await.err().map(|error| error.code()), Some(Code::Unavailable));
        assert!(began.elapsed() - waited < PATIENCE, "it waited once more");
        // A call of its own has its own.
        let began = Instant::now();
        assert!(Search::new(&links).link().await.is_err());
        assert!(began.elapsed() >= PATIENCE);
    }

    #[tokio::test]
    async fn a_stream_that_finds_no_place_was_never_sent() {
        let links = Links::new("10.0.0.1:7070".to_owned(), Duration::ZERO, Streams::new(1));
        let _place = Search::of_stream(&links).place_of_stream(false).await.unwrap();
        let error = Search::of_stream(&links).place_of_stream(false).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted);
        assert!(never_sent(&error), "{error}");
    }

    #[tokio::test]
    async fn patience_is_one_for_all_rounds() {
        let (links, began) = (links(), Instant::now());
        let mut search = Search::new(&links);
        let mut rounds = 0;
        while search.pause(Instant::now(), Status::unavailable("refused")).await.is_ok() {
            rounds += 1;
        }
        assert!((2..10).contains(&rounds), "{rounds} rounds");
        assert!(search.link().await.is_err());
        assert!((PATIENCE..10 * PATIENCE).contains(&began.elapsed()), "it took {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_gateway_that_was_well_for_long_uses_up_nothing() {
        let (links, sent) = (links(), Instant::now());
        tokio::time::sleep(LATER).await;
        let mut search = Search::new(&links);
        assert!(search.pause(sent, Status::unavailable("it ended")).await.is_ok());
        assert!(search.pause(sent, Status::unavailable("refused")).await.is_err());
    }
}
