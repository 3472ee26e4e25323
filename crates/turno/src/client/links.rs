//! The links that are up.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::Status;

use crate::client::choice;
use crate::client::link::Link;
use crate::client::repeats::Repeats;
use crate::client::streams::Streams;
use crate::error::Error;

/// What a client knows of its gateways.
pub(crate) struct Links {
    /// What the client was told to dial.
    gateways: String,
    patience: Duration,
    pub(crate) repeats: Repeats,
    pub(crate) streams: Streams,
    live: Mutex<Vec<Arc<Link>>>,
    /// When there was a link for the last time.
    without_since: Mutex<Instant>,
    /// Whose turn it is, where several have as few calls.
    turn: AtomicUsize,
    come: Notify,
    trouble: Mutex<Option<String>>,
}

const A_SECOND: Duration = Duration::from_secs(1);

/// Lets what is known of earlier calls grow old, until it is aborted.
pub(crate) async fn keep_time(links: Arc<Links>) {
    loop {
        links.tick();
        tokio::time::sleep(A_SECOND).await;
    }
}

impl Links {
    pub(crate) fn new(gateways: String, patience: Duration, streams: Streams) -> Self {
        Self {
            gateways,
            patience,
            repeats: Repeats::new(),
            streams,
            live: Mutex::default(),
            without_since: Mutex::new(Instant::now()),
            // Many programs that call once shall not all call the same gateway.
            turn: AtomicUsize::new(RandomState::new().hash_one(()) as usize),
            come: Notify::new(),
            trouble: Mutex::default(),
        }
    }

    /// How long a call waits for a link.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The link with the least on it, as who asks counts it.
    pub(crate) fn pick(&self, load: fn(&Link) -> usize) -> Option<Arc<Link>> {
        let live = self.live.lock();
        match live.as_slice() {
            [only] => Some(only.clone()),
            several => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                choice::lightest(several, turn, |link| load(link)).cloned()
            }
        }
    }

    fn tick(&self) {
        self.repeats.tick();
        self.live.lock().iter().for_each(|link| link.refusals.forget_most());
    }

    /// The same, waiting for one for what is left of the patience of who asks.
    pub(crate) async fn live_within(
        &self,
        left: Duration,
        load: fn(&Link) -> usize,
    ) -> crate::Result<Arc<Link>> {
        let waiting = async {
            loop {
                let come = self.come.notified();
                if let Some(link) = self.pick(load) {
                    return link;
                }
                come.await;
            }
        };
        tokio::time::timeout(left, waiting).await.map_err(|_| self.nobody())
    }

    fn nobody(&self) -> Status {
        let why = self.trouble.lock().clone().unwrap_or_else(|| "no link came up".to_owned());
        Status::unavailable(format!("no gateway of {} takes calls ({why})", self.gateways))
    }

    pub(crate) fn add(&self, link: &Arc<Link>) {
        self.live.lock().push(link.clone());
        *self.trouble.lock() = None;
        self.come.notify_waiters();
    }

    pub(crate) fn remove(&self, link: &Arc<Link>) {
        let mut live = self.live.lock();
        let had = !live.is_empty();
        live.retain(|other| !Arc::ptr_eq(other, link));
        if had && live.is_empty() {
            *self.without_since.lock() = Instant::now();
        }
    }

    /// Since when there is no link, for who has found none.
    pub(crate) fn without_since(&self) -> Instant {
        *self.without_since.lock()
    }

    /// Why a gateway cannot be reached, for those who wait for one.
    pub(crate) fn note(&self, error: &Error) {
        *self.trouble.lock() = Some(error.to_string());
    }

    /// Those that are linked.
    pub(crate) fn gateways(&self) -> Vec<String> {
        self.live.lock().iter().map(|link| link.gateway().to_owned()).collect()
    }
}
