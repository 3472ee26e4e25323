//! What a bench says in the end: for people a table, with what is wanted and whether it is met; for programs one JSON
//! object a figure, as soon as it is known.

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::bench::figure::{Figure, short};
use crate::listing::print;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    RatioAtLeast(f64),
    RatioAtMost(f64),
}

impl Wanted {
    /// What is not a number meets nothing.
    fn is_met(self, figure: &Figure) -> bool {
        let ratio = figure.ratio.unwrap_or(f64::NAN);
        match self {
            Self::AtLeast(least) => figure.value >= least,
            Self::AtMost(most) => figure.value <= most,
            Self::RatioAtLeast(least) => ratio >= least,
            Self::RatioAtMost(most) => ratio <= most,
        }
    }

    /// "✓ ratio ≥ 0.70"
    fn tell(self, figure: &Figure) -> String {
        let (met, unit) = (if self.is_met(figure) { '✓' } else { '✗' }, figure.unit);
        match self {
            Self::AtLeast(least) => format!("{met} ≥ {least} {unit}"),
            Self::AtMost(most) => format!("{met} ≤ {most} {unit}"),
            Self::RatioAtLeast(least) => format!("{met} ratio ≥ {least:.2}"),
            Self::RatioAtMost(most) => format!("{met} ratio ≤ {most:.2}"),
        }
    }
}

/// The figures of one bench.
#[derive(Debug)]
pub(crate) struct Report {
    /// What the column of the alternative is called.
    reference: &'static str,
    json: bool,
    rows: Vec<[String; 6]>,
}

impl Report {
    pub(crate) fn new(reference: &'static str, json: bool) -> Self {
        Self { reference, json, rows: Vec::new() }
    }

    /// Takes in a figure.
    pub(crate) fn add(&mut self, figure: &Figure, wanted: Option<Wanted>) -> Result<()> {
        if self.json {
            return print(serde_json::to_string(figure)?);
        }
        let repeated = self.rows.iter().rev().find(|row| !row[0].is_empty());
        let is_repeated = repeated.is_some_and(|row| row[0] == figure.case);
        self.rows.push([
            if is_repeated { String::new() } else { figure.case.clone() },
            figure.metric.to_owned(),
            quantity(Some(figure.value), figure.unit),
            quantity(figure.reference, figure.unit),
            figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}")),
            wanted.map_or_else(String::new, |wanted| wanted.tell(figure)),
        ]);
        Ok(())
    }

    /// The table, unless everything has been said as JSON.
    pub(crate) fn finish(self) -> Result<()> {
        if self.json { Ok(()) } else { print(self.table()) }
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["CASE", "METRIC", "TURNO", self.reference, "RATIO", "WANTED"]);
        table.add_rows(&self.rows);
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 3));
            if (2..5).contains(&at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }
}

fn quantity(value: Option<f64>, unit: &str) -> String {
    match value {
        None => String::new(),
        Some(value) if value.is_nan() => "none".to_owned(),
        Some(value) => format!("{} {unit}", short(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Wanted};
    use crate::bench::figure::Figure;

    fn figure(metric: &'static str, value: f64, ratio: Option<f64>) -> Figure {
        let (bench, case, unit) = ("echo", "64 in flight".to_owned(), "ms");
        Figure {
            bench,
            case,
            metric,
            value,
            unit,
            reference: ratio.map(|ratio| value / ratio),
            ratio,
            rounds: 5,
        }
    }

    #[test]
    fn the_table_says_what_is_wanted_and_whether_it_is_met() {
        let mut report = Report::new("DIRECT TONIC", false);
        report.add(&figure("p50", 3.0, Some(0.75)), Some(Wanted::RatioAtLeast(0.7))).unwrap();
        report.add(&figure("p99", 12.0, None), Some(Wanted::AtMost(5.0))).unwrap();
        report.add(&figure("p100", 1234.0, None), None).unwrap();
        assert_eq!(
            report.table(),
            "CASE           METRIC      TURNO   DIRECT TONIC   RATIO   WANTED\n\
             64 in flight   p50       3.00 ms        4.00 ms   0.750   ✓ ratio ≥ 0.70\n\
             \x20              p99      12.00 ms                          ✗ ≤ 5 ms\n\
             \x20              p100      1234 ms"
        );
    }

    #[test]
    fn programs_read_these_keys() {
        let json = serde_json::to_value(figure("p50", 3.0, Some(0.75))).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["bench", "case", "metric", "value", "unit", "reference", "ratio", "rounds"]);
    }

    #[test]
    fn what_could_not_be_measured_meets_nothing() {
        for wanted in [Wanted::AtLeast(0.0), Wanted::AtMost(0.0), Wanted::RatioAtLeast(0.0)] {
            assert!(!wanted.is_met(&figure("p99", f64::NAN, None)), "{wanted:?}");
        }
        assert!(serde_json::to_string(&figure("p99", f64::NAN, None)).unwrap().contains("\"value\":null"));
    }
}
