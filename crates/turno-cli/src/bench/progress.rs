//! What a bench is doing now, on standard error: a line that moves on a terminal, a line a step anywhere else.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::aside::Aside;

/// Tells how far a bench is. Its line is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of so many steps.
    pub(crate) fn new(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg} {bar:20} {pos}/{len}");
        bar.set_style(style.expect("the template is one that indicatif knows"));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar }
    }

    /// Begins a step.
    pub(crate) fn step(&self, what: impl Into<String>) {
        let what = what.into();
        if self.bar.is_hidden() {
            let _said = writeln!(Aside, "{what}");
        }
        self.bar.set_message(what);
        self.bar.inc(1);
    }

    /// Says what stays to be read; standard output holds the figures alone.
    pub(crate) fn note(&self, what: &str) {
        let _said = self.bar.suspend(|| writeln!(Aside, "{what}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
