//! A worker's slots as its gateways may fill them: `share` decides, and each link is told of its window when it changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use turno_runtime::task;

use crate::node::frames::Up;
use crate::node::share::{LinkId, Share};

/// The windows of all links of a node.
pub(crate) struct Windows(Mutex<Inner>);

struct Inner {
    share: Share,
    links: HashMap<LinkId, Told>,
    next: u64,
}

/// A link's way up, and its window as it is now.
struct Told {
    up: mpsc::Sender<Up>,
    window: Arc<AtomicU32>,
}

impl Windows {
    pub(crate) fn new(slots: u32) -> Self {
        Self(Mutex::new(Inner { share: Share::new(slots), links: HashMap::new(), next: 0 }))
    }

    /// A link stands; its window goes up through `up`.
    pub(crate) fn join(&self, up: mpsc::Sender<Up>) -> LinkId {
        let mut inner = self.0.lock();
        inner.next += 1;
        let link = LinkId(inner.next);
        inner.links.insert(link, Told { up, window: Arc::default() });
        let changed = inner.share.join(link);
        inner.tell(&changed);
        link
    }

    /// A link is gone: the others share what it had.
    pub(crate) fn leave(&self, link: LinkId) {
        let mut inner = self.0.lock();
        inner.links.remove(&link);
        let changed = inner.share.leave(link);
        inner.tell(&changed);
    }

    /// So many jobs wait at a link's gateway.
    pub(crate) fn backlog(&self, link: LinkId, jobs: u64) {
        let mut inner = self.0.lock();
        let changed = inner.share.backlog(link, jobs);
        inner.tell(&changed);
    }
}

impl Inner {
    fn tell(&self, changed: &[(LinkId, u32)]) {
        for (link, window) in changed {
            let Some(Told { up, window: now }) = self.links.get(link) else { continue };
            now.store(*window, Ordering::Relaxed);
            if let Err(mpsc::error::TrySendError::Full(window)) = up.try_send(Up::Window(now.clone())) {
                let up = up.clone();
                task::spawn("node.window", async move {
                    // A link that is gone has no window.
                    let _gone = up.send(window).await;
                });
            }
        }
    }
}
