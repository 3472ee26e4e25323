//! What is known of a method at its node: how often it was caught, whether it is confined, what its calls have cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};
use parking_lot::Mutex;
use tokio::sync::watch;
use turno_proto::mesh::v1::Blocking;
use turno_runtime::metrics::{CounterFamily, GaugeFamily};
use turno_runtime::units::micros;

use super::nanos;
use super::runtimes::{Aside, Home};
use crate::tally::Tally;

/// One method's.
pub(crate) struct Record {
    pub(super) id: u64,
    pub(crate) name: &'static str,
    pub(crate) tally: Tally,
    pub(super) limit: Duration,
    pub(super) home: Arc<Home>,
    /// In nanoseconds of the watchdog's clock.
    confined_until: AtomicU64,
    times: AtomicU64,
    longest_us: Mutex<u64>,
    blocking: Counter,
    longest: Gauge,
    changed: Arc<watch::Sender<()>>,
}

/// A method is confined until it has not been caught for so long.
const CONFINED_FOR: Duration = Duration::from_secs(60);

impl Record {
    pub(super) fn new(
        name: &'static str,
        limit: Duration,
        home: Arc<Home>,
        changed: Arc<watch::Sender<()>>,
    ) -> Arc<Self> {
        static RECORDS: AtomicU64 = AtomicU64::new(1);
        let help = "How often an async fn has held its thread for longer than it may.";
        let blocking = CounterFamily::new("turno_blocking_total", help);
        let help = "The longest that an async fn has held its thread, of those that held it too long.";
        let longest = GaugeFamily::new("turno_blocking_longest_seconds", help);
        Arc::new(Self {
            id: RECORDS.fetch_add(1, Ordering::Relaxed),
            name,
            tally: Tally::new(name),
            limit,
            home,
            confined_until: AtomicU64::new(0),
            times: AtomicU64::new(0),
            longest_us: Mutex::new(0),
            blocking: blocking.with([("method", name.into())]),
            longest: longest.with([("method", name.into())]),
            changed,
        })
    }

    pub(super) fn is_confined(&self, now: Duration) -> bool {
        Duration::from_nanos(self.confined_until.load(Ordering::Relaxed)) > now
    }

    /// A poll has held its thread too long, and lasts on.
    pub(super) fn caught(&self, now: Duration, held: Duration) {
        let is_new = !self.is_confined(now);
        self.confined_until.store(nanos(now + CONFINED_FOR), Ordering::Relaxed);
        // In this order: who tells of it knows how long.
        self.held(held);
        self.times.fetch_add(1, Ordering::Relaxed);
        self.blocking.increment(1);
        // Though none lasted longer, there is one more.
        self.changed.send_replace(());
        // Those who wait may be of this method, or wait for places that are lost now.
        if is_new || self.home.gate.is_lost() {
            self.home.gate.tell();
        }
        if is_new && let Some(aside) = Aside::started() {
            aside.guests.tell();
        }
    }

    /// A poll that was caught has held its thread for so long, by now or in all.
    pub(super) fn held(&self, held: Duration) {
        let held_us = micros(held);
        {
            let mut longest_us = self.longest_us.lock();
            if *longest_us >= held_us {
                return;
            }
            *longest_us = held_us;
            // Under the lock: of two that end at once, the page keeps the longer.
            self.longest.set(held.as_secs_f64());
        }
        self.changed.send_replace(());
    }

    /// For the gateway, once there is something to say.
    pub(super) fn blocking(&self, method: u32) -> Option<Blocking> {
        let times = self.times.load(Ordering::Relaxed);
        let longest_us = *self.longest_us.lock();
        (times > 0).then_some(Blocking { method, times, longest_us })
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocking, Home, Record};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::runtime::Handle;
    use tokio::sync::watch;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test]
    async fn each_time_is_news_and_so_is_what_lasts_longer_than_any_before() {
        let (changed, home) =
            (Arc::new(watch::Sender::new(())), Home::new(Handle::current(), Arc::default()));
        let mut news = changed.subscribe();
        let record = Record::new("a.v1.A/Wait", ms(100), home, changed);
        let mut is_news = || {
            let is_news = news.has_changed().unwrap();
            news.mark_unchanged();
            is_news
        };
        record.caught(ms(1000), ms(110));
        assert!(is_news());
        record.held(ms(500));
        assert!(is_news(), "it lasts");
        record.held(ms(500));
        assert!(!is_news(), "that is known");
        record.caught(ms(2000), ms(110));
        assert!(is_news(), "it was caught again");
        assert_eq!(record.blocking(7), Some(Blocking { method: 7, times: 2, longest_us: 500_000 }));
    }
}
