//! A figure of a bench: what was measured, and what the alternative has beside it.

use anyhow::Result;
use serde::Serialize;

pub(crate) use crate::bench::stats::median;
use crate::listing::print;

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) bench: &'static str,
    pub(crate) case: String,
    pub(crate) metric: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The alternative's value in the same run.
    pub(crate) reference: Option<f64>,
    /// Ours ÷ the alternative's: the median of the rounds' own ratios.
    pub(crate) ratio: Option<f64>,
    pub(crate) rounds: usize,
}

impl Figure {
    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json {
            return print(serde_json::to_string(self)?);
        }
        let reference =
            self.reference.map(|value| format!("   direct {:>10}", short(value))).unwrap_or_default();
        let ratio = self.ratio.map(|ratio| format!("   ratio {ratio:.3}")).unwrap_or_default();
        print(format!(
            "{:28} {:22} {:>10} {:7}{reference}{ratio}",
            self.case,
            self.metric,
            short(self.value),
            self.unit
        ))
    }
}

/// Two decimals for what is small, none for what is large.
pub(crate) fn short(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}
