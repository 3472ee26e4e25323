//! The scheduler's words: what comes in, and what it answers.

/// A job, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// A worker's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// A method that runs as a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodId(pub u32);

/// In whose name a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

/// Who waits for the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Somebody holds a call open. Goes first.
    Calls,
    /// Nobody in particular: tickets and maps. Keeps its share of the CPU time.
    Batch,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Calls, Self::Batch];
}

/// What bounds the queues.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most jobs that wait.
    pub waiting: usize,
    /// The share of each kind of worker's CPU time that is kept for [`Lane::Batch`] while it waits, 0.0 to 0.9.
    /// At 0.0 it gets what calls leave idle, and nothing else.
    pub batch_share: f64,
}

/// A job that arrives.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// What is to run.
    pub method: MethodId,
    /// Who waits for it.
    pub lane: Lane,
    /// In whose name.
    pub tenant: TenantId,
    /// Time until its deadline, if it has one.
    pub left_us: Option<u64>,
    /// How many items of a map it runs; one, if it is a call.
    pub items: u32,
    /// How large its request is, all items together.
    pub bytes: u64,
    /// Where another attempt of it is already: it is not granted a place there when it comes. Once it waits, its turn may
    /// come up there as anywhere, and whoever asked gives that place back.
    pub not_at: Option<WorkerId>,
}

impl Job {
    /// A call in nobody's name, without a deadline and without a request.
    pub const fn call(method: MethodId) -> Self {
        let (lane, tenant) = (Lane::Calls, TenantId(0));
        Self { method, lane, tenant, left_us: None, items: 1, bytes: 0, not_at: None }
    }
}

/// A job has got a place at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which job.
    pub job: JobId,
    /// At which worker.
    pub worker: WorkerId,
}

/// Whether a worker is much slower with its jobs than the others of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is not.
    #[default]
    Well,
    /// It is set aside: jobs go there when no other has a free slot.
    Aside {
        /// How many times as long as the others it took.
        times: u32,
    },
}

/// What becomes of a job that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It goes at once.
    Granted(Grant),
    /// It waits under this id.
    Waiting(JobId),
    /// As many jobs wait as may.
    Full {
        /// How many these are.
        waiting: usize,
    },
    /// It could not be finished by its deadline.
    TooLate {
        /// How long it would wait for a slot.
        wait_us: u64,
        /// How long it would then run.
        service_us: u64,
    },
    /// It could be, but its queue has not been empty for a good part of the time that it has left, and it would wait
    /// for more than its part of that.
    Standing {
        /// How long it would wait for a slot.
        wait_us: u64,
        /// How long it may.
        may_wait_us: u64,
    },
    /// Only the worker has room that it is not to go to.
    NoOther,
}

/// What a finished job has cost, as its node measured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Wall time in its slot.
    pub run_us: u64,
    /// CPU time of its threads.
    pub cpu_us: u64,
    /// How many items ran in that time; one, if it was a call.
    pub items: u32,
    /// Whether it was done. How soon a job fails, or ends that nobody wants any more, says nothing of its worker.
    pub done: bool,
}
