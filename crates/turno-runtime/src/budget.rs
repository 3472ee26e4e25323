//! How many second attempts there may be: retries and hedges are at most a fifth of the calls, so that a mesh that
//! fails is not loaded with several times its load just then. As Finagle's `RetryBudget` (Twitter, 2016; linkerd has
//! taken it over): every call deposits a share of a retry, a retry withdraws one, and deposits and withdrawals are
//! forgotten after a window. A reserve of ten retries a second lets small loads retry at all. Knows no clock.
//!
//! A gateway has one for what its nodes lose, and each client of the SDK one for what its links to gateways lose.
//!
//! What it promises, with looks (a [`Budget::withdraw`] or a [`Budget::tick`]) at least once a second: whenever a retry
//! is granted, those of the last 10 s, this one included, are at most `share` × the calls of the last 12 s + 100. Calls since the last look count as spread evenly over the time since; so a look that comes later may misplace
//! calls, but never counts one twice, and never more than one window's part of them.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

const SECOND_US: u64 = 1_000_000;
const WINDOW_SECONDS: u64 = 10;
const RESERVE_A_SECOND: u64 = 10;
/// The second that runs and those before it that are wholly or partly in the window.
const BUCKETS: usize = WINDOW_SECONDS as usize + 1;

/// Retries and hedges, as a share of all calls.
pub const SHARE: f64 = 0.2;

/// One balance for all calls that share a fate: those of a gateway, or of one client.
#[derive(Debug)]
pub struct Budget {
    share: f64,
    /// Calls since the start. All that a call touches.
    calls: AtomicU64,
    ledger: Mutex<Ledger>,
}

/// Calls and retries of the last seconds; that of second `s` is at `s % BUCKETS`.
#[derive(Debug, Default)]
struct Ledger {
    looked_us: u64,
    calls_seen: u64,
    buckets: [Bucket; BUCKETS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    calls: f64,
    retries: u64,
}

impl Budget {
    /// Retries may be this share of the calls: [`SHARE`].
    pub fn new(share: f64) -> Self {
        Self { share, calls: AtomicU64::new(0), ledger: Mutex::default() }
    }

    /// A call has come; not its retries. One relaxed addition.
    pub fn deposit(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there may be a retry or a hedge now; it is paid for if so. `now_us` counts from about when this was made.
    pub fn withdraw(&self, now_us: u64) -> bool {
        let mut ledger = self.ledger.lock();
        let granted = self.grants(&mut ledger, now_us);
        if granted {
            ledger.current().retries += 1;
        }
        granted
    }

    /// Whether there might be one now. Nothing is paid, and nothing promised.
    pub fn has_room(&self, now_us: u64) -> bool {
        self.grants(&mut self.ledger.lock(), now_us)
    }

    fn grants(&self, ledger: &mut Ledger, now_us: u64) -> bool {
        ledger.look(self.calls.load(Ordering::Relaxed), now_us);
        let (calls, retries) = ledger.sums();
        let reserve = WINDOW_SECONDS * RESERVE_A_SECOND;
        (retries + 1) as f64 <= self.share * calls + reserve as f64
    }

    /// Once a second, from whoever has a timer: keeps the calls of a busy hour from counting as those of a quiet one.
    pub fn tick(&self, now_us: u64) {
        self.ledger.lock().look(self.calls.load(Ordering::Relaxed), now_us);
    }
}

impl Ledger {
    /// Forgets what is too old, and books the calls since the last look.
    fn look(&mut self, calls: u64, now_us: u64) {
        // Threads read the clock before they have the lock, and the counter too: neither goes back here.
        let (since_us, now_us) = (self.looked_us, now_us.max(self.looked_us));
        let new = calls.saturating_sub(self.calls_seen) as f64;
        let (last, this) = (since_us / SECOND_US, now_us / SECOND_US);
        let oldest = this.saturating_sub(BUCKETS as u64 - 1);
        for second in (last + 1).max(oldest)..=this {
            self.buckets[place(second)] = Bucket::default();
        }
        if last == this {
            self.current().calls += new;
        } else {
            let a_us = new / (now_us - since_us) as f64;
            for second in last.max(oldest)..=this {
                let begin = (second * SECOND_US).max(since_us);
                let end = ((second + 1) * SECOND_US).min(now_us);
                self.buckets[place(second)].calls += a_us * (end - begin) as f64;
            }
        }
        self.looked_us = now_us;
        self.calls_seen = self.calls_seen.max(calls);
    }

    fn current(&mut self) -> &mut Bucket {
        &mut self.buckets[place(self.looked_us / SECOND_US)]
    }

    fn sums(&self) -> (f64, u64) {
        self.buckets
            .iter()
            .fold((0.0, 0), |(calls, retries), bucket| (calls + bucket.calls, retries + bucket.retries))
    }
}

fn place(second: u64) -> usize {
    (second % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests;
