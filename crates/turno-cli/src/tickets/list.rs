//! `turno tickets list`.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::process::ExitCode;

use clap::Args;
use comfy_table::Table;
use prost_reflect::DescriptorPool;
use serde_json::Value;

use super::desk::{Desk, Listed};
use super::filter::Filter;
use super::ticket::now_ms;
use super::{object, table};
use crate::aside::Aside;
use crate::listing::print;

/// Those that are listed for who does not say how many.
const SHOWN: usize = 50;

/// Which tickets are listed, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// At most so many [default: 50, and with --quiet all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Names alone, one a line, of all that there are
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

impl ListArgs {
    /// Names alone are for other commands, which are to miss none.
    fn most(&self) -> usize {
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        limit.unwrap_or(if self.quiet { usize::MAX } else { SHOWN })
    }
}

pub(crate) async fn run(desk: &Desk, args: ListArgs) -> anyhow::Result<ExitCode> {
    let filter = args.filter.text();
    let listed = desk.list(&filter, args.most()).await?;
    if args.quiet {
        for ticket in &listed.tickets {
            print(ticket.name.clone())?;
        }
    } else if args.json {
        let known = DescriptorPool::new();
        let objects: Value = listed.tickets.iter().map(|ticket| object::ticket(ticket, &known)).collect();
        print(format!("{objects:#}"))?;
    } else {
        // A person's screen has an end.
        let width = Table::new().width().map(usize::from).filter(|_| stdout().is_terminal());
        print(text(&listed, &filter, width))?;
    }
    if let Some(rest) = rest(&listed) {
        writeln!(Aside, "{rest}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// That there are others, whoever reads: a program counts, but knows no limit that it has not set.
fn rest(listed: &Listed) -> Option<String> {
    let shown = listed.tickets.len();
    listed
        .more
        .then(|| format!("the newest {shown}: --limit N shows more, --quiet without it the names of all"))
}

fn text(listed: &Listed, filter: &str, width: Option<usize>) -> String {
    if listed.tickets.is_empty() && filter.is_empty() {
        return "no tickets are kept; submit a call with `turno submit`".to_owned();
    }
    if listed.tickets.is_empty() {
        return format!("no ticket has {filter}");
    }
    table::text(&listed.tickets, now_ms(), width)
}

#[cfg(test)]
mod tests {
    use super::super::ticket::tests::running;
    use super::{Filter, ListArgs, Listed, rest, text};

    #[test]
    fn nothing_there_says_why() {
        let none = Listed { tickets: Vec::new(), more: false };
        assert!(text(&none, "", None).contains("`turno submit`"));
        assert_eq!(text(&none, "state = \"dead\"", None), "no ticket has state = \"dead\"");
    }

    #[test]
    fn whoever_reads_is_told_of_what_is_not_shown() {
        let mut listed = Listed { tickets: vec![running()], more: true };
        assert!(rest(&listed).unwrap().starts_with("the newest 1: --limit N shows more"));
        listed.more = false;
        assert_eq!(rest(&listed), None);
        assert_eq!(text(&listed, "", None).lines().count(), 2);
    }

    #[test]
    fn names_for_other_commands_are_those_of_all() {
        let args = |limit, quiet| ListArgs { filter: Filter::default(), limit, quiet, json: false };
        assert_eq!(args(None, false).most(), 50);
        assert_eq!(args(None, true).most(), usize::MAX);
        assert_eq!(args(Some(7), true).most(), 7);
    }
}
