//! The thread that looks at what all others poll, one a process: outside every runtime, so that nothing holds it up.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use turno_runtime::task;

use super::clock;
use super::judge::{Judge, Verdict, Voice};
use super::record::Record;
use super::runtimes::Aside;
use super::slots::{self, Seen};
use crate::pool::Pool;

/// What it watches; gone with its node.
#[derive(Default)]
struct Beat {
    /// By the number that slots name.
    records: Mutex<HashMap<u64, Weak<Record>>>,
    /// They may hold answers while a job takes longer than was foreseen.
    pools: Mutex<Vec<Weak<Pool>>>,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// Watches these too. The first time, it starts the thread.
pub(super) fn watch(records: &[Arc<Record>], pool: Option<&Arc<Pool>>) -> io::Result<()> {
    static BEAT: OnceLock<Arc<Beat>> = OnceLock::new();
    let mut first = None;
    let beat = BEAT.get_or_init(|| first.insert(Arc::<Beat>::default()).clone());
    beat.records.lock().extend(records.iter().map(|record| (record.id, Arc::downgrade(record))));
    beat.pools.lock().extend(pool.map(Arc::downgrade));
    if let Some(beat) = first {
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || Patrol::new(beat).walk())?;
    }
    Ok(())
}

struct Patrol {
    beat: Arc<Beat>,
    judge: Judge,
    voices: HashMap<u64, Voice>,
}

impl Patrol {
    fn new(beat: Arc<Beat>) -> Self {
        Self { beat, judge: Judge::default(), voices: HashMap::new() }
    }

    fn walk(mut self) {
        loop {
            let pause = self.pause();
            #[expect(clippy::disallowed_methods, reason = "a thread of its own, on which no task runs")]
            std::thread::sleep(pause);
            self.look(pause);
        }
    }

    /// Four looks within the shortest limit.
    fn pause(&self) -> Duration {
        let mut beat = self.beat.records.lock();
        beat.retain(|_, record| record.strong_count() > 0);
        let limits = beat.values().filter_map(|record| Some(record.upgrade()?.limit));
        limits.min().map_or(LONGEST_PAUSE, |limit| (limit / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
    }

    fn look(&mut self, pause: Duration) {
        self.ring_overdue();
        let seen = slots::look();
        let now = clock();
        let sights: Vec<_> = seen.iter().map(|seen| (seen.sight, seen.time(now))).collect();
        let beat = self.beat.clone();
        let limit = |method| Some(find(&beat, method)?.limit);
        let verdicts = self.judge.look(now, 2 * pause, &sights, limit);
        for (sight, verdict) in verdicts {
            let seen = seen.iter().find(|seen| seen.sight == sight);
            let (record, case) = (find(&beat, sight.method), self.judge.case(sight.thread));
            let (Some(seen), Some(record), Some(case)) = (seen, record, case) else { continue };
            match verdict {
                Verdict::Caught if catch(seen, &record, case.waited_before()) => {
                    record.caught(now, case.held);
                    self.voices.entry(record.id).or_default().caught(case.held);
                }
                Verdict::Still => record.held(case.held),
                Verdict::Caught | Verdict::Suspect => {}
            }
            rouse(&record.home.runtime);
            if seen.is_aside()
                && let Some(aside) = Aside::started()
            {
                rouse(aside.runtime());
            }
        }
        self.speak(now);
    }

    fn ring_overdue(&self) {
        let pools: Vec<_> = {
            let mut pools = self.beat.pools.lock();
            pools.retain(|pool| pool.strong_count() > 0);
            pools.iter().filter_map(Weak::upgrade).collect()
        };
        pools.iter().for_each(|pool| pool.ring_overdue());
    }

    fn speak(&mut self, now: Duration) {
        self.voices.retain(|method, _| self.beat.records.lock().contains_key(method));
        for (method, voice) in &mut self.voices {
            let Some((times, held)) = voice.say(now) else { continue };
            let Some(record) = find(&self.beat, *method) else { continue };
            let held_ms = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                target: "turno::watchdog",
                method = record.name,
                held_ms,
                times,
                "an async fn holds its thread: make it a plain `fn`, and it runs on the workers' pools"
            );
        }
    }
}

fn find(beat: &Beat, method: u64) -> Option<Arc<Record>> {
    beat.records.lock().get(&method)?.upgrade()
}

/// Marks the poll as caught, and the place that it has at home as lost to the others. False when it is over.
fn catch(seen: &Seen, record: &Record, waited_before: Option<Duration>) -> bool {
    if seen.is_aside() {
        return seen.catch(waited_before);
    }
    // First, so that the thread, which takes it off again when it sees the mark, cannot come before.
    record.home.gate.lose();
    let caught = seen.catch(waited_before);
    if !caught {
        record.home.gate.regain();
    }
    caught
}

/// A thread that blocks may be the one that was watching the runtime's sockets and timers for all: something to do
/// wakes another, which takes that over.
fn rouse(runtime: &Handle) {
    drop(task::spawn_on("watchdog.rouse", runtime, async {}));
}
