//! Worker threads of a runtime that sleep until they are needed.
//!
//! tokio's scheduler wakes a parked worker for nearly each task that becomes ready, so that none waits. Where tasks
//! take microseconds, as those of links and of methods that wait do, the worker wakes to find that another has done
//! it, and the way there costs more than the task. A runtime whose other workers are asleep, in tokio's eyes at work,
//! has nobody to wake: what one thread can do is done by one, and as soon as it does not come to rest any more,
//! because there is more to do or because something blocks it, the next one helps.
//!
//! A worker may only sleep where nothing is left to it that no other could take. What is in its queue others steal;
//! but tasks that have yielded wait aside for their own worker. It has none when it parks, nor as long as it has
//! polled no task since. So a worker sleeps in the first task that it polls after it has parked, or not at all.
//!
//! ```text
//! shift.rs   how many are to be awake (pure)
//! spares.rs  the thread that looks at the workers, and the tasks in which they sleep
//! ```

mod shift;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Handle};

use self::shift::Shift;
use crate::metrics::GaugeFamily;
use crate::task;

thread_local! {
    /// Tasks polled since this worker has parked.
    static POLLS: Cell<u64> = const { Cell::new(0) };
}

/// Sets a runtime up for spares. Each worker's tasks wait in a queue from which others can take them: the slot for the
/// one that was woken last would be out of their reach.
pub(crate) fn prepare(builder: &mut Builder) {
    builder.disable_lifo_slot();
    builder.on_thread_unpark(|| POLLS.set(0));
    builder.on_before_task_poll(|_| POLLS.set(POLLS.get() + 1));
}

/// The workers of one runtime that sleep. Dropping this wakes them for good.
#[derive(Debug)]
pub(crate) struct Spares {
    room: Arc<Room>,
    /// Dropped, it ends the thread that looks.
    _looking: mpsc::Sender<()>,
}

/// The longest that a task waits behind one that blocks before a thread is woken for it is twice that.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Spares {
    /// Of a runtime that was [prepared](prepare). Sends all workers but one to sleep, and watches that those who are
    /// awake suffice.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn of(runtime: Handle) -> std::io::Result<Self> {
        let (looking, until) = mpsc::channel();
        let room = Arc::<Room>::default();
        let watch = Watch { room: room.clone(), shift: Shift::new(runtime.metrics().num_workers()), runtime };
        std::thread::Builder::new().name("spares".to_owned()).spawn(move || watch.run(&until))?;
        Ok(Self { room, _looking: looking })
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.room.close();
    }
}

struct Watch {
    room: Arc<Room>,
    shift: Shift,
    runtime: Handle,
}

impl Watch {
    fn run(mut self, until: &mpsc::Receiver<()>) {
        let help = "Threads of the async runtime that do not sleep for want of work.";
        let awake = GaugeFamily::new("turno_async_threads_awake", help).with([]);
        let mut before = self.parks();
        loop {
            self.room.want(self.shift.asleep(), &self.runtime);
            awake.set(u32::try_from(self.shift.awake()).unwrap_or(u32::MAX));
            if until.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let now = self.parks();
            self.shift.look(rested(&before, &now));
            before = now;
        }
    }

    /// How often each worker has parked and unparked.
    fn parks(&self) -> Vec<u64> {
        let metrics = self.runtime.metrics();
        (0..metrics.num_workers()).map(|worker| metrics.worker_park_unpark_count(worker)).collect()
    }
}

/// Whether one of the workers has parked between two looks, or is parked: its count is odd then. One that sleeps here
/// has not, nor has one that is at work or held up.
fn rested(before: &[u64], now: &[u64]) -> bool {
    before.iter().zip(now).any(|(before, now)| before != now || now % 2 == 1)
}

/// Where workers sleep: inside a task's poll, of which only the thread knows that it does nothing.
#[derive(Debug, Default)]
struct Room {
    beds: Mutex<Beds>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Beds {
    /// So many workers are to sleep.
    wanted: usize,
    asleep: usize,
    /// Tasks that no worker has taken yet.
    coming: usize,
    closed: bool,
}

impl Room {
    /// So many workers are to sleep, all but one at the most. Those who could not when they were asked to are asked
    /// again.
    fn want(self: &Arc<Self>, asleep: usize, runtime: &Handle) {
        let more = {
            let mut beds = self.beds.lock();
            if beds.closed {
                return;
            }
            if asleep < beds.wanted {
                self.news.notify_all();
            }
            beds.wanted = asleep;
            let more = asleep.saturating_sub(beds.asleep + beds.coming);
            beds.coming += more;
            more
        };
        for _ in 0..more {
            let room = self.clone();
            task::spawn_on("runtime.spare", runtime, async move { room.sleep() });
        }
    }

    /// Nobody sleeps any more.
    fn close(&self) {
        {
            let mut beds = self.beds.lock();
            (beds.closed, beds.wanted) = (true, 0);
        }
        self.news.notify_all();
    }

    /// Holds the worker that polls this until it is needed, if it may sleep.
    fn sleep(&self) {
        let may_sleep = POLLS.get() == 1;
        if may_sleep {
            // What waits for this worker goes to another: something to do wakes one, which looks around before it
            // parks.
            task::spawn("runtime.rouse", async {});
        }
        let mut beds = self.beds.lock();
        beds.coming -= 1;
        if !may_sleep || beds.asleep >= beds.wanted {
            return;
        }
        beds.asleep += 1;
        self.news.wait_while(&mut beds, |beds| beds.asleep <= beds.wanted);
        beds.asleep -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Builder, Duration, Room, Spares, prepare, rested};
    use crate::task;
    use std::sync::mpsc;
    use std::time::Instant;
    use tokio::runtime::Runtime;

    fn runtime(threads: usize) -> Runtime {
        let mut builder = Builder::new_multi_thread();
        prepare(&mut builder);
        builder.worker_threads(threads).enable_all().build().unwrap()
    }

    fn eventually(what: &str, condition: impl Fn() -> bool) {
        let began = Instant::now();
        while !condition() {
            assert!(began.elapsed() < Duration::from_secs(20), "gave up waiting until {what}");
            std::thread::yield_now();
        }
    }

    /// Nobody looks: the test says who is to sleep.
    fn alone() -> Spares {
        Spares { room: Arc::default(), _looking: mpsc::channel().0 }
    }

    fn asleep(room: &Room) -> usize {
        room.beds.lock().asleep
    }

    #[test]
    fn only_who_has_parked_has_rested() {
        assert!(!rested(&[0, 4, 2], &[0, 4, 2]));
        assert!(rested(&[0, 4, 2], &[0, 6, 2]));
        assert!(rested(&[0, 5, 2], &[0, 5, 2]), "it is parked");
    }

    #[test]
    fn as_many_sleep_as_are_to() {
        let (runtime, spares) = (runtime(4), alone());
        let room = &spares.room;
        for wanted in [3, 1, 2, 0, 3] {
            eventually("they do", || {
                room.want(wanted, runtime.handle());
                asleep(room) == wanted
            });
            // And those who are awake work.
            runtime.block_on(task::spawn_on("works", runtime.handle(), async {})).unwrap();
        }
        room.close();
        eventually("all are awake", || asleep(room) == 0);
        room.want(3, runtime.handle());
        assert_eq!(asleep(room), 0, "it is closed");
    }

    #[test]
    fn a_thread_that_is_held_up_is_helped() {
        let runtime = runtime(3);
        let spares = Spares::of(runtime.handle().clone()).unwrap();
        eventually("all but one sleep", || asleep(&spares.room) == 2);
        let mut releases = Vec::new();
        // The last one too: each is seen to hold its thread before the next begins.
        for _ in 0..2 {
            let (release, held) = mpsc::channel::<()>();
            let (holding, holds) = mpsc::channel();
            task::spawn_on("holds", runtime.handle(), async move {
                holding.send(()).unwrap();
                let _released = held.recv();
            });
            holds.recv().unwrap();
            releases.push(release);
            let (done, works) = mpsc::channel();
            task::spawn_on("works", runtime.handle(), async move { done.send(()).unwrap() });
            works.recv_timeout(Duration::from_secs(20)).expect("another thread has woken");
        }
        drop(releases);
        eventually("they sleep again", || asleep(&spares.room) == 2);
    }

    #[test]
    fn nothing_that_a_worker_had_to_do_sleeps_with_it() {
        let (runtime, spares) = (runtime(2), alone());
        let room = &spares.room;
        let (mut rounds, mut slept) = (0, 0);
        // Whether one may sleep is chance: on a machine that has much else to do none may for long.
        while rounds < 500 || slept == 0 {
            rounds += 1;
            assert!(rounds < 100_000, "none has slept");
            // They yield, and wait for the worker that has polled them first.
            let tasks = task::spawn_on("spawns", runtime.handle(), async {
                (0..16).map(|_| task::spawn("works", tokio::task::yield_now())).collect::<Vec<_>>()
            });
            room.want(1, runtime.handle());
            runtime.block_on(async {
                for task in tasks.await.unwrap() {
                    tokio::time::timeout(Duration::from_secs(20), task)
                        .await
                        .expect("it is not lost")
                        .unwrap();
                }
            });
            slept += asleep(room);
            room.want(0, runtime.handle());
        }
    }

    #[test]
    fn a_runtime_ends_that_has_spares() {
        let runtime = runtime(3);
        let spares = Spares::of(runtime.handle().clone()).unwrap();
        let room = spares.room.clone();
        eventually("all but one sleep", || asleep(&room) == 2);
        drop(spares);
        drop(runtime);
        assert_eq!(asleep(&room), 0);
    }
}
