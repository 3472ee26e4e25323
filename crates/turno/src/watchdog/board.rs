//! The records of a node, in the order of its Hello, and what its gateways are told of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use turno_proto::mesh::v1::{Blocking, Queue};

use super::clock;
use super::patrol;
use super::record::Record;
use super::runtimes::Home;
use crate::error::Error;
use crate::node::batch_shares::BatchShares;
use crate::node::frames::Up;
use crate::pool::Pool;

/// All methods of a node.
pub(crate) struct Board {
    pub(crate) records: Vec<Arc<Record>>,
    changed: Arc<watch::Sender<()>>,
    home: Arc<Home>,
}

/// A gateway is told this often at most.
const PAUSE: Duration = Duration::from_secs(1);
/// While nothing ends, a gateway hears of a queue so often.
const QUEUE_EVERY: Duration = Duration::from_millis(50);

impl Board {
    /// Watches methods that are awaited in the runtime that is there. `limit`: how long one may hold its thread. And
    /// looks after the answers that the `pool` holds.
    pub(crate) fn new(
        methods: impl Iterator<Item = &'static str>,
        limit: Duration,
        pool: Option<&Arc<Pool>>,
        batch_shares: Arc<BatchShares>,
    ) -> Result<Arc<Self>, Error> {
        let home = Home::new(Handle::current(), batch_shares);
        let changed = Arc::new(watch::Sender::new(()));
        let records: Vec<_> =
            methods.map(|name| Record::new(name, limit, home.clone(), changed.clone())).collect();
        patrol::watch(&records, pool).map_err(|source| Error::Watchdog { source })?;
        Ok(Arc::new(Self { records, changed, home }))
    }

    /// The queue before the threads in which the methods are awaited, if there is one.
    pub(crate) fn queue(&self) -> Option<Queue> {
        self.home.queue(clock())
    }

    /// Tells one gateway, at the beginning and whenever something has changed, until the link is gone.
    pub(crate) async fn tell(self: Arc<Self>, up: mpsc::Sender<Up>) {
        let mut changed = self.changed.subscribe();
        loop {
            let blocking = self.blocking();
            if !blocking.is_empty() && up.send(Up::Blocking(blocking)).await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells one gateway that there is a queue, also while no outcome takes it along, until the link is gone.
    pub(crate) async fn tell_queue(self: Arc<Self>, up: mpsc::Sender<Up>) {
        loop {
            tokio::time::sleep(QUEUE_EVERY).await;
            if self.queue().is_some() && up.send(Up::Queue).await.is_err() {
                return;
            }
        }
    }

    fn blocking(&self) -> Vec<Blocking> {
        (0..).zip(&self.records).filter_map(|(index, record)| record.blocking(index)).collect()
    }
}
