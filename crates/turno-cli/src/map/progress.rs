//! How far a map is, on standard error: a bar with rate and remaining time on a terminal, and a word at the end.

use std::io::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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

    /// The last word.
    pub(super) fn finish(self, failed: u64) {
        self.bar.finish_and_clear();
        let (took, all) = (self.started.elapsed(), self.before + self.done);
        let a_second = self.done as f64 / took.as_secs_f64();
        let before =
            if self.before > 0 { format!(", {} of them before", self.before) } else { String::new() };
        let _said = writeln!(
            Aside,
            "{all} answered{before}, {failed} of them failed, in {took:.1?} ({a_second:.0}/s)"
        );
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total {
        "{elapsed} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left {msg}"
    } else {
        "{elapsed} {spinner} {human_pos} {per_sec} {msg}"
    };
    ProgressStyle::with_template(template).expect("the template is one that indicatif knows")
}
