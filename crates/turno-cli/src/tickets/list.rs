//! `turno tickets list`.

use std::io::{IsTerminal as _, stdout};
use std::process::ExitCode;

use clap::Args;
use comfy_table::Table;
use prost_reflect::DescriptorPool;
use serde_json::Value;

use super::desk::{Desk, Listed};
use super::filter::Filter;
use super::ticket::now_ms;
use super::{object, table};
use crate::listing::print;

/// Which tickets are listed, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Names alone, one a line
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(desk: &Desk, args: ListArgs) -> anyhow::Result<ExitCode> {
    let filter = args.filter.text();
    let listed = desk.list(&filter, usize::try_from(args.limit).unwrap_or(usize::MAX)).await?;
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
    Ok(ExitCode::SUCCESS)
}

fn text(listed: &Listed, filter: &str, width: Option<usize>) -> String {
    if listed.tickets.is_empty() && filter.is_empty() {
        return "no tickets are kept; submit a call with `turno submit`".to_owned();
    }
    if listed.tickets.is_empty() {
        return format!("no ticket has {filter}");
    }
    let table = table::text(&listed.tickets, now_ms(), width);
    // Only for people: programs count.
    if listed.more && width.is_some() {
        let shown = listed.tickets.len();
        return format!("{table}\n\nthe newest {shown}; --limit N shows more");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::ticket::tests::running;
    use super::{Listed, text};

    #[test]
    fn nothing_there_says_why() {
        let none = Listed { tickets: Vec::new(), more: false };
        assert!(text(&none, "", None).contains("`turno submit`"));
        assert_eq!(text(&none, "state = \"dead\"", None), "no ticket has state = \"dead\"");
    }

    #[test]
    fn a_person_is_told_of_what_is_not_shown() {
        let listed = Listed { tickets: vec![running()], more: true };
        assert!(text(&listed, "", Some(80)).ends_with("\n\nthe newest 1; --limit N shows more"));
        assert_eq!(text(&listed, "", None).lines().count(), 2);
    }
}
