//! Claims what is due, as much as there is room for in hand, and begins it.

use std::time::{Duration, Instant};

use turno_runtime::task;
use turno_store::{Claimed, Error, Queue, Room};

use crate::tickets::Tickets;
use crate::tickets::hand::Place;
use crate::tickets::quiet::{LONGEST, Quiet};
use crate::tickets::taken::Taken;

/// At one go: their requests are all in memory.
const MOST_CLAIMED: usize = 64;
/// Another gateway may have been lost, or its word.
const LONGEST_PAUSE_SHARED: Duration = Duration::from_millis(500);
const TROUBLE: Duration = Duration::from_secs(1);

/// What the store says that this gateway holds is compared with what it does hold.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// What is not on the board then will not come there: an attempt is there before the store knows of it, or as soon as it
/// was claimed.
const SURELY_BEGUN: Duration = Duration::from_secs(10);

impl Tickets {
    /// Until the gateway closes.
    pub(crate) async fn run_due(self) {
        let mut comparing = tokio::time::interval(COMPARE_EVERY);
        let (mut quiet, mut taken) = (Quiet::default(), Taken::default());
        loop {
            tokio::select! {
                biased;
                _ = comparing.tick() => {
                    taken.tell();
                    self.compare().await;
                }
                places = self.places() => match places {
                    Some((places, room)) => self.claim(places, room, &mut quiet, &mut taken).await,
                    None => return taken.tell(),
                },
            }
        }
    }

    async fn claim(&self, places: Vec<Place>, room: Room, quiet: &mut Quiet, taken: &mut Taken) {
        let (full, unserved) = (room.full.clone(), room.unserved.clone());
        match self.store().claim(self.0.gateway, room).await {
            Ok(claimed) if claimed.is_empty() => {
                drop(places);
                taken.tell();
                self.something_due(full, unserved, quiet).await;
            }
            Ok(claimed) => {
                quiet.end();
                // What this one held and did not know of is told by who compares.
                let of_others = |one: &Claimed| one.lost_by.filter(|gateway| *gateway != self.0.gateway);
                if taken.add(claimed.iter().filter_map(of_others)) {
                    taken.tell();
                }
                self.begin_all(claimed, places);
            }
            Err(error) => {
                drop(places);
                complain(&error);
                quiet.end();
                self.pause(TROUBLE).await;
            }
        }
    }

    /// The answer to a claim may have been lost, and what ran was given up when the lease was over: it is due then, here and
    /// elsewhere. Between two claims, so that whatever was claimed has begun.
    async fn compare(&self) {
        match self.store().disown(self.0.gateway, self.0.board.tickets(), SURELY_BEGUN).await {
            Ok(0) => {}
            Ok(disowned) => tracing::warn!(disowned, "attempts that are not under way here are due again"),
            Err(error) => tracing::debug!(%error, "what is held cannot be compared yet"),
        }
    }

    /// At least one place in hand, and what there is room for; `None` when the gateway closes.
    async fn places(&self) -> Option<(Vec<Place>, Room)> {
        let places = self.0.hand.places(MOST_CLAIMED);
        let (places, mut room) = self.0.closing.run_until_cancelled(places).await?;
        room.unserved = self.0.unserved.pass_over(|method| self.is_served(method));
        Some((places, room))
    }

    fn begin_all(&self, claimed: Vec<Claimed>, places: Vec<Place>) {
        for (claimed, mut place) in claimed.into_iter().zip(places) {
            self.0.hand.give(&mut place, claimed.queue(), claimed.request.len());
            let (tickets, name) = (self.clone(), claimed.method.clone());
            let running = self.0.board.begin(claimed.attempt, self.0.closing.clone());
            let attempt = async move { tickets.attempt(Box::new(claimed), running, place).await };
            task::spawn(&name, self.0.attempts.track_future(attempt));
        }
    }

    /// Until something may be due that is not passed over, or a full queue has room.
    async fn something_due(&self, full: Vec<Queue>, unserved: Vec<String>, quiet: &mut Quiet) {
        let longest = if self.0.around.is_shared { LONGEST_PAUSE_SHARED } else { LONGEST };
        let left = match quiet.left(Instant::now()) {
            Some(left) => left,
            None => match self.store().next_due(full, unserved).await {
                Ok(next) => quiet.begin(Instant::now(), next),
                Err(error) => {
                    complain(&error);
                    TROUBLE
                }
            },
        };
        // Rounded up to what a timer can do: else the last millisecond is spent asking.
        if self.pause(left.min(longest).max(Duration::from_millis(1))).await {
            quiet.end();
        }
    }

    /// Answers whether there is news.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.0.closing.cancelled() => true,
            () = self.0.due.notified() => true,
            () = self.0.hand.eased() => true,
            () = tokio::time::sleep(time) => false,
        }
    }
}

fn complain(error: &Error) {
    tracing::warn!(%error, "tickets that are due cannot be claimed yet");
}
