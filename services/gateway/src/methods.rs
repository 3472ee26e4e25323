//! What is known of methods: who serves each one now. A method that has been served once stays known, so that a call
//! can tell "not now" from "never heard of".

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::Notify;
use turno_proto::mesh::v1::Kind;

use crate::link::Link;
use crate::scheduler::MethodId;

/// All methods, by path.
#[derive(Default)]
pub(crate) struct Methods {
    by_path: DashMap<Arc<str>, Arc<Method>>,
    next: AtomicU32,
    joined: Notify,
}

/// One method.
pub(crate) struct Method {
    pub(crate) id: MethodId,
    /// "/gallery.v1.Gallery/Thumbnail"
    path: Arc<str>,
    served: ArcSwap<Served>,
    changed: Notify,
    /// Calls that ended well.
    pub(crate) succeeded: metrics::Counter,
}

/// How and by whom a method is served now.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) kind: Kind,
    pub(crate) takes_stream: bool,
    pub(crate) repeatable: bool,
    pub(crate) seats: Vec<Seat>,
}

/// A method at a node.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) link: Arc<Link>,
    /// Its place in the node's Hello.
    pub(crate) index: u32,
    pub(crate) kind: Kind,
    pub(crate) takes_stream: bool,
    pub(crate) repeatable: bool,
}

impl Served {
    /// The newest node's word counts for how: it is the newest version of the service. Without one, the last known.
    fn by(self, seats: Vec<Seat>) -> Self {
        match seats.last() {
            Some(&Seat { kind, takes_stream, repeatable, .. }) => {
                Self { kind, takes_stream, repeatable, seats }
            }
            None => Self { seats, ..self },
        }
    }
}

impl Methods {
    pub(crate) fn get(&self, path: &str) -> Option<Arc<Method>> {
        self.by_path.get(path).map(|method| method.value().clone())
    }

    /// A node serves `path`.
    pub(crate) fn join(&self, path: &str, seat: &Seat) -> Arc<Method> {
        let method = self.known(path);
        method.served.rcu(|served| {
            let mut seats = served.seats.clone();
            seats.push(seat.clone());
            Served::clone(served).by(seats)
        });
        method.changed.notify_waiters();
        self.joined.notify_waiters();
        method
    }

    /// The method, once some node serves it.
    pub(crate) async fn appears(&self, path: &str) -> Arc<Method> {
        loop {
            let joined = self.joined.notified();
            if let Some(method) = self.get(path) {
                return method;
            }
            joined.await;
        }
    }

    /// A node serves nothing any more.
    pub(crate) fn leave(&self, link: &Link) {
        for method in &self.by_path {
            if method.served.load().seats.iter().any(|seat| seat.link.id == link.id) {
                method.served.rcu(|served| {
                    let others = |seat: &&Seat| seat.link.id != link.id;
                    let seats = served.seats.iter().filter(others).cloned().collect();
                    Served::clone(served).by(seats)
                });
            }
        }
    }

    /// In the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Method>> {
        let mut all: Vec<_> = self.by_path.iter().map(|method| method.value().clone()).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// The services that they belong to.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        self.by_path.iter().map(|method| method.service().to_owned()).collect()
    }

    fn known(&self, path: &str) -> Arc<Method> {
        if let Some(method) = self.get(path) {
            return method;
        }
        let entry = self.by_path.entry(path.into()).or_insert_with(|| {
            Arc::new(Method::new(MethodId(self.next.fetch_add(1, Ordering::Relaxed)), path))
        });
        entry.value().clone()
    }
}

impl Method {
    fn new(id: MethodId, path: &str) -> Self {
        let served =
            Served { kind: Kind::Unspecified, takes_stream: false, repeatable: false, seats: Vec::new() };
        let name = path.trim_start_matches('/').to_owned();
        Self {
            id,
            path: path.into(),
            served: ArcSwap::from_pointee(served),
            changed: Notify::new(),
            succeeded: metrics::counter!("turno_calls_total", "method" => name, "code" => "OK"),
        }
    }

    /// "gallery.v1.Gallery/Thumbnail"
    pub(crate) fn name(&self) -> &str {
        self.path.trim_start_matches('/')
    }

    /// "gallery.v1.Gallery"
    pub(crate) fn service(&self) -> &str {
        self.name().split('/').next().unwrap_or_default()
    }

    pub(crate) fn served(&self) -> arc_swap::Guard<Arc<Served>> {
        self.served.load()
    }

    pub(crate) fn is_served(&self) -> bool {
        !self.served.load().seats.is_empty()
    }

    /// Completes once some node serves it.
    pub(crate) async fn wait_for_a_node(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_served() {
                return;
            }
            changed.await;
        }
    }
}
