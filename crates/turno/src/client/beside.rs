//! Connections to a gateway beside its link, one for each kind of what goes by plain gRPC, so that no kind stands in the way
//! of another: neither by what is not read, nor by how many they are.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tonic::transport::{Channel, Endpoint};

use crate::calls::Held;

/// One of them, opened when it is first used.
pub(crate) struct Beside {
    endpoint: Endpoint,
    channel: OnceLock<Channel>,
    under_way: Arc<AtomicUsize>,
}

impl Beside {
    /// No pings while nothing is on it: a gateway that falls silent is noticed by the link, which takes this with it, and a
    /// connection that is quiet is kept by the gateway's own.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        let endpoint = endpoint.keep_alive_while_idle(false);
        Self { endpoint, channel: OnceLock::new(), under_way: Arc::default() }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.get_or_init(|| self.endpoint.connect_lazy()).clone()
    }

    /// For one call: it counts until its answer has ended or is dropped, and `kept` is kept as long.
    pub(crate) fn carry(&self, kept: impl Any + Send + Sync) -> Held {
        Held::keeping(self.channel(), (Counted::on(&self.under_way), kept))
    }

    /// How many count.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn on(under_way: &Arc<AtomicUsize>) -> Self {
        under_way.fetch_add(1, Ordering::Relaxed);
        Self(under_way.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
