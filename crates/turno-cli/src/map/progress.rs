//! How far a map is, on standard error: a bar with rate and remaining time on a terminal, and a word at the end.

use std::fmt;
use std::io::Write as _;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use turno_runtime::units::Rounded;

use crate::aside::Aside;

/// Tells a person how far it is.
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
    before: u64,
    done: u64,
}

impl Progress {
    /// Of `total` items, where that is known, `before` were done by an earlier run.
    pub(super) fn new(total: Option<u64>, before: u64, has_room: bool) -> Self {
        let target = if has_room { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target).with_style(style(total.is_some()));
        // The rate is this run's.
        bar.set_position(before);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, started: Instant::now(), before, done: 0 }
    }

    /// So many more are answered, and so many have failed in all.
    pub(super) fn done(&mut self, count: usize, failed: u64) {
        self.done += count as u64;
        self.bar.set_position(self.before + self.done);
        if failed > 0 {
            self.bar.set_message(format!("{failed} failed"));
        }
    }

    /// Has the last word, once.
    pub(super) fn finish(&self, failed: u64) {
        if let Some(word) = self.last_word(failed) {
            let _said = writeln!(Aside, "{word}");
        }
    }

    fn last_word(&self, failed: u64) -> Option<String> {
        if self.bar.is_finished() {
            return None;
        }
        self.bar.finish_and_clear();
        let (took, all) = (self.started.elapsed(), self.before + self.done);
        let rate = match self.done {
            0 => String::new(),
            done => format!(" ({})", rate(done as f64 / took.as_secs_f64())),
        };
        let before =
            if self.before > 0 { format!(", {} of them before", self.before) } else { String::new() };
        let took = Rounded(took);
        Some(format!("{all} answered{before}, {failed} of them failed, in {took}{rate}"))
    }
}

/// The bar is gone before anything else is written.
impl Drop for Progress {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
        }
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total {
        "{elapsed} {wide_bar} {human_pos}/{human_len} {pace}{msg}"
    } else {
        "{elapsed} {spinner} {human_pos} {pace}{msg}"
    };
    let style = ProgressStyle::with_template(template).expect("the template is one that indicatif knows");
    style.with_key("pace", move |state: &ProgressState, to: &mut dyn fmt::Write| {
        // A bar that cannot be drawn is none.
        let _drawn = to.write_str(&pace(state.per_sec(), has_total.then(|| state.eta())));
    })
}

/// "14.8/s 3m left ", and nothing before there is an answer to tell it from.
fn pace(a_second: f64, left: Option<Duration>) -> String {
    // Of no time at all it is no number.
    if a_second.is_nan() || a_second <= 0.0 {
        return String::new();
    }
    let left = left.map_or_else(String::new, |left| format!("{:#} left ", HumanDuration(left)));
    format!("{} {left}", rate(a_second))
}

/// No more digits behind the point than a person reads.
fn rate(a_second: f64) -> String {
    let digits = match a_second {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{a_second:.digits$}/s")
}

#[cfg(test)]
mod tests {
    use super::{Progress, pace, rate};
    use std::time::Duration;

    #[test]
    fn the_last_word_is_said_once() {
        let mut progress = Progress::new(Some(3), 1, false);
        progress.done(2, 1);
        let word = progress.last_word(1).unwrap();
        assert!(word.starts_with("3 answered, 1 of them before, 1 of them failed, in "), "{word}");
        assert_eq!(progress.last_word(1), None);
    }

    #[test]
    fn there_is_no_rate_and_no_end_before_there_is_an_answer() {
        let none = Some(Duration::ZERO);
        assert_eq!([pace(0.0, none), pace(f64::NAN, none)], ["", ""]);
        assert_eq!(pace(14.8425, Some(Duration::from_secs(7))), "14.8/s 7s left ");
        assert_eq!(pace(314.15, None), "314/s ");
    }

    #[test]
    fn a_rate_has_few_digits() {
        let rates = [0.0312, 1.0, 14.8425, 314.15, 81_234.2].map(rate);
        assert_eq!(rates, ["0.03/s", "1.00/s", "14.8/s", "314/s", "81234/s"]);
    }
}
