//! Who is guilty, and how often to say so. Pure: the patrol brings the time and what it has seen.

use std::collections::HashMap;
use std::time::Duration;

/// A poll that is under way, as one look has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// The thread that polls.
    pub(super) thread: u64,
    /// The method that is polled, by its record.
    pub(super) method: u64,
    pub(super) since: Duration,
}

/// What a thread has done since it is there, as one look has found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadTime {
    /// It had a CPU.
    pub(super) cpu: Duration,
    /// It could have run, and had none; a wait counts only once it is over.
    pub(super) waited: Duration,
    /// It has a CPU or waits for one: it does not sleep.
    pub(super) is_runnable: bool,
}

/// For how much of the time from one look to the next a poll has held its thread for certain: it slept or had a
/// CPU. That a busy machine has it wait for one is not the method's fault.
fn held(wall: Duration, before: Option<ThreadTime>, now: Option<ThreadTime>) -> Duration {
    match (before, now) {
        (_, None) => wall,
        (None, Some(_)) => Duration::ZERO,
        // It may have waited at either look, and since when nobody knows.
        (Some(before), Some(now)) if before.is_runnable || now.is_runnable => {
            now.cpu.saturating_sub(before.cpu).min(wall)
        }
        (Some(before), Some(now)) => wall.saturating_sub(now.waited.saturating_sub(before.waited)),
    }
}

/// What a look makes of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not for long yet, but no longer new.
    Suspect,
    /// For longer than allowed, as of now.
    Caught,
    /// Caught before, and still there.
    Still,
}

/// Follows each thread's poll from look to look.
#[derive(Debug, Default)]
pub(super) struct Judge {
    cases: HashMap<u64, Case>,
}

/// What is known of one poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    sight: Sight,
    looked: Duration,
    time: Option<ThreadTime>,
    /// As the first look has found its thread that could read it.
    first: Option<ThreadTime>,
    /// So long for certain.
    pub(super) held: Duration,
    caught: bool,
}

impl Case {
    /// What its thread had waited by the first look.
    pub(super) fn waited_before(&self) -> Option<Duration> {
        self.first.map(|time| time.waited)
    }
}

impl Judge {
    /// Between two looks no more than `most` counts: on a machine that lets the patrol wait, or a process that was
    /// stopped for a while, a poll has not blocked, it has not been let run.
    pub(super) fn look(
        &mut self,
        now: Duration,
        most: Duration,
        sights: &[(Sight, Option<ThreadTime>)],
        limit: impl Fn(u64) -> Option<Duration>,
    ) -> Vec<(Sight, Verdict)> {
        let before = std::mem::take(&mut self.cases);
        let mut verdicts = Vec::new();
        for &(sight, time) in sights {
            let known = before.get(&sight.thread).filter(|case| case.sight == sight);
            let (from, held) = known.map_or((sight.since, Duration::ZERO), |case| (case.looked, case.held));
            let since = self::held(now.saturating_sub(from), known.and_then(|case| case.time), time);
            let held = held + since.min(most);
            let first = known.and_then(|case| case.first).or(time);
            let was_caught = known.is_some_and(|case| case.caught);
            let caught = was_caught || limit(sight.method).is_some_and(|limit| held >= limit);
            match (known.is_some(), was_caught, caught) {
                (_, true, _) => verdicts.push((sight, Verdict::Still)),
                (_, false, true) => verdicts.push((sight, Verdict::Caught)),
                (true, false, false) => verdicts.push((sight, Verdict::Suspect)),
                (false, false, false) => {}
            }
            self.cases.insert(sight.thread, Case { sight, looked: now, time, first, held, caught });
        }
        verdicts
    }

    /// Of the poll that the last look has seen in that thread.
    pub(super) fn case(&self, thread: u64) -> Option<Case> {
        self.cases.get(&thread).copied()
    }
}

/// How often one method is named: at once, then not again before [`Voice::PAUSE`] is over, with what has gathered.
#[derive(Debug, Default)]
pub(super) struct Voice {
    said: Option<Duration>,
    unsaid: u64,
    longest: Duration,
}

impl Voice {
    pub(super) const PAUSE: Duration = Duration::from_secs(10);

    /// The method was caught once more, `held` after the poll began.
    pub(super) fn caught(&mut self, held: Duration) {
        self.unsaid += 1;
        self.longest = self.longest.max(held);
    }

    /// How often it was caught since the last word, and the longest of that, if it is to be named now.
    pub(super) fn say(&mut self, now: Duration) -> Option<(u64, Duration)> {
        let rested = self.said.is_none_or(|said| now.saturating_sub(said) >= Self::PAUSE);
        if self.unsaid == 0 || !rested {
            return None;
        }
        self.said = Some(now);
        Some((std::mem::take(&mut self.unsaid), std::mem::take(&mut self.longest)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Judge, Sight, ThreadTime, Verdict, Voice};
    use std::time::Duration;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sight(thread: u64, since: u64) -> Sight {
        Sight { thread, method: 7, since: ms(since) }
    }

    /// The verdicts of one look, with looks meant every 25 ms and a limit of 100 ms.
    fn look(judge: &mut Judge, now: u64, sights: &[Sight]) -> Vec<Verdict> {
        let sights: Vec<_> = sights.iter().map(|sight| (*sight, None)).collect();
        judge
            .look(ms(now), ms(50), &sights, |_| Some(ms(100)))
            .into_iter()
            .map(|(_, verdict)| verdict)
            .collect()
    }

    #[test]
    fn one_poll_that_lasts_is_caught_once() {
        let (mut judge, poll) = (Judge::default(), [sight(1, 5)]);
        let verdicts: Vec<_> = (1..=6).map(|n| look(&mut judge, n * 25, &poll).first().copied()).collect();
        use Verdict::{Caught, Still, Suspect};
        assert_eq!(verdicts, [None, Some(Suspect), Some(Suspect), Some(Suspect), Some(Caught), Some(Still)]);
    }

    /// When one poll is caught, by looks every 25 ms that find its thread as `time` says.
    fn caught_at(time: impl Fn(u64) -> ThreadTime) -> Option<u64> {
        let mut judge = Judge::default();
        (1..=40).map(|n| n * 25).find(|now| {
            let sights = [(sight(1, 0), Some(time(*now)))];
            let verdicts = judge.look(ms(*now), ms(50), &sights, |_| Some(ms(100)));
            verdicts.contains(&(sight(1, 0), Verdict::Caught))
        })
    }

    #[test]
    fn to_sleep_and_to_compute_is_to_hold_and_to_wait_for_a_cpu_is_not() {
        let time = |cpu, waited, is_runnable| ThreadTime { cpu: ms(cpu), waited: ms(waited), is_runnable };
        assert_eq!(caught_at(|_| time(7, 7_000, false)), Some(125), "it sleeps");
        assert_eq!(caught_at(|now| time(now, 7, true)), Some(125), "it computes");
        assert_eq!(
            caught_at(|now| time(now / 5, now / 5 * 4, true)),
            Some(525),
            "it computes on a fifth of a CPU"
        );
        assert_eq!(caught_at(|_| time(7, 7, true)), None, "it waits, and that is not booked yet");
        assert_eq!(caught_at(|now| time(7, now, false)), None, "it wakes and waits again and again");
        // A wait of many looks is booked at its end, when it has computed for 20 ms and goes to sleep.
        let waits = |now: u64| if now < 500 { time(0, 0, true) } else { time(20, 480, false) };
        assert_eq!(caught_at(waits), Some(600));
    }

    #[test]
    fn what_a_poll_has_held_leaves_out_what_it_has_waited() {
        let mut judge = Judge::default();
        for now in (25..=1000).step_by(25) {
            // It computes on a fifth of a CPU, also once it is caught.
            let time = ThreadTime { cpu: ms(now / 5), waited: ms(now / 5 * 4), is_runnable: true };
            judge.look(ms(now), ms(50), &[(sight(1, 0), Some(time))], |_| Some(ms(100)));
        }
        let case = judge.case(1).unwrap();
        assert_eq!((case.held, case.waited_before()), (ms(195), Some(ms(20))));
        assert!(judge.case(2).is_none());
    }

    #[test]
    fn many_short_polls_on_one_thread_are_nobodys_fault() {
        let mut judge = Judge::default();
        for n in 1..100 {
            assert_eq!(look(&mut judge, n * 25, &[sight(1, n * 25 - 20)]), []);
        }
    }

    #[test]
    fn each_thread_is_judged_for_itself() {
        let mut judge = Judge::default();
        for n in 1..4 {
            let seen = look(&mut judge, n * 25, &[sight(1, 0), sight(2, n * 25 - 1)]);
            assert!(!seen.contains(&Verdict::Caught));
        }
        let seen =
            judge.look(ms(100), ms(50), &[(sight(2, 99), None), (sight(1, 0), None)], |_| Some(ms(100)));
        assert_eq!(seen, [(sight(1, 0), Verdict::Caught)]);
    }

    #[test]
    fn a_process_that_was_stopped_accuses_nobody() {
        let (mut judge, poll) = (Judge::default(), [sight(1, 0)]);
        assert_eq!(look(&mut judge, 20, &poll), []);
        // Five seconds for which nothing ran, the patrol as little as the poll.
        assert_eq!(look(&mut judge, 5_020, &poll), [Verdict::Suspect]);
        assert_eq!(look(&mut judge, 5_045, &poll), [Verdict::Suspect]);
        assert_eq!(look(&mut judge, 5_070, &poll), [Verdict::Caught]);
    }

    #[test]
    fn a_method_without_a_record_is_left_alone() {
        let mut judge = Judge::default();
        for n in 1..9 {
            let seen = judge.look(ms(n * 25), ms(50), &[(sight(1, 0), None)], |_| None);
            assert!(seen.iter().all(|(_, verdict)| *verdict == Verdict::Suspect));
        }
    }

    #[test]
    fn a_method_is_named_at_once_and_then_seldom() {
        let mut voice = Voice::default();
        assert_eq!(voice.say(ms(0)), None);
        voice.caught(ms(110));
        assert_eq!(voice.say(ms(100)), Some((1, ms(110))));
        for held in 101..131 {
            voice.caught(ms(held));
            assert_eq!(voice.say(ms(5_000)), None);
        }
        assert_eq!(voice.say(ms(10_100)), Some((30, ms(130))));
        assert_eq!(voice.say(ms(30_000)), None);
    }
}
