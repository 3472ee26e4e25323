//! `turno tickets watch`: a line that moves for a person, a line a change for everybody else.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use prost_reflect::DescriptorPool;
use turno_proto::v1::TicketState;

use super::desk::Desk;
use super::live::{self, line};
use super::object;
use super::ticket::{Ticket, millis, span};
use crate::listing::print;
use crate::stdout::Stdout;

/// Which ticket is followed.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArgs {
    /// The ticket; the end of its id is enough
    name: String,
    /// One JSON object a change
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(desk: &Desk, args: WatchArgs) -> anyhow::Result<ExitCode> {
    let name = desk.name(&args.name).await?;
    let ended = if args.json {
        desk.wait(&name, |ticket| tell(&object::ticket(ticket, &DescriptorPool::new()).to_string())).await?
    } else if stdout().is_terminal() {
        desk.wait(&name, live::listener()).await?
    } else {
        desk.wait(&name, |ticket| tell(&change(ticket))).await?
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(interrupted) => return Ok(interrupted),
    };
    if !args.json {
        let hint = if stdout().is_terminal() { hint(&ended) } else { String::new() };
        print(format!("{}{hint}", end(&ended)))?;
    }
    let is_done = ended.metadata.state() == TicketState::Done;
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who no longer reads has seen enough: unlike what is printed of something done, this ends with its reader.
fn tell(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(Stdout, "{line}")?)
}

/// "2026-11-25T22:41:07Z  running, attempt 1 of 3: 3 of 10"
fn change(ticket: &Ticket) -> String {
    format!("{}  {}", humantime::format_rfc3339_seconds(SystemTime::now()), line(ticket, None))
}

/// "operations/0198…  done after 1 attempt, in 3.2s", and what went wrong.
fn end(ticket: &Ticket) -> String {
    let metadata = &ticket.metadata;
    let attempts = match metadata.attempts {
        0 => String::new(),
        1 => " after 1 attempt".to_owned(),
        many => format!(" after {many} attempts"),
    };
    let times = metadata.submit_time.as_ref().zip(metadata.end_time.as_ref());
    let took =
        times.map_or_else(String::new, |(from, to)| format!(", {} in all", span(millis(to) - millis(from))));
    let note = ticket.note(0);
    let note = if note.is_empty() { note } else { format!("\n{note}") };
    format!("{}  {}{attempts}{took}{note}", ticket.name, ticket.state())
}

/// For a person.
fn hint(ticket: &Ticket) -> String {
    format!("\n\n  turno tickets show {}     what became of it", ticket.short())
}

#[cfg(test)]
mod tests {
    use super::super::ticket::tests::{at, dead, running};
    use super::{change, end};
    use turno_proto::v1::TicketState;

    #[test]
    fn the_end_is_told_with_what_it_took() {
        let mut ticket = running();
        ticket.metadata.set_state(TicketState::Done);
        ticket.metadata.end_time = Some(at(1_000_003_200));
        assert_eq!(end(&ticket), format!("{}  done after 1 attempt, 3.2s in all", ticket.name));
        assert!(end(&dead()).contains("dead after 3 attempts\nUNAVAILABLE: the oven"));
    }

    #[test]
    fn a_change_has_its_moment() {
        assert!(change(&running()).ends_with("Z  running, attempt 1 of 3: 3 of 10: shrinking"));
    }
}
