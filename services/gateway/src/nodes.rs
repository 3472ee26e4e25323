//! The nodes that are linked, and what their coming and going changes: who serves which method, which slots there
//! are, what reflection and health say.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use turno_proto::mesh::v1::Kind;
use turno_runtime::metrics::CounterFamily;

use crate::descriptors::Descriptors;
use crate::health::Health;
use crate::link::Link;
use crate::methods::{Methods, Seat};
use crate::policy::Policy;
use crate::quarantine::NodeKey;
use crate::queue::{JobQueue, News};
use crate::scheduler::{MethodId, Standing, WorkerId};
use crate::trouble::Trouble;

/// All links.
pub(crate) struct Nodes {
    links: DashMap<WorkerId, Arc<Link>>,
    next: AtomicU64,
    methods: Arc<Methods>,
    queue: JobQueue,
    descriptors: Descriptors,
    health: Health,
    trouble: Arc<Trouble>,
    telling: tokio::sync::Mutex<()>,
    /// A node has come.
    come: Notify,
    /// The last ones that have left in order, the first one first.
    left: Mutex<VecDeque<NodeKey>>,
    /// How often a worker was set aside.
    set_aside: metrics::Counter,
}

/// A deployment replaces fewer at once.
const MOST_LEFT: usize = 4096;

impl Nodes {
    pub(crate) fn new(
        methods: Arc<Methods>,
        queue: JobQueue,
        descriptors: Descriptors,
        health: Health,
        trouble: Arc<Trouble>,
    ) -> Self {
        let help = "How often a worker was set aside for being slower than the others of its kind.";
        let set_aside = CounterFamily::new("turno_workers_set_aside_total", help);
        Self {
            links: DashMap::new(),
            // A node that was linked before this process began may still name its old link: never the same one.
            next: AtomicU64::new(rand::random::<u64>() >> 1),
            methods,
            queue,
            descriptors,
            health,
            trouble,
            telling: tokio::sync::Mutex::default(),
            come: Notify::new(),
            left: Mutex::default(),
            set_aside: set_aside.with([]),
        }
    }

    pub(crate) fn new_id(&self) -> WorkerId {
        WorkerId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn get(&self, id: WorkerId) -> Option<Arc<Link>> {
        self.links.get(&id).map(|link| link.value().clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.links.len()
    }

    /// The oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        let mut all: Vec<_> = self.links.iter().map(|link| link.value().clone()).collect();
        all.sort_by_key(|link| link.id);
        all
    }

    /// Whether the node lives, or has left in order of late: then what it had when a link broke has not killed it. Each
    /// start of a node is another one.
    pub(crate) fn lives(&self, node: NodeKey) -> bool {
        // In this order: who leaves is put there before its link is taken from here.
        self.links.iter().any(|link| self.trouble.node(&link) == node) || self.left.lock().contains(&node)
    }

    /// One that is here may still be killed.
    fn note_joined(&self, link: &Link) {
        let node = self.trouble.node(link);
        self.left.lock().retain(|other| *other != node);
    }

    fn note_left(&self, link: &Link) {
        let mut left = self.left.lock();
        if left.len() == MOST_LEFT {
            left.pop_front();
        }
        left.push_back(self.trouble.node(link));
    }

    /// Looks as often as a node comes until it `is_so`, and no longer than that.
    pub(crate) async fn come_until(&self, is_so: impl Fn() -> bool + Send, patience: Duration) {
        let looking = async move {
            loop {
                let come = self.come.notified();
                if is_so() {
                    return;
                }
                come.await;
            }
        };
        // Either way whoever waits looks again.
        let _late = tokio::time::timeout(patience, looking).await;
    }

    /// A node has come: from now on it gets work.
    pub(crate) async fn join(&self, link: &Arc<Link>) {
        self.links.insert(link.id, link.clone());
        self.note_joined(link);
        // Before it has work with which it may go down.
        self.trouble.lives(&link.hello.node_id);
        self.descriptors.add(&link.hello.descriptor_sets);
        let mut jobs = Vec::new();
        for (index, method) in (0..).zip(&link.hello.methods) {
            let policy = Policy::of(method);
            let seat = Seat {
                link: link.clone(),
                index,
                kind: method.kind(),
                takes_stream: method.takes_stream,
                repeatable: method.repeatable,
                policy,
            };
            let joined = self.methods.join(&method.path, &seat);
            self.queue.limit(joined.id, policy.concurrency.map(u32::from));
            if method.kind() == Kind::Job {
                jobs.push(joined.id);
            }
            link.learn(joined, index);
        }
        self.offer_slots(link, jobs);
        self.tell_health(link).await;
        self.come.notify_waiters();
        let (name, id, peer, slots) = (&link.hello.name, &link.hello.node_id, link.peer, link.hello.slots);
        tracing::info!(node = name, id, %peer, slots, methods = link.hello.methods.len(), "node joined");
    }

    fn offer_slots(&self, link: &Arc<Link>, jobs: Vec<MethodId>) {
        if !jobs.is_empty() && link.hello.slots > 0 {
            let (worker, set_aside) = (Arc::downgrade(link), self.set_aside.clone());
            let tell = move |news: News| {
                let Some(link) = worker.upgrade() else { return };
                match news {
                    News::SlotWanted => link.want_slot(),
                    News::Stands(standing) => {
                        set_aside.increment(u64::from(matches!(standing, Standing::Aside { .. })));
                        link.set_standing(standing);
                    }
                }
            };
            self.queue.join(link.id, link.hello.slots, jobs, tell);
        }
    }

    /// A worker that has several gateways moves its slots between them.
    pub(crate) fn resize(&self, link: &Link, slots: u32) {
        let slots = slots.min(link.hello.slots);
        link.set_slots(slots);
        self.queue.resize(link.id, slots);
    }

    /// Tells the workers whether there is work for them here.
    pub(crate) fn tell_backlogs(&self) {
        for link in self.links.iter().filter(|link| link.hello.slots > 0) {
            link.tell_backlog(self.queue.backlog(link.id));
        }
    }

    /// A node takes no more work; what it has, it finishes.
    pub(crate) async fn leaving(&self, link: &Arc<Link>) {
        if link.set_leaving() {
            self.withdraw(link).await;
            tracing::info!(node = link.hello.name, id = link.hello.node_id, "node is leaving");
        }
    }

    /// From now on it gets no work.
    async fn withdraw(&self, link: &Arc<Link>) {
        self.methods.leave(link);
        self.queue.leave(link.id);
        self.limit_by_those_who_stay(link);
        self.tell_health(link).await;
    }

    /// What the newest node said of its jobs goes with it.
    fn limit_by_those_who_stay(&self, link: &Link) {
        for job in link.hello.methods.iter().filter(|method| method.kind() == Kind::Job) {
            if let Some(method) = self.methods.get(&job.path) {
                self.queue.limit(method.id, method.served().policy.concurrency.map(u32::from));
            }
        }
    }

    /// A node is gone; what it had is lost.
    pub(crate) async fn gone(&self, link: &Arc<Link>) {
        let in_order = link.is_leaving();
        if in_order {
            self.note_left(link);
        } else {
            self.withdraw(link).await;
        }
        self.links.remove(&link.id);
        if self.lives(self.trouble.node(link)) {
            link.set_outlived();
        }
        link.close().await;
        let (name, id) = (&link.hello.name, &link.hello.node_id);
        if in_order {
            tracing::info!(node = name, id, served = link.served(), "node left");
        } else {
            tracing::warn!(node = name, id, served = link.served(), "node lost");
        }
    }

    async fn tell_health(&self, link: &Link) {
        // One after the other: a node that joins must not be overruled by what was true before.
        let _turn = self.telling.lock().await;
        let services: std::collections::BTreeSet<String> = link
            .hello
            .methods
            .iter()
            .filter_map(|method| Some(method.path.trim_start_matches('/').split_once('/')?.0.to_owned()))
            .collect();
        let all = self.methods.all();
        for service in services {
            let serving =
                all.iter().filter(|method| method.service() == service).all(|method| method.is_served());
            self.health.set(&service, serving).await;
        }
    }
}
