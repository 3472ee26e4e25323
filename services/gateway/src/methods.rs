//! What is known of methods: who serves each one now. A method that has been served once stays known, so that a call
//! can tell "not now" from "never heard of".

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use turno_proto::mesh::v1::Kind;
use turno_proto::status;
use turno_runtime::metrics::CounterFamily;
use turno_runtime::units::micros;

use crate::link::{Link, Parting};
use crate::outliers::Outliers;
use crate::policy::Policy;
use crate::scheduler::{MethodId, WorkerId};
use crate::spending::Spending;

/// All methods, by path.
#[derive(Default)]
pub(crate) struct Methods {
    by_path: DashMap<Arc<str>, Arc<Method>>,
    next: AtomicU32,
    joined: Notify,
    /// When the first node came.
    first: OnceLock<Instant>,
}

/// One method.
pub(crate) struct Method {
    pub(crate) id: MethodId,
    /// "/gallery.v1.Gallery/Thumbnail"
    path: Arc<str>,
    served: ArcSwap<Served>,
    changed: Notify,
    /// Calls, by how they ended.
    calls: CounterFamily,
    /// Those that ended well.
    pub(crate) succeeded: metrics::Counter,
    /// Where the time of all calls went.
    pub(crate) spent: Spending,
    /// Calls of an `async fn` with a limit that are under way.
    running: AtomicUsize,
    slow: Mutex<Outliers<WorkerId>>,
    /// When their clock began.
    since: Instant,
}

/// Nodes that are started together do not join at once: others are right behind the first.
pub(crate) const ON_THEIR_WAY: Duration = Duration::from_secs(1);

/// How and by whom a method is served now.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) kind: Kind,
    pub(crate) takes_stream: bool,
    pub(crate) repeatable: bool,
    pub(crate) policy: Policy,
    pub(crate) seats: Vec<Seat>,
    /// How the last one went that has gone, if one has.
    pub(crate) last: Parting,
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
    pub(crate) policy: Policy,
}

impl Seat {
    pub(crate) fn has_room(&self) -> bool {
        self.link.has_room()
    }
}

/// A call of a method that has a limit; counted until this is dropped.
pub(crate) struct Running(Arc<Method>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Served {
    /// Whether some other node serves it too.
    pub(crate) fn has_other_than(&self, node: WorkerId) -> bool {
        self.seats.iter().any(|seat| seat.link.id != node)
    }

    /// Whether some node has it as a job.
    pub(crate) fn has_workers(&self) -> bool {
        self.seats.iter().any(|seat| seat.kind == Kind::Job)
    }

    /// The newest node's word counts for how: it is the newest version of the service. Without one, the last known.
    fn by(self, seats: Vec<Seat>) -> Self {
        match seats.last() {
            Some(&Seat { kind, takes_stream, repeatable, policy, .. }) => {
                Self { kind, takes_stream, repeatable, policy, seats, ..self }
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
        self.first.get_or_init(Instant::now);
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

    /// When the first node has come, if one has since this gateway started.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.first.get().copied()
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

    /// The method, if it appears while nodes may still be on their way: until `settled`, and just behind the first of them. As
    /// long as none has come, however late it is, it is waited for until `at_last`: all the patience that a call has for it, as
    /// for those that have left.
    pub(crate) async fn wait_for(
        &self,
        path: &str,
        settled: Instant,
        at_last: Instant,
    ) -> Option<Arc<Method>> {
        // Once more if the first of them has come meanwhile.
        loop {
            let until = self.first().map_or(at_last, |first| settled.max(first + ON_THEIR_WAY));
            if Instant::now() >= until {
                return None;
            }
            if let Ok(method) = tokio::time::timeout_at(until.into(), self.appears(path)).await {
                return Some(method);
            }
        }
    }

    /// Completes once some node serves one more method than when this was called.
    pub(crate) fn joined(&self) -> impl Future<Output = ()> {
        self.joined.notified()
    }

    /// A node serves nothing any more.
    pub(crate) fn leave(&self, link: &Link) {
        for method in &self.by_path {
            if method.served.load().seats.iter().any(|seat| seat.link.id == link.id) {
                method.served.rcu(|served| {
                    let others = |seat: &&Seat| seat.link.id != link.id;
                    let seats = served.seats.iter().filter(others).cloned().collect();
                    Served { last: link.parting(), ..Served::clone(served) }.by(seats)
                });
                method.slow.lock().leave(link.id);
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
        let served = Served {
            kind: Kind::Unspecified,
            takes_stream: false,
            repeatable: false,
            policy: Policy::default(),
            seats: Vec::new(),
            last: Parting::Left,
        };
        let name = path.trim_start_matches('/').to_owned();
        let help = "Calls that have ended, by the code that they have ended with.";
        let calls = CounterFamily::new("turno_calls_total", help);
        let help = "Where the time of calls went, in microseconds: parts that sum to the whole.";
        let spent = CounterFamily::new("turno_call_microseconds_total", help);
        Self {
            id,
            path: path.into(),
            served: ArcSwap::from_pointee(served),
            changed: Notify::new(),
            spent: Spending::new(spent, &name),
            calls,
            succeeded: calls.with([("method", name.into()), ("code", "OK".into())]),
            running: AtomicUsize::new(0),
            slow: Mutex::default(),
            since: Instant::now(),
        }
    }

    /// One that nobody serves.
    #[cfg(test)]
    pub(crate) fn alone(path: &str) -> Arc<Self> {
        Arc::new(Self::new(MethodId(0), path))
    }

    /// Counts a call that has ended.
    pub(crate) fn ended(&self, code: Code) {
        if code == Code::Ok {
            return self.succeeded.increment(1);
        }
        let (method, code) = (self.name().to_owned().into(), status::code_name(code).into());
        self.calls.with([("method", method), ("code", code)]).increment(1);
    }

    /// Lets a call of an `async fn` in that has a limit of its own; jobs above theirs wait in the queue.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Option<Running>, Status> {
        let Some(limit) = self.limit() else { return Ok(None) };
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        // Made first, so that a refusal is counted back.
        let running = Running(self.clone());
        if before < limit { Ok(Some(running)) } else { Err(self.full(limit)) }
    }

    /// Whether it would be let in now, for who has to wait for something else first.
    pub(crate) fn could_enter(&self) -> Result<(), Status> {
        match self.limit() {
            Some(limit) if self.running.load(Ordering::Relaxed) >= limit => Err(self.full(limit)),
            _ => Ok(()),
        }
    }

    fn limit(&self) -> Option<usize> {
        let served = self.served();
        let limit = served.policy.concurrency.filter(|_| served.kind != Kind::Job);
        limit.map(|limit| limit.get() as usize)
    }

    fn full(&self, limit: usize) -> Status {
        let what = format!(
            "{limit} calls of {} are under way, which is all that may (its concurrency)",
            self.name()
        );
        let soon = ErrorDetails::with_retry_info(Some(Duration::from_millis(100)));
        Status::with_error_details(Code::ResourceExhausted, what, soon)
    }

    /// Takes in how long a call was away at a node, where there is another to compare it with.
    pub(crate) fn observe(&self, node: WorkerId, away: Duration) {
        let served = self.served();
        if served.seats.len() > 1 && served.kind != Kind::Job {
            let now_us = self.us_at(Instant::now());
            self.slow.lock().observe(node, micros(away), now_us);
        }
    }

    /// The same of a call that was given up when it had been away for so long, if the node has not left meanwhile.
    pub(crate) fn gave_up(&self, node: WorkerId, got: Duration) {
        let served = self.served();
        let is_here = served.seats.iter().any(|seat| seat.link.id == node);
        if is_here && served.has_other_than(node) && served.kind != Kind::Job {
            let now_us = self.us_at(Instant::now());
            self.slow.lock().gave_up(node, micros(got), now_us);
        }
    }

    /// Whether the node is much slower with this method than the others, and set aside for a while.
    pub(crate) fn is_aside(&self, node: WorkerId, now: Instant) -> bool {
        self.slow.lock().is_aside(node, self.us_at(now))
    }

    fn us_at(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.since))
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

#[cfg(test)]
mod tests {
    use super::{Kind, Link, Methods, Policy, Seat, WorkerId};
    use futures_util::FutureExt as _;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::sync::mpsc;
    use turno_proto::mesh::v1::Hello;

    fn seat() -> Seat {
        let peer = "127.0.0.1:1".parse().unwrap();
        let link = Arc::new(Link::new(WorkerId(1), Hello::default(), peer, mpsc::channel(1).0, 1024));
        let (kind, policy) = (Kind::Job, Policy::default());
        Seat { link, index: 0, kind, takes_stream: false, repeatable: false, policy }
    }

    #[tokio::test]
    async fn who_waits_for_the_first_node_waits_for_those_right_behind_it_too() {
        let (methods, patience) = (Methods::default(), Duration::from_millis(20));
        let now = Instant::now();
        let mut waiting = Box::pin(methods.wait_for("/a.v1.A/Do", now, now + patience));
        assert!(waiting.as_mut().now_or_never().is_none());
        methods.join("/a.v1.A/Other", &seat());
        let ended = tokio::time::timeout(5 * patience, waiting.as_mut()).await;
        assert!(ended.is_err(), "its own node may be on its way");
        methods.join("/a.v1.A/Do", &seat());
        assert!(waiting.await.is_some());
    }
}
