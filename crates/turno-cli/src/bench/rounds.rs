//! Rounds: both parties one after the other, who begins changing each time, so that what drifts on the machine meets
//! both alike.

use anyhow::Result;
use clap::Args;
use turno_runtime::units::Span;

use crate::bench::figure::Figure;
use crate::bench::progress::Progress;
use crate::bench::stats::median;

/// How long a bench measures.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Rounds {
    /// Rounds, each with both parties
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
    /// How long each party is called in a round
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    pub(crate) time: Span,
}

impl Rounds {
    /// How many.
    pub(crate) fn count(self) -> usize {
        self.rounds.into()
    }

    /// Lets both parties do theirs in each round.
    pub(crate) async fn alternate<T>(
        self,
        progress: &Progress,
        case: &str,
        mut ours: impl AsyncFnMut() -> Result<T>,
        mut theirs: impl AsyncFnMut() -> Result<T>,
    ) -> Result<Vec<(T, T)>> {
        let mut pairs = Vec::new();
        for round in 1..=self.rounds {
            progress.step(format!("{case}: round {round} of {}", self.rounds));
            pairs.push(if round % 2 == 1 {
                let ours = ours().await?;
                (ours, theirs().await?)
            } else {
                let theirs = theirs().await?;
                (ours().await?, theirs)
            });
        }
        Ok(pairs)
    }
}

/// The rounds of one case, ours and theirs.
#[derive(Debug)]
pub(crate) struct Case<'a, T> {
    pub(crate) bench: &'static str,
    pub(crate) case: String,
    pub(crate) rounds: &'a [(T, T)],
}

impl<T> Case<'_, T> {
    /// Ours against theirs: medians, and the median of the rounds' own ratios.
    pub(crate) fn figure(&self, metric: &'static str, unit: &'static str, of: impl Fn(&T) -> f64) -> Figure {
        Figure {
            reference: Some(median(self.rounds.iter().map(|(_, theirs)| of(theirs)))),
            ratio: Some(median(self.rounds.iter().map(|(ours, theirs)| of(ours) / of(theirs)))),
            ..self.alone(metric, unit, of)
        }
    }

    /// What only ours has.
    pub(crate) fn alone(&self, metric: &'static str, unit: &'static str, of: impl Fn(&T) -> f64) -> Figure {
        Figure {
            bench: self.bench,
            case: self.case.clone(),
            metric,
            value: median(self.rounds.iter().map(|(ours, _)| of(ours))),
            unit,
            reference: None,
            ratio: None,
            rounds: self.rounds.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, Rounds};
    use crate::bench::progress::Progress;
    use std::cell::RefCell;
    use turno_runtime::units::Span;

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_own() {
        // Ours by theirs: 0.5, 2, 0.75. The quotient of the medians would be 1.
        let rounds = [(10.0, 20.0), (20.0, 10.0), (30.0, 40.0)];
        let figure = Case { bench: "echo", case: String::new(), rounds: &rounds }.figure("x", "y", |&x| x);
        assert_eq!((figure.value, figure.reference), (20.0, Some(20.0)));
        assert_eq!((figure.ratio, figure.rounds), (Some(0.75), 3));
    }

    #[tokio::test]
    async fn who_begins_changes_each_round() {
        let rounds = Rounds { rounds: 3, time: Span::seconds(1) };
        let order = RefCell::new(String::new());
        let party = |letter: char| {
            order.borrow_mut().push(letter);
            Ok(letter)
        };
        let progress = Progress::new(3);
        let pairs = rounds.alternate(&progress, "", async || party('o'), async || party('t')).await.unwrap();
        assert_eq!(pairs, [('o', 't'); 3]);
        assert_eq!(order.into_inner(), "ottoot");
    }
}
