//! Connections to a gateway beside its link, one for each kind of what goes by plain gRPC, so that no kind stands in the way
//! of another: neither by what is not read, nor by how many they are. Those of a node are such too (its `lines`).

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};

use crate::calls::Held;

const PING_PATIENCE: Duration = Duration::from_secs(20);

/// One of them, opened when it is first used.
#[derive(Debug)]
pub(crate) struct Beside {
    endpoint: Endpoint,
    /// Where its link is dialled. Who uses it first may be in another one, which may end, or be held up, before the others are
    /// done with it.
    runtime: Handle,
    channel: OnceLock<Channel>,
    under_way: Arc<AtomicUsize>,
}

impl Beside {
    /// No pings while nothing is on it, and patience with what is on it: a gateway that falls silent is noticed by the link,
    /// which takes this with it. Here a word may be long under way, behind so many bodies, and what breaks takes them all.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        let endpoint = endpoint.keep_alive_while_idle(false).keep_alive_timeout(PING_PATIENCE);
        let runtime = Handle::current();
        Self { endpoint, runtime, channel: OnceLock::new(), under_way: Arc::default() }
    }

    /// One that is open.
    #[cfg(test)]
    pub(crate) fn on(endpoint: Endpoint, channel: Channel) -> Self {
        Self { channel: channel.into(), ..Self::new(endpoint) }
    }

    /// One more of its kind.
    pub(crate) fn another(&self) -> Self {
        let (endpoint, runtime) = (self.endpoint.clone(), self.runtime.clone());
        Self { endpoint, runtime, channel: OnceLock::new(), under_way: Arc::default() }
    }

    pub(crate) fn channel(&self) -> Channel {
        let opened = self.channel.get_or_init(|| {
            let _entered = self.runtime.enter();
            self.endpoint.connect_lazy()
        });
        opened.clone()
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

#[cfg(test)]
mod tests {
    use super::{Beside, Endpoint};
    use crate::calls;
    use tokio::runtime::{Builder, Runtime};

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn a_connection_outlives_the_runtime_of_who_used_it_first() {
        let (home, other) = (runtime(), runtime());
        let beside = home.block_on(async { Beside::new(Endpoint::from_static("http://127.0.0.1:1")) });
        let used = other.block_on(calls::ready(beside.carry(())));
        assert!(used.is_ok());
        drop((used, other));
        // It is not connected before it is called by, but there is somebody who would.
        home.block_on(calls::ready(beside.carry(()))).map(drop).unwrap();
    }
}
