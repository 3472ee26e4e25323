//! What the writer has not made, counted by why: where every change has its answer, so that nobody has to count beside it. Every
//! try counts: what is held until the store takes it is tried again and again. The log hears of a store that is full, with what
//! a person has to know for that, and of one that is away: once, however many wait for it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use metrics::Counter;
use turno_runtime::metrics::CounterFamily;

use crate::change::{Answer, Answered};
use crate::error::Error;
use crate::sqlite;

/// The log hears of a store that is full no more often.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Nor of one that is away, be it that it answers now and then.
const AWAY_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Changes, by what keeps the store from making them. That one cannot be made as it was asked for is not the store's doing.
pub(crate) struct Refused {
    full: Counter,
    late: Counter,
    failed: Counter,
    unusable: Counter,
    /// Nobody knows of some of these.
    away: Counter,
    /// Where the store lies, if that is a directory of this machine.
    directory: Option<PathBuf>,
    /// When the log heard last that it is full.
    told: Option<Instant>,
    /// And that it is away.
    told_away: Option<Instant>,
    /// It has not answered since then.
    is_away: bool,
}

impl Refused {
    /// Whoever watches sees from the beginning that there are none.
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        let help = "Tries to change something that the store of tickets has not taken, by why.";
        let refused = CounterFamily::new("turno_store_refused_total", help);
        let by = |reason: &'static str| refused.with([("reason", reason.into())]);
        Self {
            full: by("full"),
            late: by("late"),
            failed: by("failed"),
            unusable: by("unusable"),
            away: by("away"),
            directory: directory.map(Path::to_owned),
            told: None,
            told_away: None,
            is_away: false,
        }
    }

    pub(crate) fn count(&mut self, answered: &Answered) {
        let counter = match answered {
            Ok(Answer::NoSpace) | Err(Error::Full) => {
                self.tell_full(Instant::now());
                &self.full
            }
            Err(Error::Contended | Error::Late(_)) => &self.late,
            Err(Error::Failed(_)) => &self.failed,
            Err(Error::Unusable(_)) => &self.unusable,
            Err(error @ (Error::Away(_) | Error::Unavailable(_))) => {
                self.tell_away(error, Instant::now());
                &self.away
            }
            Ok(_)
            | Err(
                Error::NotFound(_)
                | Error::Exists(_)
                | Error::KeyTaken { .. }
                | Error::WrongState { .. }
                | Error::Superseded(_)
                | Error::Incomplete(_)
                | Error::Unfit(_)
                | Error::Damaged(_),
            ) => return self.tell_back(),
        };
        counter.increment(1);
    }

    /// Who asks hears of it each time, the log seldom: it may lie on the disk that is full. What is free is as it is now, which
    /// others may have changed since; with a quota it may be much.
    fn tell_full(&mut self, now: Instant) {
        if is_within(TOLD_EVERY, self.told, now) {
            return;
        }
        self.told = Some(now);
        let directory = self.directory.as_deref();
        let free_bytes = directory.and_then(sqlite::free);
        let directory = directory.map(|directory| tracing::field::display(directory.display()));
        tracing::warn!(
            directory,
            free_bytes,
            "the store of tickets is full: what would add to it is refused, or held"
        );
    }

    /// Who asks hears of it each time, and what is held asks again and again.
    fn tell_away(&mut self, error: &Error, now: Instant) {
        if self.is_away || is_within(AWAY_TOLD_EVERY, self.told_away, now) {
            return;
        }
        (self.is_away, self.told_away) = (true, Some(now));
        tracing::warn!(%error, "the store of tickets is away: what would change it is refused, or held until it answers");
    }

    fn tell_back(&mut self) {
        if std::mem::take(&mut self.is_away) {
            tracing::info!("the store of tickets answers again");
        }
    }
}

/// Whether the log has heard of it no longer ago than that.
fn is_within(time: Duration, told: Option<Instant>, now: Instant) -> bool {
    told.is_some_and(|told| now.duration_since(told) < time)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fmt::{Debug, Write as _};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use parking_lot::Mutex;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::{Answer, Error, Refused};

    /// Keeps warnings, and what is worse.
    #[derive(Clone, Default)]
    pub(crate) struct Warnings(Arc<Mutex<Vec<String>>>);

    impl Warnings {
        pub(crate) fn lines(&self) -> Vec<String> {
            self.0.lock().clone()
        }
    }

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::WARN
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.0.lock().push(line.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, "{field}={value:?} ").unwrap();
        }
    }

    fn told(mut refused: Refused, act: impl FnOnce(&mut Refused)) -> Vec<String> {
        let warnings = Warnings::default();
        tracing::subscriber::with_default(warnings.clone(), || act(&mut refused));
        warnings.lines()
    }

    #[test]
    fn a_store_that_is_full_is_in_the_log_once_a_second() {
        let now = Instant::now();
        let lines = told(Refused::new(None), |refused| {
            for ms in [0, 0, 999, 1000] {
                refused.tell_full(now + Duration::from_millis(ms));
            }
        });
        assert_eq!(lines.len(), 2);
        // Of a database that lies elsewhere nobody knows it.
        assert!(!lines[0].contains("directory") && !lines[0].contains("free_bytes"), "{}", lines[0]);
    }

    #[test]
    fn a_store_that_is_away_is_in_the_log_once_until_it_has_answered() {
        let (away, now) = (Error::Away("it is gone".into()), Instant::now());
        let lines = told(Refused::new(None), |refused| {
            let away_at = |refused: &mut Refused, seconds: &[u64]| {
                for seconds in seconds {
                    refused.tell_away(&away, now + Duration::from_secs(*seconds));
                }
                refused.count(&Ok(Answer::Nothing));
            };
            away_at(refused, &[0, 1, 3600]);
            away_at(refused, &[3601, 3602]);
            // It answers now and then.
            away_at(refused, &[3603]);
            away_at(refused, &[3604, 3661, 3662]);
        });
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("it is gone"), "{}", lines[0]);
    }

    #[test]
    fn who_waits_for_a_store_that_is_away_is_not_in_the_log_each() {
        for error in [Error::Away("it is gone".into()), Error::Unavailable("it is gone".into())] {
            let answered = Err(error);
            let lines = told(Refused::new(None), |refused| (0..9).for_each(|_| refused.count(&answered)));
            assert_eq!(lines.len(), 1, "{lines:?}");
        }
    }

    #[test]
    fn the_log_says_where_it_is_full_and_what_is_free() {
        let directory = tempfile::tempdir().unwrap();
        for answered in [Ok(Answer::NoSpace), Err(Error::Full)] {
            let lines = told(Refused::new(Some(directory.path())), |refused| refused.count(&answered));
            assert_eq!(lines.len(), 1);
            assert!(lines[0].contains(&format!("directory={} ", directory.path().display())), "{}", lines[0]);
            assert!(lines[0].contains(" free_bytes="), "{}", lines[0]);
        }
        let lines = told(Refused::new(Some(directory.path())), |refused| refused.count(&Ok(Answer::Nothing)));
        assert!(lines.is_empty(), "{lines:?}");
    }
}
