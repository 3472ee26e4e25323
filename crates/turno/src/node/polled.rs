//! Which call of an `async fn` was the latest to be polled for the first time, and how long it had waited: news for the
//! gateway, which would else hear of a queue only when those who have stood in it are answered.

use parking_lot::Mutex;
use tokio::sync::mpsc;
use turno_proto::mesh::v1::Polled;

use crate::node::frames::Up;

/// Whoever waited so long has a frame sent; a shorter wait is no news, and goes with the next one.
const AT_ONCE_US: u64 = 5_000;

/// One word a link; the next frame takes it.
#[derive(Debug, Default)]
pub(crate) struct LatestPolled {
    latest: Mutex<Option<Polled>>,
    up: Option<mpsc::WeakSender<Up>>,
}

impl LatestPolled {
    pub(crate) fn new(up: &mpsc::Sender<Up>) -> Self {
        Self { latest: Mutex::default(), up: Some(up.downgrade()) }
    }

    pub(crate) fn say(&self, call: u64, queue_us: u64) {
        let before = self.latest.lock().replace(Polled { call, queue_us });
        let is_asked_for = before.is_some_and(|before| before.queue_us >= AT_ONCE_US);
        if queue_us < AT_ONCE_US || is_asked_for {
            return;
        }
        if let Some(up) = self.up.as_ref().and_then(mpsc::WeakSender::upgrade) {
            // Where it is full a frame is due.
            let _full = up.try_send(Up::Polled);
        }
    }

    pub(crate) fn take(&self) -> Option<Polled> {
        self.latest.lock().take()
    }
}
