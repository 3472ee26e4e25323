//! Keeps a link to every gateway: every address that the gateways' name resolves to is dialled, and dialled again
//! with backoff when the link is lost.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use turno_runtime::task;

use crate::error::Error;
use crate::node::link::{self, Settings};

// A gateway that is new under the name is found this soon.
pub(crate) const RESOLVE_EVERY: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(50);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(800);
// A link that has lasted this long was a good one: the next wait is the first again.
pub(crate) const GOOD_LINK: Duration = Duration::from_secs(5);

/// Dials until shutdown, then answers once every link has left in order.
pub(crate) async fn run(settings: Arc<Settings>, gateway: String) {
    let (ended, mut ends) = mpsc::channel::<SocketAddr>(16);
    let mut dialled = HashSet::new();
    let mut links: Vec<AbortOnDropHandle<()>> = Vec::new();
    let mut complaint = Complaint::default();
    while !settings.shutdown.is_cancelled() {
        match tokio::net::lookup_host(&gateway).await {
            Ok(addresses) => {
                for address in addresses.filter(|address| dialled.insert(*address)).collect::<Vec<_>>() {
                    let kept = keep(settings.clone(), gateway.clone(), address, ended.clone());
                    links.push(AbortOnDropHandle::new(task::spawn("node.link", kept)));
                }
            }
            Err(error) => {
                complaint.about(&Error::Unreachable { gateway: gateway.clone(), reason: error.to_string() })
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RESOLVE_EVERY) => {}
            () = settings.shutdown.cancelled() => {}
            Some(address) = ends.recv() => {
                dialled.remove(&address);
                links.retain(|link| !link.is_finished());
            }
        }
    }
    drop(ends);
    for link in links {
        if let Err(error) = link.await {
            tracing::error!(%error, "a link broke");
        }
    }
}

/// Keeps the link to one address for as long as the name resolves to it.
async fn keep(
    settings: Arc<Settings>,
    gateway: String,
    address: SocketAddr,
    ended: mpsc::Sender<SocketAddr>,
) {
    let (mut complaint, mut waits) = (Complaint::default(), waits());
    while !settings.shutdown.is_cancelled() {
        let started = tokio::time::Instant::now();
        match link::serve(&settings, &address.to_string()).await {
            Ok(()) => break,
            Err(error) => complaint.about(&error),
        }
        if started.elapsed() > GOOD_LINK {
            (complaint, waits) = (Complaint::default(), self::waits());
        }
        let wait = waits.next().unwrap_or(LONGEST_WAIT);
        if tokio::time::timeout(wait, settings.shutdown.cancelled()).await.is_ok() {
            break;
        }
        if !still_there(&gateway, address).await {
            break;
        }
    }
    // The dialer may have ended: then nobody dials this address again, which is right.
    let _ended = ended.send(address).await;
}

/// A name that cannot be resolved now says nothing about the address.
pub(crate) async fn still_there(gateway: &str, address: SocketAddr) -> bool {
    match tokio::net::lookup_host(gateway).await {
        Ok(mut addresses) => addresses.any(|other| other == address),
        Err(_) => true,
    }
}

pub(crate) fn waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Says each thing once, not at every attempt.
#[derive(Default)]
pub(crate) struct Complaint(String);

impl Complaint {
    pub(crate) fn about(&mut self, error: &Error) {
        let text = error.to_string();
        if text != self.0 {
            match error {
                Error::Ended { .. } => tracing::info!("{text}; dialling until it is back"),
                _ => tracing::warn!("{text}; dialling again"),
            }
            self.0 = text;
        }
    }
}
