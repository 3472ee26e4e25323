//! `turno tickets list`.

use std::io::{IsTerminal as _, Write, stdout};
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
use crate::stdout::Stdout;

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
    let (shown, more) = if args.quiet {
        names(desk, &filter, args.most(), &mut Stdout).await?
    } else {
        let listed = desk.list(&filter, args.most()).await?;
        print(if args.json { objects(&listed) } else { text(&listed, &filter, width()) })?;
        (listed.tickets.len(), listed.more)
    };
    if let Some(rest) = rest(shown, more) {
        writeln!(Aside, "{rest}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Page by page, which may be a hundred: it ends with who reads them.
async fn names(desk: &Desk, filter: &str, most: usize, to: &mut dyn Write) -> anyhow::Result<(usize, bool)> {
    let mut shown = 0;
    let more = desk
        .pages(filter, most, |page| {
            shown += page.len();
            let names: String = page.into_iter().map(|ticket| ticket.name + "\n").collect();
            Ok(to.write_all(names.as_bytes())?)
        })
        .await?;
    Ok((shown, more))
}

/// That there are others, whoever reads: a program counts, but knows no limit that it has not set.
fn rest(shown: usize, more: bool) -> Option<String> {
    more.then(|| format!("the newest {shown}: --limit N shows more, --quiet without it the names of all"))
}

fn objects(listed: &Listed) -> String {
    let known = DescriptorPool::new();
    let objects: Value = listed.tickets.iter().map(|ticket| object::ticket(ticket, &known)).collect();
    format!("{objects:#}")
}

/// A person's screen has an end.
fn width() -> Option<usize> {
    Table::new().width().map(usize::from).filter(|_| stdout().is_terminal())
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
    use super::{Desk, Filter, ListArgs, Listed, names, rest, text};
    use crate::doubles::{serve, unary};
    use prost::Message as _;
    use tonic::Status;
    use turno_proto::google::longrunning::{ListOperationsRequest, ListOperationsResponse, Operation};

    /// At a gateway that has a page, and is gone before the next.
    async fn desk() -> Desk {
        let list = |request: ListOperationsRequest| {
            if !request.page_token.is_empty() {
                return Err(Status::unavailable("it is ending"));
            }
            let ticket = running();
            let value = ticket.metadata.encode_to_vec();
            let metadata = Some(prost_types::Any { value, ..Default::default() });
            let operations = vec![Operation { name: ticket.name, metadata, ..Operation::default() }];
            Ok(ListOperationsResponse { operations, next_page_token: "2".to_owned() })
        };
        let gateway = serve(unary("/google.longrunning.Operations/ListOperations", list)).await;
        Desk::open(&gateway.to_string()).await.unwrap()
    }

    #[tokio::test]
    async fn names_wait_for_no_page_behind_them() {
        let mut out = Vec::new();
        names(&desk().await, "", usize::MAX, &mut out).await.unwrap_err();
        assert_eq!(String::from_utf8(out).unwrap(), running().name + "\n");
    }

    #[test]
    fn nothing_there_says_why() {
        let none = Listed { tickets: Vec::new(), more: false };
        assert!(text(&none, "", None).contains("`turno submit`"));
        assert_eq!(text(&none, "state = \"dead\"", None), "no ticket has state = \"dead\"");
    }

    #[test]
    fn whoever_reads_is_told_of_what_is_not_shown() {
        assert!(rest(1, true).unwrap().starts_with("the newest 1: --limit N shows more"));
        assert_eq!(rest(1, false), None);
        let listed = Listed { tickets: vec![running()], more: false };
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
