//! Metrics, each with the words that `/metrics` has for it (`# HELP`). There is no other way to make one: clippy.toml
//! forbids the macros that need no words. A unit that is not in the name is in the words.

#![allow(clippy::disallowed_macros, reason = "they are made here, and nowhere else")]

use metrics::{Counter, Gauge, Label, SharedString};

/// Counters of one name, which labels tell apart. Whoever counts keeps it: words that are said again before somebody has
/// read the page are kept as often.
#[derive(Clone, Copy, Debug)]
pub struct CounterFamily(&'static str);

impl CounterFamily {
    /// None of them is on the page yet.
    pub fn new(name: &'static str, help: &'static str) -> Self {
        metrics::describe_counter!(name, help);
        Self(name)
    }

    /// The one with these labels: on the page from now on.
    pub fn with<const N: usize>(&self, labels: [(&'static str, SharedString); N]) -> Counter {
        metrics::counter!(self.0, labelled(labels))
    }
}

/// The same of gauges.
#[derive(Clone, Copy, Debug)]
pub struct GaugeFamily(&'static str);

impl GaugeFamily {
    /// None of them is on the page yet.
    pub fn new(name: &'static str, help: &'static str) -> Self {
        metrics::describe_gauge!(name, help);
        Self(name)
    }

    /// The one with these labels: on the page from now on.
    pub fn with<const N: usize>(&self, labels: [(&'static str, SharedString); N]) -> Gauge {
        metrics::gauge!(self.0, labelled(labels))
    }
}

fn labelled<const N: usize>(labels: [(&'static str, SharedString); N]) -> Vec<Label> {
    labels.map(|(name, value)| Label::new(name, value)).into()
}

#[cfg(test)]
mod tests {
    use super::{CounterFamily, GaugeFamily};
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn the_page_has_words_for_each_family_once() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let burnt = CounterFamily::new("burnt_total", "Loaves that were burnt, by oven.");
            burnt.with([("oven", "left".into())]).increment(2);
            burnt.with([("oven", "right".to_owned().into())]).increment(1);
            GaugeFamily::new("heat_kelvin", "How hot it is.").with([]).set(500.0);
            let _unused = CounterFamily::new("eaten_total", "Loaves that were eaten.");
        });
        let page = recorder.handle().render();
        let mut lines: Vec<_> = page.lines().filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        let expected = [
            "# HELP burnt_total Loaves that were burnt, by oven.",
            "# HELP heat_kelvin How hot it is.",
            "# TYPE burnt_total counter",
            "# TYPE heat_kelvin gauge",
            "burnt_total{oven=\"left\"} 2",
            "burnt_total{oven=\"right\"} 1",
            "heat_kelvin 500",
        ];
        assert_eq!(lines, expected);
    }
}
